"""What the call of any metric does: metric(model, images, targets, maps), without the harness."""

import dataclasses

import pytest
import torch

from camfaith.metrics import CornerArtifact, Deletion, EnergyPointingGame, Insertion, Metric, find
from camfaith.models import Classifier, UnknownName


@pytest.fixture
def given(tiny, images, noise_maps):
    """Three images of 12×12 pixels with a class and a map each."""
    return {"model": tiny, "images": images(3, 12), "targets": [2, 0, 1], "maps": noise_maps(3, 12, 12)}


def test_a_metric_is_found_by_its_name():
    assert find("deletion") is Deletion
    with pytest.raises(UnknownName, match="did you mean 'deletion'"):
        find("delition")


@pytest.mark.parametrize("metric", [Deletion(baseline="noise"), EnergyPointingGame(), CornerArtifact()])
def test_arrays_lists_and_a_classifier_are_judged_as_tensors_and_the_plain_module_are(metric, given):
    planes = given["maps"] > 0
    known = {"masks": planes, "contents": planes.flip(0), "seeds": torch.arange(3)}
    expected = metric(**given, **known)
    arrays = {name: value.numpy() for name, value in known.items()}
    other = {"model": Classifier(given["model"]), "images": given["images"].numpy(), "maps": given["maps"].tolist()}
    found = metric(**given | other, **arrays)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_settings_are_keywords_and_make_a_frozen_value():
    assert Deletion(steps=3) == Deletion(steps=3) != Deletion(steps=4)
    assert Deletion(baseline="mean") != Insertion(baseline="mean")
    with pytest.raises(TypeError):
        Deletion(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepps'"):
        Deletion(stepps=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Deletion().baseline = "mean"


def test_images_go_to_the_precision_of_the_network_and_maps_stay_as_exact_as_they_are(given):
    expected = Deletion()(**given)["auc"]
    single = Deletion()(**given | {"model": given["model"].float()})["auc"]
    torch.testing.assert_close(single, expected, atol=1e-5, rtol=0)
    close = 1 + given["maps"] / 1000  # bfloat16 has three distinct values there
    assert Deletion()(**given | {"model": given["model"].bfloat16(), "maps": close})["ties"].tolist() == [0, 0, 0]


def test_without_seeds_ties_are_drawn_from_the_seed_zero(given):
    flat, zero = given | {"maps": torch.zeros(3, 12, 12)}, torch.zeros(3, dtype=torch.long)
    assert torch.equal(Deletion()(**flat)["auc"], Deletion()(**flat, seeds=zero)["auc"])
    assert not torch.equal(Deletion()(**flat)["auc"], Deletion()(**flat, seeds=zero + 1)["auc"])


def test_images_and_maps_with_a_graph_are_welcome(given):
    given["images"].requires_grad_(), given["maps"].requires_grad_()
    assert not any(value.requires_grad for value in CornerArtifact()(**given).values())
    assert given["images"].grad is given["maps"].grad is None


def test_no_batch_is_larger_than_asked_for(given, watched):
    seen = watched(given["model"])
    Deletion()(**given, batch_size=2)
    assert max(map(len, seen)) == 2


NOT_FINITE = torch.zeros(3, 6, 6)
NOT_FINITE[1, 2, 2] = torch.nan
NOT_FINITE[2, 5, 0] = -torch.inf


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *(
            ({"seeds": s}, "seeds: expected 3 integers")
            for s in (torch.arange(2), torch.rand(3), torch.ones(3, 1).long())
        ),
        ({"masks": torch.ones(3, 12, 11).bool()}, r"masks: expected B×H×W of the images' size, got \(3, 12, 11\)"),
        ({"contents": torch.ones(12, 12).bool()}, "contents: expected B×H×W"),
        ({"maps": torch.rand(2, 6, 6)}, "expected maps of shape 3×h×w, got 2×6×6"),
        ({"maps": torch.rand(3, 1, 6, 6)}, "got 3×1×6×6"),
        ({"maps": NOT_FINITE}, r"the maps of images \[1, 2\] hold NaN or infinite values"),
        ({"targets": 3}, "class index out of range"),
        ({"model": lambda x: x}, r"expected a torch\.nn.Module or a Classifier, got function"),
    ],
)
def test_what_does_not_fit_is_refused(changed, said, given):
    with pytest.raises((ValueError, TypeError), match=said):
        Deletion()(**given | changed)


def test_a_metric_of_ones_own_is_a_few_lines(given):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Largest(Metric):
        name = "largest"
        main = "value"
        better = {"value": "higher"}  # noqa: RUF012
        levels: tuple[float, ...] = (0.5,)
        baseline: object = "black"

        def judge(self, case, maps, answers):
            return {"value": maps.saliency.amax((1, 2))}

    assert torch.equal(Largest()(**given)["value"], given["maps"].amax((1, 2)))
    assert len({Largest(levels=[1, 2], baseline={"name": "blur"}), Largest(levels=(1, 2), baseline="blur")}) == 1
    with pytest.raises(NotImplementedError, match="must define judge"):
        Metric()(**given)
