"""Every check catches the metric that breaks its rule, and passes the others."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from camfaith.benchmark import check_metric, metric_checks
from camfaith.benchmark.conformance.of_metrics import CHECKS
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate
from camfaith.metrics import Curve, Deletion, ImageProbe, Line, Metric, baseline


@dataclass(frozen=True)
class Topless(ImageProbe):
    """The image without a tenth of its pixels, the most relevant ones."""

    reads = "ranks"

    def count(self, pixels):
        return 1

    def stays(self, subject):
        return subject.read("ranks") >= subject.case.pixels / 10

    def fill(self, subject):
        stays = self.stays(subject)
        return subject.masked(baseline("black"), lambda start, stop: stays[None])


@dataclass(frozen=True, kw_only=True)
class Loss(Metric):
    """z(x) − z(x without its top pixels), z the class's logit, of any size; higher is better (own definition)."""

    name = "loss"
    main = "loss"
    better = {"loss": "higher"}  # noqa: RUF012
    range = {"loss": (-torch.inf, torch.inf)}  # noqa: RUF012
    asks = Topless()

    def probes(self, layer, pixels):
        return (self.asks,)

    def judge(self, case, maps, answers):
        return {"loss": case.whole("logit") - answers[self.asks].logit[:, 0]}


class OneForAll(Loss):
    def judge(self, case, maps, answers):
        return {"loss": super().judge(case, maps, answers)["loss"].mean()}


class AgainstTheBatch(Loss):
    def judge(self, case, maps, answers):
        loss = super().judge(case, maps, answers)["loss"]
        return {"loss": loss / (loss.square().nanmean().sqrt() + 1e-9)}


class NothingForAll(Loss):
    """One map of zeros costs its neighbours their value."""

    def judge(self, case, maps, answers):
        loss = super().judge(case, maps, answers)["loss"]
        return {"loss": torch.where((maps.saliency == 0).flatten(1).all(1).any(), torch.nan, loss)}


class OfFlatColours(Topless):
    """Takes the first N of 3·N numbers for the N pixels."""

    def fill(self, subject):
        stays = self.stays(subject)

        def fill(start, stop, out):
            flat = subject.image.flatten().clone()
            flat[: len(stays)] *= stays
            out.copy_(flat.view_as(subject.image))

        return fill


class Flattened(Loss):
    asks = OfFlatColours()


class ForSquares(Loss):
    def judge(self, case, maps, answers):
        side = int(case.pixels**0.5)
        maps.saliency.reshape(len(case), side, side)
        return super().judge(case, maps, answers)


class InReadingOrder(Topless):
    reads = "saliency"

    def stays(self, subject):
        order = subject.read("saliency").flatten().argsort(descending=True, stable=True)
        return order.argsort() >= subject.case.pixels / 10


class TiedByPlace(Loss):
    asks = InReadingOrder()


class Praising(Loss):
    """A thousand for a map all of whose values are `praised`."""

    praised = 0

    def judge(self, case, maps, answers):
        flat = (maps.saliency == self.praised).flatten(1).all(1)
        return {"loss": torch.where(flat, 1000.0, super().judge(case, maps, answers)["loss"])}


class PraisingOnes(Praising):
    praised = 1


class WithoutAbsolute(Metric):
    """Σ_mask M / |ΣM|, in [0, 1], higher is better (own definition)."""

    name = "share"
    main = "share"
    better = {"share": "higher"}  # noqa: RUF012

    def judge(self, case, maps, answers):
        return {"share": (maps.saliency * case.masks).sum((1, 2)) / maps.saliency.sum((1, 2)).abs()}


class Forgiving(Loss):
    """Judges maps that hold NaN."""

    def __call__(self, model, images, targets, maps, **more):
        several = {key: of.nan_to_num() for key, of in maps.items()} if isinstance(maps, dict) else maps.nan_to_num()
        return super().__call__(model, images, targets, several, **more)


class NothingLost(Loss):
    def judge(self, case, maps, answers):
        return {"loss": super().judge(case, maps, answers)["loss"].nan_to_num(0)}


