"""Model calls: full batches that fit into memory, and answers that depend on nothing but image, map and seed."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from camfaith.metrics import (
    Blank,
    Case,
    Channels,
    Conservation,
    CornerArtifact,
    Curve,
    Deletion,
    Engine,
    Insertion,
    Maps,
    SensitivityN,
    Subsets,
    baseline,
)
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

BLACK = baseline("black")
METRICS = (
    Deletion(steps=6),
    Insertion(steps=5, baseline="mean"),
    SensitivityN(sizes=(3, 0.3), subsets=7),
    CornerArtifact(),
    Conservation(),
)


def ask(engine, case, arms):
    """Every arm's answers: label → (maps, probes)."""
    return engine.answer(case, {label: (Maps(maps, case), probes) for label, (maps, probes) in arms.items()})


def asked_for(metrics, layer="relu1", pixels=81):
    return [probe for metric in metrics for probe in metric.probes(layer, pixels)]


@pytest.mark.parametrize("batch_size", [7, 16])
def test_batches_are_full_but_for_the_last(batch_size, classifier, case, noise_maps, watched):
    seen = watched(classifier.network)
    probes = [p for p in asked_for(METRICS) if not isinstance(p, Channels)]
    arms = {label: (noise_maps(4, 9, 9, seed=label), probes) for label in range(2)}
    engine = Engine(classifier, Setup(batch_size))
    ask(engine, case, arms)
    per_map, per_image = 5 + 4, 2 + 14 + 13 + 2 * 10
    total = 4 * (2 * per_map + per_image)
    sizes = [len(batch) for batch in seen]
    assert sizes[:-1] == [batch_size] * (math.ceil(total / batch_size) - 1)
    assert sum(sizes) == total == engine.meter.forwards
    assert engine.meter.model_seconds > 0


FULL = torch.OutOfMemoryError("no room on the device")
FULL_TOO = RuntimeError("DefaultCPUAllocator: not enough memory")


class Cramped(nn.Module):
    """Has memory for so many images at once."""

    def __init__(self, network, room, error=FULL):
        super().__init__()
        self.network, self.room, self.error = network, room, error

    def forward(self, x):
        if len(x) > self.room:
            raise self.error
        return self.network(x)


@pytest.mark.parametrize(("error", "shortcuts"), [(FULL, ()), (FULL_TOO, ()), (FULL, ("compile",))])
def test_the_batch_is_halved_when_memory_runs_out(error, shortcuts, classifier, case, noise_maps, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network: network)
    probes = [Curve("rest", 9, BLACK), Subsets(5, 8, BLACK), Blank(BLACK)]
    arms = {"it": (noise_maps(4, 9, 9), probes)}
    engine = Engine(Classifier(Cramped(classifier, 5, error)), Setup(64, shortcuts=shortcuts))
    found, expected = ask(engine, case, arms)["it"], ask(Engine(classifier), case, arms)["it"]
    assert (engine.batch_size, engine.meter.halvings) == (4, 4)
    for probe in probes:
        torch.testing.assert_close(found[probe].logit, expected[probe].logit, atol=1e-12, rtol=0)


def test_switching_channels_off_halves_the_batch_too(classifier, case, noise_maps):
    class CrampedTail(nn.Module):
        def forward(self, x):
            if len(x) > 4:
                raise torch.OutOfMemoryError("too many")
            return x

    network = nn.Sequential(classifier.network, CrampedTail())
    engine = Engine(Classifier(network, mean=classifier.mean, std=classifier.std), Setup(16))
    found = ask(engine, case, {"it": (noise_maps(4, 9, 9), [Channels("0.relu2")])})["it"]
    expected = ask(Engine(classifier), case, {"it": (noise_maps(4, 9, 9), [Channels("relu2")])})["it"]
    assert engine.meter.halvings == 6  # a head alone is given 256 at once
    torch.testing.assert_close(found[Channels("0.relu2")].logit, expected[Channels("relu2")].logit)


@pytest.mark.parametrize(("error", "halvings"), [(FULL, 6), (RuntimeError("shapes cannot be multiplied"), 0)])
def test_too_little_memory_for_one_image_and_any_other_error_of_the_network_is_an_error(
    error, halvings, classifier, case, noise_maps
):
    engine = Engine(Classifier(Cramped(classifier, 0, error)), Setup(64))
    with pytest.raises(type(error), match=str(error)):
        ask(engine, case, {"it": (noise_maps(4, 9, 9), [Blank(BLACK)])})
    assert engine.meter.halvings == halvings


def test_the_network_is_asked_in_evaluation_mode(tiny, images, noise_maps):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), tiny).double()
    for metric in METRICS:
        given = (network, images(3, 9), 0, noise_maps(3, 9, 9))
        network.train()
        found = metric(*given, layer="2.relu1")
        network.eval()
        torch.testing.assert_close(found, metric(*given, layer="2.relu1"), equal_nan=True)


def test_flags_and_hooks_come_back_after_an_error_too(classifier, case, noise_maps):
    network = classifier.network.train()
    handle = network.head.register_forward_hook(lambda *_: 1 / 0)
    for probe in (Blank(BLACK), Channels("conv2")):
        with pytest.raises(ZeroDivisionError):
            ask(Engine(classifier), case, {"it": (noise_maps(4, 9, 9), [probe])})
        assert all(module.training for module in network.modules())
        assert all(parameter.requires_grad for parameter in network.parameters())
        assert not network.conv2._forward_hooks
    handle.remove()


