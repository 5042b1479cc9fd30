"""A network is learned to go fast from its own work: the same numbers, each image once, and nothing is held."""

from __future__ import annotations

import gc
import weakref
from itertools import groupby

import pytest
import torch
from torch import nn

from camfaith.metrics import Deletion
from camfaith.models import Classifier
from camfaith.models.speed import pace, tuning_cache
from camfaith.models.speed.pace import Pace, pace_of, trials
from camfaith.models.speed.setup import Setup

IMAGES = torch.rand(80, 3, 8, 8, generator=torch.Generator().manual_seed(2))
LAST, FIRST = True, False


@pytest.fixture
def clock(monkeypatch):
    """Has `speed(batch, channels_last)` stand for the clock; gives the batches that were timed."""

    def install(speed):
        seen, timed = [], pace._timed

        def found(classifier, images):
            logits, _ = timed(classifier, images)
            seen.append((len(images), not images.is_contiguous()))
            return logits, len(images) / speed(*seen[-1])

        monkeypatch.setattr(pace, "_timed", found)
        return seen

    return install


def best_at(size, layout):
    """Slower the further a batch is from one size, and half as fast in the other layout."""
    return lambda batch, last: 10.0 / (1 + abs(batch - size)) / (1 + (last is not layout))


@pytest.mark.parametrize(
    ("rates", "other", "tried", "chosen"),
    [
        ({4: 40, 2: 47, 1: 30, 8: 36}, 30, [4, 2, 1, 8], (2, LAST)),
        ({4: 40, 2: 39, 1: 30, 8: 45, 16: 47, 32: 46, 64: 48}, 30, [4, 2, 1, 8, 16, 32, 64], (64, LAST)),
        ({4: 40, 2: 30, 8: 30}, 41, [4, 2, 8], (4, LAST)),
        ({4: 40, 2: 30, 8: 30}, 42, [4, 2, 8], (4, FIRST)),
        ({4: 40, 2: 30, 8: 45, 16: 0}, 30, [4, 2, 8, 16], (8, LAST)),
    ],
)
def test_each_way_is_gone_until_it_is_slower_and_the_fastest_is_chosen(rates, other, tried, chosen):
    asked = []

    def driven(setup):
        """What comes of the trials that begin with that one."""
        while True:
            asked.append((setup.batch_size, setup.channels_last))
            try:
                setup = trying.send(rates[setup.batch_size] if setup.channels_last else other)
            except StopIteration as end:
                return end.value

    trying = trials(4, (1, 2, 4, 8, 16, 32, 64))
    found = driven(next(trying))
    assert asked == [*((size, LAST) for size in tried), (found.batch_size, FIRST)]
    assert (found.batch_size, found.channels_last) == chosen
    assert found.rate == (rates[found.batch_size] if found.channels_last else other)


@pytest.mark.parametrize("layout", [LAST, FIRST])
def test_a_network_is_learned_from_its_own_images_each_of_which_goes_through_it_once(layout, clock, counting):
    seen = clock(best_at(2, layout))
    model, kept, buffer = Classifier(counting), [], torch.empty(8, 5)
    counting.register_forward_hook(lambda _module, _given, logits: buffer[: len(logits)].copy_(logits))
    learning = Pace(4, (1, 2, 4, 8), kept.append)
    assert learning.setup == Setup(8)
    found = learning.forward(model)(IMAGES)
    assert counting.forwards == len(IMAGES)
    assert [(size, len(list(same))) for (size, _), same in groupby(seen)][:4] == [(4, 3), (2, 5), (1, 9), (8, 2)]
    assert torch.allclose(found, counting.inner(IMAGES), atol=1e-6)
    assert kept == [learning.kept] == [learning.setup]
    assert (learning.kept.batch_size, learning.kept.channels_last) == (2, layout)
    assert learning.forward(model) is model, "there is nothing more to learn"


