"""The checks find and name what stays behind after a call, wherever it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from camfaith.benchmark import check_method
from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.methods import GradCAM
from camfaith.models.errors import NotApplicable

BY_NAME = {check.name: check for check in CHECKS}


class SwitchingDropoutOff(GradCAM):
    def explain(self, evidence, classifier):
        classifier.network.drop.p = 0.0
        return super().explain(evidence, classifier)


class LeavingAForward(GradCAM):
    def explain(self, evidence, classifier):
        for module in classifier.network.modules():
            if isinstance(module, nn.ReLU):
                module.forward = F.relu
        return super().explain(evidence, classifier)


class HookingParameters(GradCAM):
    def explain(self, evidence, classifier):
        weight = next(parameter for parameter in classifier.network.parameters() if parameter.requires_grad)
        weight.register_hook(lambda gradient: 0 * gradient)
        return super().explain(evidence, classifier)


class TakingGradientsAway(GradCAM):
    def explain(self, evidence, classifier):
        found = super().explain(evidence, classifier)
        evidence.gradients.clear()
        return found


class SwitchingGradientsOff(GradCAM):
    def explain(self, evidence, classifier):
        torch.set_grad_enabled(False)
        return super().explain(evidence, classifier)


class RememberingImages(GradCAM):
    """A cache by image, that is never emptied."""

    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.known = {}

    def explain(self, evidence, classifier):
        key = evidence.images.numpy().tobytes()
        if key not in self.known:
            self.known[key] = super().explain(evidence, classifier)
        return self.known[key]


class DrawnWhenBound(GradCAM):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.shares = 1 + torch.rand(16)

    def explain(self, evidence, classifier):
        channels = evidence.activations[self.layer] * evidence.gradients[self.layer]
        return (channels * self.shares[: channels.shape[1], None, None].to(channels)).sum(1)


@pytest.mark.parametrize(
    ("method", "check", "seen"),
    [
        (SwitchingDropoutOff, "network-untouched", "p of drop was 0.3 and is 0.0"),
        (LeavingAForward, "network-untouched", "forward of relu1 was not there and is <function relu"),
        (HookingParameters, "hooks", "backward_hooks of conv1.weight are others than before"),
        (TakingGradientsAway, "images-untouched", "the evidence's gradients of relu2 were taken away"),
        (SwitchingGradientsOff, "process-untouched", "torch.is_grad_enabled() was True and is False"),
        (RememberingImages, "memory", "objects stay behind after each call"),
        (DrawnWhenBound, "repeatable", "bound twice: they differ by"),
    ],
)
def test_what_stays_behind_is_named(method, check, seen):
    finding = BY_NAME[check].of(Candidate(method))
    assert finding.outcome == "failed"
    assert seen in finding.seen
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


class ReadingTwoLayers:
    """Needs what its layers say, and nothing of a class's attributes."""

    needs_layer = needs_gradients = False

    def __init__(self, model, target_layer=None, *, at="layer"):
        self.layer, self.needs_layer, self.needs_gradients = target_layer, at == "layer", at == "layer"
        convolutions = [name for name, module in model.network.named_modules() if isinstance(module, nn.Conv2d)]
        self.layers = (convolutions[0], target_layer)

    def explain(self, evidence, classifier):
        first, last = (evidence.gradients[name] * evidence.activations[name] for name in self.layers)
        return last.sum(1) + 0 * first.sum()


class OfNineCells(GradCAM):
    def explain(self, evidence, classifier):
        if evidence.activations[self.layer][0, 0].numel() < 9:
            raise NotApplicable("a grid of 3×3 or more")
        return super().explain(evidence, classifier)


@pytest.mark.parametrize("method", [ReadingTwoLayers, OfNineCells])
def test_a_sound_method_that_asks_for_something_else_passes(method):
    found = check_method(method)
    assert found.passed, found.failures
    assert "class-dependence" in found.names("passed")


class Exempt(GradCAM):
    exempt = {"in_range": "it is of another unit"}  # noqa: RUF012


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Exempt, "exempt from 'in_range', which is no check; there are shape, dtype"),
        (GradCAM(nn.Sequential(nn.Conv2d(3, 2, 1)), "0"), "expected a method's class, or its name; got GradCAM"),
    ],
)
def test_what_cannot_be_examined_is_said(method, message):
    with pytest.raises(SuiteError, match=message):
        check_method(method)


class RememberingArrays(GradCAM):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.given = []

    def explain(self, evidence, classifier):
        self.given.append(super().explain(evidence, classifier).numpy())
        return torch.from_numpy(self.given[-1])


class GrowingTensor(GradCAM):
    """One tensor alone is kept, and one more value of it with every call."""

    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.log = torch.zeros(0, dtype=torch.uint8)

    def explain(self, evidence, classifier):
        self.log = torch.cat([self.log, self.log.new_zeros(1)])
        return super().explain(evidence, classifier)


class GrowingBytes(GradCAM):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.log = b""

    def explain(self, evidence, classifier):
        self.log += b"."
        return super().explain(evidence, classifier)


@pytest.mark.parametrize(
    ("method", "outcome"),
    [
        ("gradcam", "passed"),
        ("integrated-gradients", "passed"),
        (RememberingArrays, "failed"),
        (GrowingTensor, "failed"),
        (GrowingBytes, "failed"),
    ],
)
def test_memory_is_watched(method, outcome):
    assert BY_NAME["memory"].of(Candidate(method)).outcome == outcome