def test_maps_of_some_of_the_images_get_the_answers_of_those(classifier, case, noise_maps):
    maps, probes, rows = noise_maps(4, 9, 9, levels=5), asked_for(METRICS), [3, 1]
    some = Maps(maps[rows], case.select(rows), rows=rows)
    other = noise_maps(4, 9, 9, seed=3)
    wanted = {"some": (some, probes), "all": (Maps(other, case), probes)}
    found = Engine(classifier, Setup(5)).answer(case, wanted)
    alone = Engine(classifier, Setup(5)).answer(
        case.select(rows), {"it": (Maps(maps[rows], case.select(rows)), probes)}
    )
    every = ask(Engine(classifier, Setup(5)), case, {"it": (other, probes)})
    for probe in probes:
        for kind in ("logit", "probability"):
            for one, expected in ((found["some"], alone["it"]), (found["all"], every["it"])):
                torch.testing.assert_close(one[probe].of(kind), expected[probe].of(kind), atol=1e-12, rtol=0)


class FailsOnce(nn.Module):
    """Has no memory for its k-th batch, and enough ever after; keeps the images that it scored."""

    def __init__(self, network, k):
        super().__init__()
        self.network, self.k, self.batches, self.scored = network, k, 0, []

    def forward(self, x):
        self.batches += 1
        if self.batches == self.k:
            raise torch.OutOfMemoryError("just now")
        self.scored.append(x.clone())
        return self.network(x)


@pytest.mark.parametrize("k", [1, 3])
def test_after_memory_ran_out_the_work_goes_on_where_it_was(k, tiny, images, noise_maps):
    network = FailsOnce(tiny, k)
    engine, case = Engine(Classifier(network), Setup(8)), Case.of(Classifier(tiny), images(4, 9), 1)
    probes = [Curve("rest", 9, BLACK), Subsets(5, 8, BLACK), Blank(BLACK)]
    found = ask(engine, case, {"it": (noise_maps(4, 9, 9), probes)})["it"]
    sizes = [len(batch) for batch in network.scored]
    assert sizes == [8] * (k - 1) + [4] * ((68 - 8 * (k - 1)) // 4)
    distinct = torch.cat(network.scored).flatten(1).unique(dim=0)
    assert len(distinct) == sum(sizes) - 3, "nothing but the four black images is equal"
    assert engine.meter.forwards == sum(sizes) == 4 * (8 + 8 + 1)
    expected = ask(Engine(Classifier(tiny)), case, {"it": (noise_maps(4, 9, 9), probes)})["it"]
    for probe in probes:
        torch.testing.assert_close(found[probe].logit, expected[probe].logit, atol=1e-12, rtol=0)


def test_the_buffer_is_made_once_for_many_answers(tiny, images, noise_maps, monkeypatch):
    made, empty = [], torch.empty

    def noted(*size, **kwargs):
        if size and isinstance(size[0], tuple) and len(size[0]) == 4:
            made.append(size[0])
        return empty(*size, **kwargs)

    classifier = Classifier(tiny)
    engine, case = Engine(classifier, Setup(4)), Case.of(classifier, images(3, 9), 1)
    monkeypatch.setattr(torch, "empty", noted)
    for seed in range(4):
        ask(engine, case, {"it": (noise_maps(3, 9, 9, seed=seed), [Curve("rest", 6, BLACK), Blank(BLACK)])})
    assert made == [(4, 3, 9, 9)]
    bigger = Case.of(classifier, images(3, 12), 1)
    ask(engine, bigger, {"it": (noise_maps(3, 12, 12), [Curve("rest", 6, BLACK)])})
    assert made == [(4, 3, 9, 9), (4, 3, 12, 12)]


@dataclass(frozen=True)
class Whole(Blank):
    """The baseline image, of which all logits are wanted."""

    all_logits = True


@pytest.mark.parametrize("batch_size", [3, 64])
def test_all_logits_are_told_where_they_are_wanted_and_nowhere_else(batch_size, classifier, case, noise_maps):
    mean = baseline("mean")
    arms = {"it": (noise_maps(4, 9, 9), [Curve("rest", 5, mean), Whole(mean), Blank(mean)])}
    found = ask(Engine(classifier, Setup(batch_size)), case, arms)["it"]
    expected = classifier.scores(case.images.mean((2, 3), keepdim=True).expand_as(case.images))
    torch.testing.assert_close(found[Whole(mean)].logits[:, 0], expected)
    torch.testing.assert_close(found[Whole(mean)].logit, found[Blank(mean)].logit)
    assert found[Blank(mean)].logits is found[Curve("rest", 5, mean)].logits is None
    told, engine = {(Whole(mean), row): found[Whole(mean)].tables[row] for row in range(4)}, Engine(classifier)
    again = engine.answer(
        case, {"it": (Maps(noise_maps(2, 9, 9), case.select([3, 1]), rows=[3, 1]), [Whole(mean)])}, told
    )
    assert torch.equal(again["it"][Whole(mean)].logits, found[Whole(mean)].logits[[3, 1]])
    assert engine.meter.forwards == 0