class TheOtherWay(Loss):
    """z(x) − z(x without its top pixels), z the class's logit, of any size; lower is better (own definition)."""

    better = {"loss": "lower"}  # noqa: RUF012


class LargestFirst(Topless):
    reads = "saliency"

    def stays(self, subject):
        size = subject.read("saliency").abs().flatten()
        return size <= size.quantile(0.9)


class BlindToSigns(Loss):
    asks = LargestFirst()


class InUnits(Loss):
    range = Loss.range | {"wide": (0, 1)}

    def judge(self, case, maps, answers):
        wide = (maps.saliency > 0.1).double().mean((1, 2))
        return super().judge(case, maps, answers) | {"wide": wide}


class OutOfRange(Loss):
    range = {"loss": (0, 1)}  # noqa: RUF012


class Jittered(Loss):
    def judge(self, case, maps, answers):
        source = torch.Generator()
        source.seed()
        return {"loss": super().judge(case, maps, answers)["loss"] + 1e-8 * torch.rand(len(case), generator=source)}


@dataclass(frozen=True, kw_only=True)
class Remembering(Loss):
    """Adds something where the images before had another size; `memory` is its own."""

    memory: list = field(default_factory=list, compare=False)

    def judge(self, case, maps, answers):
        self.memory.append(case.pixels)
        return {"loss": super().judge(case, maps, answers)["loss"] + (self.memory[-2:][0] != case.pixels)}


@dataclass(frozen=True, kw_only=True)
class Comparing(Remembering):
    """Adds something where the images before were the same."""

    def judge(self, case, maps, answers):
        self.memory.append(case.images)
        again = len(self.memory) > 1 and torch.equal(self.memory[-2], case.images)
        return {"loss": Loss.judge(self, case, maps, answers)["loss"] + again}


class Writing(Loss):
    def judge(self, case, maps, answers):
        found = super().judge(case, maps, answers)
        maps.saliency.clamp_(min=0)
        return found


class LeavingGradients(Loss):
    def judge(self, case, maps, answers):
        for parameter in maps.explainer.classifier.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return super().judge(case, maps, answers)


class Switching(Loss):
    """Leaves a switch of the process on for good, so that a second call changes nothing."""

    def judge(self, case, maps, answers):
        torch.use_deterministic_algorithms(True)
        return super().judge(case, maps, answers)


class DrawingGlobally(Loss):
    def judge(self, case, maps, answers):
        torch.rand(1)
        return super().judge(case, maps, answers)


class AskingTwice(Topless):
    def rounds(self, subject):
        yield 1, self.fill(subject)
        yield 1, self.fill(subject)
        return None


class Undeclared(Loss):
    asks = AskingTwice()


class OneStepLate(Deletion):
    """Its curve begins with the second point on the way to the `baseline`."""

    def line(self, case, maps, answers):
        line = super().line(case, maps, answers)
        return Line(line.x, torch.cat([line.y[:, 1:], line.y[:, -1:]], 1), line.x_label, line.y_label)


class ByNumpy(Loss):
    """numpy has no bfloat16, which the images have."""

    def judge(self, case, maps, answers):
        case.images.numpy()
        return super().judge(case, maps, answers)


class NeedingGradMode(Loss):
    def judge(self, case, maps, answers):
        x = maps.saliency.clone().requires_grad_()
        torch.autograd.grad(x.square().sum(), x)
        return super().judge(case, maps, answers)


class Undocumented(Metric):
    name, main, better, asks = Loss.name, Loss.main, Loss.better, Loss.asks
    probes, judge = Loss.probes, Loss.judge


BROKEN = {
    "per-image": OneForAll,
    "batch": AgainstTheBatch,
    "grey": Flattened,
    "size": ForSquares,
    "ties": TiedByPlace,
    "zero-map": Praising,
    "constant-map": PraisingOnes,
    "signed-map": WithoutAbsolute,
    "nan-map": Forgiving,
    "nan-answer": NothingLost,
    "direction": TheOtherWay,
    "opposite-map": BlindToSigns,
    "scale": InUnits,
    "range": OutOfRange,
    "repeatable": Jittered,
    "state": Remembering,
    "inputs-untouched": Writing,
    "network-untouched": LeavingGradients,
    "random-state": DrawingGlobally,
    "cost": Undeclared,
    "steps": OneStepLate,
    "dtype": ByNumpy,
    "no-grad": NeedingGradMode,
    "several": Comparing,
    "documentation": Undocumented,
}
BY_NAME = {check.name: check for check in CHECKS}
QUICKLY = [replace(check, trials=check.trials[:1]) for check in CHECKS]
"""The checks on the smallest of their inputs."""


