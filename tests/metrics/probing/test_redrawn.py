"""New explanations: one pass of each altered image for all methods, each method's failures its own."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from camfaith.methods import GradCAM, HiResCAM, LayerCAM, Occlusion
from camfaith.metrics import Engine
from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.maps import Maps
from camfaith.metrics.probing.redrawn import Explained
from camfaith.metrics.stability import Neighbours
from camfaith.models import Classifier
from camfaith.models.contract import Bound
from camfaith.models.speed.counting import counting
from camfaith.models.speed.setup import Setup

PROBE = Neighbours(samples=3, radius=0.1)


@pytest.fixture
def case(classifier, images):
    return Case.of(classifier, images(4, 12), [0, 1, 2, 1])


def maps_of(case, method, classifier, rows=None):
    chosen = case if rows is None else case.select(rows)
    raw = method.raw(chosen.images, chosen.targets)
    return Maps(raw, chosen, rows=rows, explainer=Bound.of(method, classifier))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_every_method_gets_maps_and_scores_of_its_own_images(batch_size, case, classifier):
    methods = {"cam": GradCAM(classifier, "relu1"), "late": HiResCAM(classifier, "relu2")}
    rows = {"cam": None, "late": [3, 1]}
    wanted = {name: (maps_of(case, m, classifier, rows[name]), [PROBE]) for name, m in methods.items()}
    found = Engine(classifier, Setup(batch_size)).answer(case, wanted)
    sources = [torch.Generator().manual_seed(sample) for sample in range(3)]
    moves = (2 * torch.stack([torch.rand(3, 12, 12, generator=source) for source in sources]) - 1) * 0.1
    for name, method in methods.items():
        for place, row in enumerate(rows[name] or range(4)):
            near, target = case.images[row] + moves, int(case.targets[row])
            maps = torch.cat([method.raw(image[None], target) for image in near])
            scores = classifier.scores(near)
            answer = found[name][PROBE]
            torch.testing.assert_close(answer.explanations[place], maps, rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(answer.logit[place], scores[:, target], rtol=1e-6, atol=1e-9)
            probability = scores.softmax(1)[:, target]
            torch.testing.assert_close(answer.of("probability")[place], probability, rtol=1e-6, atol=1e-9)


def test_all_gradient_methods_share_one_pass_and_others_pay_for_their_own(case, classifier):
    cams = [kind(classifier, layer) for kind in (GradCAM, HiResCAM, LayerCAM) for layer in ("relu1", "relu2")]
    occlusion = Occlusion(classifier, window=6, stride=6)
    for more, own in (([], 0), ([occlusion], occlusion.cost(case.images[:1]).forwards)):
        wanted = {str(i): (maps_of(case, m, classifier), [PROBE]) for i, m in enumerate([*cams, *more])}
        engine = Engine(classifier)
        with counting(classifier.network) as tally:
            engine.answer(case, wanted)
        assert engine.meter.forwards == tally.forwards == 4 * 3 * (1 + own)
        assert engine.meter.backwards == tally.backwards == 4 * 3


@dataclass(frozen=True)
class Shown(Explained):
    """The image times the first and the second power of its heat map, for the class after its own."""

    reads = "displayed"
    all_logits = True

    def count(self, pixels):
        return 2

    def target(self, subject):
        return (super().target(subject) + 1) % 3

    def fill(self, subject):
        heat = subject.read("displayed")

        def fill(start, stop, out):
            for place in range(start, stop):
                out[place - start] = subject.image * heat ** (place + 1)

        return fill


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_what_a_map_shows_is_explained_for_each_distinct_map_and_for_the_class_that_the_probe_names(
    batch_size, case, classifier
):
    cam, hires, own = GradCAM(classifier, "conv2"), HiResCAM(classifier, "relu2"), Occlusion(classifier, window=6)
    asking = {"cam": (cam, None), "hires": (hires, [3, 1, 0]), "own": (own, None), "cam again": (cam, [2, 0])}
    wanted = {name: (maps_of(case, m, classifier, rows), [Shown()]) for name, (m, rows) in asking.items()}
    engine = Engine(classifier, Setup(batch_size))
    with counting(classifier.network) as tally:
        found = engine.answer(case, wanted)
    own_calls = own.cost(case.images[:1]).forwards
    assert engine.meter.forwards == tally.forwards == 2 * (4 + 3 + 4 * (1 + own_calls))
    assert engine.meter.backwards == tally.backwards == 2 * (4 + 3)
    assert engine.meter.shared == 2 * 2, "two images of which a method has an equal map"
    for name, (method, rows) in asking.items():
        answer, heat = found[name][Shown()], wanted[name][0].displayed
        for place, row in enumerate(rows or range(4)):
            other = (int(case.targets[row]) + 1) % 3
            for power in (1, 2):
                image = case.images[[row]] * heat[place] ** power
                expected = method.raw(image, other)[0]
                torch.testing.assert_close(answer.explanations[place, power - 1], expected, rtol=1e-9, atol=1e-12)
                logits = classifier.scores(image)[0]
                torch.testing.assert_close(answer.logits[place, power - 1], logits, rtol=1e-6, atol=1e-6)
                assert answer.logit[place, power - 1].item() == pytest.approx(logits[other].item(), rel=1e-6)


class Failing:
    """A method whose map is the sum of the colours, but for images with a certain seed."""

    needs_layer = needs_gradients = False

    def __init__(self, how, seeds=(0, 1, 2, 3)):
        self.how, self.seeds = how, torch.tensor(seeds)

    def raw(self, images, _targets):
        return images.sum(1)

    def explain(self, evidence, _classifier):
        maps, bad = evidence.images.sum(1), torch.isin(evidence.seeds, self.seeds)
        if self.how == "raises" and bool(bad.any()):
            raise ArithmeticError("cannot do this one")
        maps[bad] *= float("nan" if self.how == "raises" else self.how)
        return maps


@pytest.mark.parametrize(
    ("how", "why", "batch_size"),
    [
        ("raises", "ArithmeticError: cannot do", 1),
        ("raises", "ArithmeticError: cannot do", 5),
        ("nan", "NaN", 64),
        ("inf", "infinite", 5),
    ],
)
def test_a_failure_costs_the_image_that_it_is_about_and_the_method_that_it_is_of(
    how, why, batch_size, case, classifier
):
    case = replace(case, seeds=torch.arange(4))
    methods = {"it": GradCAM(classifier, "relu1"), "failing": Failing(how, [1, 2]), "fine": Failing("1")}
    wanted = {name: (maps_of(case, m, classifier), [PROBE]) for name, m in methods.items()}
    found = Engine(classifier, Setup(batch_size)).answer(case, wanted)
    failing, fine = (found[name][PROBE] for name in ("failing", "fine"))
    assert set(failing.failures) == {1, 2}
    assert all(text.startswith("on an altered image, ") and why in text for text in failing.failures.values())
    assert failing.explanations[[1, 2]].isnan().all()
    assert torch.equal(failing.explanations[[0, 3]], fine.explanations[[0, 3]])
    assert torch.equal(failing.logit, fine.logit)
    assert not fine.failures
    alone = Engine(classifier, Setup(batch_size)).answer(case, {"it": wanted["it"]})["it"][PROBE]
    assert torch.equal(found["it"][PROBE].explanations, alone.explanations)


class Sour(nn.Module):
    """Gives NaN for an image that is dark anywhere."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) + x.amin((1, 2, 3)).sqrt()[:, None] * 0


