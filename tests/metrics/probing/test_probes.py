"""What probes ask: nothing twice, whatever the metrics and methods; and in rounds, where the answers say what next."""

from dataclasses import dataclass
from functools import partial

import pytest
import torch

from camfaith.metrics import Conservation, Deletion, Engine, Insertion, SensitivityN
from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case
from camfaith.metrics.probing.maps import Maps
from camfaith.metrics.probing.probes import Blank, Channels, Curve, ImageProbe
from camfaith.models import Classifier

BLACK = baseline("black")


def ask(engine, case, arms):
    """Every arm's answers: label → (maps, probes)."""
    return engine.answer(case, {label: (Maps(maps, case), probes) for label, (maps, probes) in arms.items()})


def asked_for(metrics, layer="relu1", pixels=81):
    return [probe for metric in metrics for probe in metric.probes(layer, pixels)]


def count(seen):
    return sum(map(len, seen))


@pytest.mark.parametrize(
    ("metrics", "each"),
    [
        ((Deletion(steps=2), Insertion(steps=2, baseline="black"), Conservation(), Deletion(steps=3)), 1 + 1 + 1 + 2),
        ((Deletion(steps=1), Insertion(steps=1, baseline="mean"), Deletion(steps=1, baseline="noise")), 3),
    ],
)
def test_metrics_with_equal_baselines_share_the_blank_image(metrics, each, classifier, case, noise_maps, watched):
    seen, engine = watched(classifier.network), Engine(classifier)
    ask(engine, case, {"it": (noise_maps(4, 9, 9), asked_for(metrics, layer=None))})
    assert count(seen) == 4 * each == engine.meter.forwards


def test_subsets_are_scored_once_for_all_methods(classifier, case, noise_maps, watched):
    seen = watched(classifier.network)
    probes = asked_for([SensitivityN(sizes=(5, 9), subsets=6)])
    arms = {label: (noise_maps(4, 9, 9, seed=label), probes) for label in range(5)}
    answers = ask(Engine(classifier), case, arms)
    assert count(seen) == 4 * 12
    assert all(torch.equal(answers[0][probes[0]].logit, answers[label][probes[0]].logit) for label in range(5))


def test_orders_that_are_equal_share_their_curve(classifier, case, noise_maps, watched):
    seen, engine = watched(classifier.network), Engine(classifier)
    maps, probes = noise_maps(4, 9, 9, levels=5), [Curve("rest", 6, BLACK), Blank(BLACK)]
    changed = maps.clone()
    changed[2] = changed[2].flip(0)
    arms = {"one": (maps, probes), "same order": (maps.exp(), probes), "one image differs": (changed, probes)}
    answers = ask(engine, case, arms)
    assert engine.meter.shared == 5 * (4 + 3)  # five points inside a curve of six steps
    assert count(seen) == 4 + 5 * (4 + 1) == engine.meter.forwards
    assert torch.equal(answers["one"][probes[0]].logit, answers["same order"][probes[0]].logit)
    differs = (answers["one"][probes[0]].logit != answers["one image differs"][probes[0]].logit).any(1)
    assert differs.tolist() == [False, False, True, False]


@dataclass(frozen=True)
class Kept(ImageProbe):
    """The image times a map's sign, as a probe of one's own might read a map."""

    def count(self, pixels):
        return 1

    def fill(self, subject):
        return lambda start, stop, out: torch.mul(subject.image, subject.read(self.reads).view(9, 9) > 0, out=out[0])


@pytest.mark.parametrize(
    ("part", "asked"), [("raw", 3), ("signed", 3), ("saliency", 2), ("displayed", 1), ("ranks", 1)]
)
def test_a_part_of_a_map_is_read_once_for_every_distinct_one(part, asked, classifier, case, watched):
    """Three maps that a ReLU, stretching and ranking make alike one after the other."""
    source = torch.Generator().manual_seed(3)
    first = torch.rand(4, 9, 9, generator=source, dtype=torch.float64) - 0.5
    maps = {"it": first, "rectified": first.clamp(min=0), "doubled": 2 * first}
    probe = type("Reading", (Kept,), {"reads": part})()
    wanted = {label: (Maps(raw, case, rectified=True), [probe]) for label, raw in maps.items()}
    seen, engine = watched(classifier.network), Engine(classifier)
    found = engine.answer(case, wanted)
    assert count(seen) == 4 * asked
    assert engine.meter.shared == 4 * (3 - asked)
    torch.testing.assert_close(found["it"][probe].logit, found["doubled"][probe].logit)


def test_a_probe_that_is_asked_twice_is_answered_once_and_nothing_wanted_is_nothing_asked(
    classifier, case, noise_maps, watched
):
    seen, maps, engine = watched(classifier.network), noise_maps(4, 9, 9), Engine(classifier)
    ask(engine, case, {"it": (maps, [Blank(BLACK), Blank(BLACK), Channels("relu1"), Channels("relu1")])})
    assert (engine.meter.forwards, engine.meter.tails) == (4 + 4, 4 * 5)  # four channels, and all of them
    seen.clear()
    assert ask(engine, case, {"it": (maps, [])}) == {"it": {}}
    assert ask(engine, case, {}) == {}
    assert seen == []


@dataclass(frozen=True)
class Darkening(ImageProbe):
    """Darkens an image by halves until its score is below `level`, and says how bright each image was."""

    level: float

    def count(self, pixels):
        return 10

    def rounds(self, subject):
        bright, tried = 1.0, []
        while len(tried) < 10:
            bright /= 2
            tried.append(bright)
            scores = yield 1, partial(self._fill, subject.image, bright)
            if scores[0, 0] < self.level:
                break
        return torch.tensor(tried, dtype=torch.float64)

    @staticmethod
    def _fill(image, bright, _start, _stop, out):
        out.copy_(image * bright)


def test_a_probe_of_ones_own_is_asked_in_rounds(pixel_sum, noise_maps):
    classifier = Classifier(pixel_sum(torch.ones(3, 3), bias=1.0))
    brightness = torch.tensor([1.0, 0.5], dtype=torch.float64).view(2, 1, 1, 1)
    case = Case.of(classifier, brightness.expand(2, 3, 3, 3), 1)  # scores 27·b + 1
    engine = Engine(classifier)
    answer = ask(engine, case, {"it": (noise_maps(2, 3, 3), [Darkening(5.0), Blank(BLACK)])})["it"][Darkening(5.0)]
    assert answer.at.tolist() == [[1 / 2, 1 / 4, 1 / 8], [1 / 2, 1 / 4, 1 / 4]]
    assert answer.logit.tolist() == [[14.5, 7.75, 4.375], [7.75, 4.375, 4.375]], "padded with its last"
    assert engine.meter.forwards == 3 + 2 + 2
    assert engine.meter.spared == 2 * 10 - (3 + 2)


def test_a_probe_knows_the_blank_image_from_its_second_round_on(pixel_sum, noise_maps):
    @dataclass(frozen=True)
    class Curious(ImageProbe):
        def count(self, pixels):
            return 1

        def rounds(self, subject):
            yield 1, Blank(BLACK).fill(subject)
            return subject.known(Blank(BLACK))[:, 0]

    classifier = Classifier(pixel_sum(torch.ones(3, 3), bias=3.0))
    case = Case.of(classifier, torch.rand(2, 3, 3, 3, dtype=torch.float64), 1)
    for probes in ([Curious(), Blank(BLACK)], [Blank(BLACK), Curious()]):
        answers = ask(Engine(classifier), case, {"it": (noise_maps(2, 3, 3), probes)})["it"]
        assert answers[Curious()].at.tolist() == [[3.0], [3.0]]