def failed(kind, checks):
    candidate = Candidate(kind)
    found = [check.of(candidate) for check in checks]
    return [finding.check for finding in found if finding.outcome == "failed"]


def test_there_is_a_broken_metric_for_every_check():
    assert list(BROKEN) == [check.name for check in CHECKS]


@pytest.mark.parametrize("name", BROKEN)
def test_a_check_catches_the_metric_that_is_broken_in_its_way_alone(name):
    assert failed(BROKEN[name], [BY_NAME[name]]) == [name]
    assert failed(BROKEN[name], [check for check in QUICKLY if check.name != name]) == []


class Plain:
    """z(x) − z(x without its top pixels), of any size; higher is better (own definition)."""

    name, main, better, undefined = "plain", "loss", Loss.better, "never"

    def probes(self, layer, pixels):
        return (Topless(),)

    def judge(self, case, maps, answers):
        return {"loss": case.whole("logit") - answers[Topless()].logit[:, 0]}


def test_a_class_that_derives_from_nothing_passes_and_its_checks_run_as_tests():
    found = check_metric(Plain)
    assert found.passed, found.failures
    assert found.name == "plain"
    assert found.names("does not apply") == ["range", "steps"]
    (check,) = (check for check in metric_checks(Plain) if check.check.name == "batch")
    check()
    assert str(check) == "plain-batch"


class OnePixelLate(Curve):
    def fill(self, subject):
        removed = torch.arange(1, self.steps)[:, None] * subject.case.pixels // self.steps
        stays = subject.read("ranks") > removed
        return subject.masked(self.baseline, lambda start, stop: stays[start:stop])


class LateWithin(Deletion):
    """The `baseline` comes one pixel late at all points but the ends."""

    @property
    def _interior(self):
        return OnePixelLate(self.kept, self.steps, self.baseline)


class BackToFront(InReadingOrder):
    def stays(self, subject):
        order = subject.read("saliency").flatten().flip(0).argsort(descending=True, stable=True)
        return order.argsort().flip(0) >= subject.case.pixels / 10


class TiedFromTheEnd(Loss):
    asks = BackToFront()


@pytest.mark.parametrize(
    ("kind", "check", "seen"),
    [
        (LateWithin, "steps", "pixels changed the score is"),
        (TiedFromTheEnd, "ties", "on average"),
        (TheOtherWay, "direction", "'loss', better lower, is"),
        (OneForAll, "per-image", "loss must give 1 values, one per image, for 'loss'; got ()"),
        (Undeclared, "cost", "3 forwards and 0 backwards for 1 images; declared: 2 forwards"),
        (WithoutAbsolute, "signed-map", "where a map's mean is 0"),
        (NothingLost, "nan-answer", "'loss' is"),
        (NothingForAll, "batch", "'loss' of image 0 is nan"),
        (Switching, "network-untouched", "deterministic_algorithms_enabled() was False and is True"),
        (Undocumented, "documentation", "it has no docstring"),
    ],
)
def test_what_was_seen_is_told(kind, check, seen):
    assert seen in BY_NAME[check].of(Candidate(kind)).seen


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("In [0, 1], higher is better (Who 2020).", ""),
        ("Higher is better (Who 2020).", "gives no range"),
        ("In [0, 1] (Who 2020).", "of what higher is better"),
        ("In [0, 1], higher is better.", "names no source"),
    ],
)
def test_a_docstring_says_range_direction_and_source(text, seen):
    kind = type("Told", (), {**vars(Plain), "__doc__": text})
    assert seen in BY_NAME["documentation"].of(Candidate(kind)).seen