def test_a_network_that_gives_nan_on_an_altered_image_costs_that_image_alone(tiny, images):
    pictures = images(4, 12) / 2 + 0.5
    pictures[2, :, 0, 0] = 0
    classifier = Classifier(Sour(tiny))
    case = Case.of(classifier, pictures, [0, 1, 2, 1])
    method = GradCAM(classifier, "network.relu1")
    found = Engine(classifier).answer(case, {"it": (maps_of(case, method, classifier), [PROBE])})["it"][PROBE]
    assert set(found.failures) == {2}
    assert "NaN or infinite logits" in found.failures[2]
    assert found.logit.isnan().any(1).tolist() == found.explanations.isnan().flatten(1).any(1).tolist()
    assert found.logit.isnan().any(1).tolist() == [False, False, True, False]


def test_a_method_cannot_change_what_the_next_one_gets(case, classifier):
    class Vandal(Failing):
        def explain(self, evidence, _classifier):
            evidence.images.zero_()
            for tensor in (*evidence.activations.values(), *evidence.gradients.values()):
                tensor.zero_()
            return evidence.images.sum(1)

    it = GradCAM(classifier, "relu1")
    both = {
        "vandal": (maps_of(case, Vandal("fine"), classifier), [PROBE]),
        "it": (maps_of(case, it, classifier), [PROBE]),
    }
    found = Engine(classifier).answer(case, both)["it"][PROBE].explanations
    alone = Engine(classifier).answer(case, {"it": both["it"]})["it"][PROBE].explanations
    assert torch.equal(found, alone)
    assert bool((found != 0).any())