@pytest.mark.parametrize(("rate", "little"), [(2100, 0), (200, 0.2)])
def test_brief_batches_and_little_work_teach_nothing(rate, little, clock, classifier, monkeypatch):
    seen = clock(lambda *_: rate)
    monkeypatch.setattr(pace, "_SMALL", little)
    learning = Pace(4, (1, 2, 4, 8), pytest.fail)
    learning.forward(classifier)(IMAGES[:38])
    assert seen == [(4, True)] * 9 + [(2, True)]


def test_a_batch_that_does_not_fit_into_memory_is_not_tried_again(clock, classifier):
    def cramped(batch, last):
        if batch > 4:
            raise torch.OutOfMemoryError
        return best_at(64, LAST)(batch, last)

    clock(cramped)
    learning = Pace(4, (2, 4, 8, 16), lambda _: None)
    with pytest.raises(torch.OutOfMemoryError):
        learning.forward(classifier)(IMAGES)
    assert torch.allclose(learning.forward(classifier)(IMAGES), classifier(IMAGES), atol=1e-6)
    assert learning.kept.batch_size == 4


@pytest.mark.parametrize(("side", "first"), [(64, 64), (128, 16), (224, 4), (600, 4)])
def test_the_first_batch_has_as_many_images_as_memory_takes_well(side, first, clock, classifier):
    seen = clock(lambda *_: 1e5)
    pace_of(classifier, torch.zeros(1, 3, side, side)).forward(classifier)(IMAGES)
    assert seen[0] == (first, True)


@pytest.fixture
def metric():
    maps = IMAGES[:, 0]
    return lambda model, **how: Deletion(steps=8)(model, IMAGES, 0, maps, **how)["auc"]


def test_a_metric_called_alone_learns_in_its_first_call_and_goes_by_that_in_its_second(clock, metric, counting):
    seen, reference = clock(best_at(4, FIRST)), metric(counting, batch_size=7)
    asked, counting.forwards = counting.forwards, 0
    batches = []
    counting.inner.register_forward_pre_hook(lambda _, given: batches.append((len(given[0]), given[0].stride(1) != 1)))
    assert torch.allclose(metric(counting), reference, atol=1e-6)
    assert counting.forwards == asked
    learned, _ = len(seen), batches.clear()
    assert torch.allclose(metric(counting), reference, atol=1e-6)
    assert set(batches) == {(4, True)}
    assert len(seen) == learned, "nothing is timed any more"
    with torch.no_grad():
        counting.inner.head.bias[0] += 1
    assert (metric(counting) > reference).all(), "weights that were changed in place are seen"


def test_what_a_run_or_another_process_found_is_taken_at_once_without_what_changes_the_network(clock, metric, network):
    seen = clock(best_at(4, FIRST))
    metric(network)
    learned = pace_of(Classifier(network), IMAGES).kept
    assert learned.batch_size == 4
    assert pace_of(Classifier(network), IMAGES.double()).kept is None, "another precision is another matter"
    again = type(network)()
    assert pace_of(Classifier(again), IMAGES).kept == learned
    seen.clear()
    metric(again)
    assert not seen
    run = Setup(16, False, ("bf16",), 5.0, fused=True, threads=1)
    tuning_cache.keep(tuning_cache.key_of(Classifier(network), IMAGES), run)
    assert pace_of(Classifier(type(network)()), IMAGES).kept == Setup(16, False, rate=5.0)


def test_a_run_measures_by_itself_what_a_call_alone_has_learned(clock, metric, network, monkeypatch):
    clock(best_at(4, FIRST))
    metric(network)
    monkeypatch.setattr(tuning_cache, "tune", lambda *_: Setup(32, fused=True))
    assert tuning_cache.setup_of(Classifier(network), IMAGES[:1]).batch_size == 32


def test_nothing_is_held_of_a_network_that_is_gone_and_nothing_is_left_in_one(clock, metric):
    clock(best_at(4, LAST))
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3))
    before = {name: dict(vars(module)) for name, module in network.named_modules()}
    metric(network)
    assert {name: dict(vars(module)) for name, module in network.named_modules()} == before
    gone = weakref.ref(network)
    del network, before
    gc.collect()
    assert gone() is None
