"""How far altered images drift from what the network knows."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from camfaith.methods import GradCAM
from camfaith.metrics import (
    AverageDrop,
    AverageDropInDeletion,
    Case,
    Deletion,
    Engine,
    EqualAreaDrop,
    Explained,
    FaithfulnessEstimate,
    Maps,
    NonSensitivity,
    OneImage,
)
from camfaith.metrics.drift import drift_of
from camfaith.models import Classifier
from camfaith.models.contract import Bound
from camfaith.models.speed.setup import Setup


class Heads(nn.Module):
    """Features φ of an image, and a head of one's choice over them."""

    def __init__(self, head: nn.Module, *, tokens: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
        self.head, self.tokens = head, tokens

    def forward(self, images):
        cells = self.body(images)
        if self.tokens:
            return self.head(cells.flatten(2).transpose(1, 2)).mean(1)
        if isinstance(self.head[0], nn.Conv2d):
            return self.head(cells).mean((2, 3))
        return self.head(cells.mean((2, 3)))


HEADS = {
    "linear": Heads(nn.Sequential(nn.Linear(6, 4))),
    "tokens": Heads(nn.Sequential(nn.Linear(6, 4)), tokens=True),
    "1×1 convolution and ReLU": Heads(nn.Sequential(nn.Conv2d(6, 4, 1), nn.ReLU())),
}


@pytest.mark.parametrize(
    "setup", [Setup(5), Setup(5, fused=True), Setup(5, shortcuts=("fold",))], ids=["plain", "fused", "folded"]
)
@pytest.mark.parametrize("name", HEADS)
def test_confidence_and_distance_are_those_of_every_altered_image_however_the_network_goes(
    name, setup, images, noise_maps
):
    network = HEADS[name].eval()
    pictures = images(3, 9, 8).float()
    case = Case.of(Classifier(network), pictures, [0, 1, 2])
    maps = Maps.of(case, noise_maps(3, 9, 8))
    metric = Deletion(steps=5)
    probe = metric.probes(None, case.pixels)[0]
    found = Engine(Classifier(network), setup).answer(case, {"": (maps, [probe])})[""][probe]
    assert not any(module._forward_pre_hooks for module in network.modules())
    for place, picture in enumerate(pictures):
        kept = [(maps.ranks[place] >= -(-i * 72 // 5)).view(9, 8) for i in range(1, 5)]
        altered = torch.stack([picture * each for each in kept])
        with torch.no_grad():
            own, others = (network.body(x).mean((2, 3)) for x in (picture[None], altered))
            sure = network(altered).softmax(1).amax(1)
        torch.testing.assert_close(found.confidence[place], sure.double(), rtol=1e-5, atol=1e-6)
        expected = (others - own).norm(dim=1) / own.norm()
        torch.testing.assert_close(found.distance[place], expected.double(), rtol=1e-4, atol=1e-5)


@dataclass(frozen=True)
class Darker(OneImage, Explained):
    """The image, darker, to be explained anew."""

    by: float

    def altered(self, subject):
        return subject.image * (1 - self.by)


def test_images_that_are_explained_anew_have_their_distances_too(images, noise_maps):
    network, pictures = HEADS["linear"].eval(), images(3, 9, 8).float()
    classifier = Classifier(network)
    case = Case.of(classifier, pictures, [0, 1, 2])
    maps = Maps.of(case, noise_maps(3, 2, 2), explainer=Bound.of(GradCAM(classifier, "body"), classifier, "body"))
    probes = [Darker(0.0), Darker(0.4)]
    same, darker = (Engine(classifier).answer(case, {"": (maps, probes)})[""][probe].distance[:, 0] for probe in probes)
    assert same.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    with torch.no_grad():
        own, others = (network.body(x).mean((2, 3)) for x in (pictures, pictures * 0.6))
    torch.testing.assert_close(darker, ((others - own).norm(dim=1) / own.norm(dim=1)).double(), rtol=1e-4, atol=1e-5)


def test_the_columns_are_means_over_the_images_that_were_asked(tiny, images, noise_maps):
    pictures, maps = images(3, 8), noise_maps(3, 8, 8)
    with torch.no_grad():
        tiny.head.weight *= 30
    metric = Deletion(tolerance=0.003)
    case = Case.of(Classifier(tiny), pictures, [0, 1, 2])
    probe = metric.probes(None, case.pixels)[0]
    answers = Engine(Classifier(tiny)).answer(case, {"": (Maps.of(case, maps), metric.probes(None, 64))})[""]
    answer, found = answers[probe], drift_of(answers[probe])
    distinct = [sorted(set(at.tolist())) for at in answer.at]
    assert len({len(each) for each in distinct}) > 1, "some curves have fewer points than others"
    for place, points in enumerate(distinct):
        at = [answer.at[place].tolist().index(point) for point in points]
        assert found["confidence"][place] == pytest.approx(answer.confidence[place, at].mean().item())
        assert found["drift"][place] == pytest.approx(answer.distance[place, at].mean().item())


def each_gone(features):
    """The image without each of its features, of which some images have fewer than others."""

    def altered(case, maps, place):
        labels = case.once(features)[place]
        return [case.images[place] * (labels != one) for one in range(int(labels.max()) + 1)]

    return altered


@pytest.mark.parametrize(
    ("metric", "altered"),
    [
        (NonSensitivity(), each_gone(NonSensitivity().features)),
        (
            segments := FaithfulnessEstimate(features={"name": "superpixels", "segments": 40}),
            each_gone(segments.features),
        ),
        (AverageDrop(), lambda case, maps, place: [case.images[place] * maps.displayed[place]]),
        (AverageDropInDeletion(), lambda case, maps, place: [case.images[place] * (1 - maps.displayed[place])]),
        (EqualAreaDrop(), lambda case, maps, place: [case.images[place] * (maps.ranks[place] < 98).view(14, 14)]),
    ],
    ids=["cells", "superpixels", "masked", "hidden", "equal area"],
)
def test_what_takes_parts_out_without_a_curve_says_so_too(metric, altered, images, noise_maps):
    network, pictures, shown = HEADS["linear"].eval(), images(3, 14).float(), noise_maps(3, 14, 14)
    found = metric(network, pictures, [0, 1, 2], shown)
    case = Case.of(Classifier(network), pictures, [0, 1, 2])
    maps = Maps.of(case, shown)
    for place in range(3):
        others = torch.stack([*altered(case, maps, place)]).float()
        with torch.no_grad():
            own, theirs = (network.body(x).mean((2, 3)) for x in (pictures[place, None], others))
            sure = network(others).softmax(1).amax(1).mean()
        assert found["confidence"][place] == pytest.approx(sure.item(), rel=1e-5)
        assert found["drift"][place] == pytest.approx(((theirs - own).norm(dim=1) / own.norm()).mean().item(), rel=1e-3)


def test_what_has_no_linear_layer_has_no_drift_and_what_gives_no_probability_no_confidence(images, noise_maps):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    pictures, maps = images(2, 6), noise_maps(2, 6, 6)
    found = Deletion()(network, pictures, [0, 1], maps)
    assert found["drift"].isnan().all()
    assert not found["confidence"].isnan().any()
    number = Classifier(nn.Sequential(*network, nn.Linear(4, 1).double()), head="regression")
    found = Deletion(score="logit")(number, pictures, [0, 0], maps)
    assert found["confidence"].isnan().all()
    assert not found["drift"].isnan().any()