class Cramped(nn.Module):
    """Has memory for so many images at once."""

    def __init__(self, network, room):
        super().__init__()
        self.network, self.room = network, room

    def forward(self, x):
        if len(x) > self.room:
            raise torch.OutOfMemoryError("not enough memory")
        return self.network(x)


def test_its_own_batch_is_halved_when_memory_runs_out(case, classifier):
    method = GradCAM(Classifier(Cramped(classifier, 3)), "network.network.relu1")
    some = case.select([0])
    alone = {"it": (maps_of(some, method, method.classifier), [PROBE])}
    found = Engine(method.classifier, Setup(64)).answer(some, alone)["it"][PROBE]
    whole = {"it": (Maps(torch.ones(4, 12, 12), case, explainer=alone["it"][0].explainer), [PROBE])}
    engine = Engine(method.classifier, Setup(64))
    more = engine.answer(case, whole)["it"][PROBE]
    assert (engine.meter.halvings, engine.batch_size) == (1, 64), "4, as many as images, then 2"
    torch.testing.assert_close(more.explanations[:1], found.explanations, rtol=1e-9, atol=1e-12)


def test_a_method_that_runs_out_of_memory_has_the_batch_halved_and_nothing_kept_twice(case, classifier):
    class Roomy(Failing):
        def explain(self, evidence, _classifier):
            if len(evidence) > 2:
                raise torch.OutOfMemoryError("not enough memory")
            return super().explain(evidence, _classifier)

    wanted = {name: (maps_of(case, kind("1"), classifier), [PROBE]) for name, kind in (("a", Failing), ("b", Roomy))}
    engine = Engine(classifier)
    found = engine.answer(case, wanted)
    assert engine.meter.halvings == 1
    assert torch.equal(found["b"][PROBE].explanations, found["a"][PROBE].explanations)
    assert torch.equal(found["b"][PROBE].logit, Engine(classifier).answer(case, {"a": wanted["a"]})["a"][PROBE].logit)


def test_a_method_without_any_map_says_why(case, classifier):
    cramped = Classifier(Cramped(classifier, 0))
    method = GradCAM(cramped, "network.network.relu1")
    without_room = Maps(torch.ones(4, 12, 12), case, explainer=Bound.of(method, cramped))
    failing, said = (
        maps_of(case, Failing("raises"), classifier),
        "on an altered image, ArithmeticError: cannot do this one",
    )
    for asked, given, why in ((cramped, without_room, "not enough memory"), (classifier, failing, said)):
        found = Engine(asked).answer(case, {"it": (given, [PROBE])})["it"][PROBE]
        assert set(found.failures) == {0, 1, 2, 3}
        with pytest.raises(ValueError, match=why):
            _ = found.explanations


@dataclass(frozen=True)
class WithoutHead(Explained):
    """The image itself, explained while the network's last layer is zero."""

    layer: str = "head"

    def count(self, pixels):
        return 1

    def fill(self, subject):
        return lambda start, stop, out: out.copy_(subject.image)

    @contextmanager
    def within(self, classifier):
        weight = classifier.network.get_submodule(self.layer).weight
        kept = weight.detach().clone()
        try:
            weight.data.zero_()
            yield
        finally:
            weight.data.copy_(kept)


def test_a_probe_may_alter_the_network_for_its_own_maps_alone(case, classifier):
    method = GradCAM(classifier, "relu1")
    kept = classifier.network.head.weight.detach().clone()
    given = maps_of(case, method, classifier)
    found = Engine(classifier).answer(case, {"it": (given, [WithoutHead(), PROBE])})["it"]
    assert not bool(found[WithoutHead()].explanations.any())
    assert bool(found[PROBE].explanations.any())
    assert torch.equal(classifier.network.head.weight, kept)


def test_the_network_comes_back_after_an_error_too(case, classifier):
    kept = classifier.network.head.weight.detach().clone()
    handle = classifier.network.head.register_forward_hook(lambda *_: 1 / 0)
    given = Maps(torch.ones(4, 12, 12), case, explainer=Bound.of(Failing("1"), classifier))
    found = Engine(classifier).answer(case, {"it": (given, [WithoutHead()])})["it"][WithoutHead()]
    handle.remove()
    assert "ZeroDivisionError" in found.failures[0]
    assert torch.equal(classifier.network.head.weight, kept)
