"""Every check catches the method that breaks its rule, and passes the others."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch

from camfaith.benchmark import method_checks
from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.methods import Calls, GradCAM, Method
from camfaith.models.errors import NotApplicable

BY_NAME = {check.name: check for check in CHECKS}


class Squeezed(GradCAM):
    """The shape of a single map has no batch axis."""

    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).squeeze(0)


class Single(GradCAM):
    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).float()


class OnTheHost(GradCAM):
    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).cpu()


class Standardised(GradCAM):
    """The deviation of a single cell is NaN."""

    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw / raw.flatten(1).std(1).clamp(min=1e-30)[:, None, None]


class Jittered(GradCAM):
    def explain(self, evidence, classifier):
        raw, source = super().explain(evidence, classifier), torch.Generator()
        source.seed()
        return raw * (1 + 1e-8 * torch.rand(raw.shape, generator=source, dtype=torch.float64).to(raw))


class OverTheBatch(GradCAM):
    def explain(self, evidence, classifier):
        return (raw := super().explain(evidence, classifier)) / raw.abs().max().clamp(min=1e-30)


class Writing(GradCAM):
    def explain(self, evidence, classifier):
        evidence.images.mul_(0.5)
        return super().explain(evidence, classifier)


class LeavingGradients(GradCAM):
    def explain(self, evidence, classifier):
        for parameter in classifier.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return super().explain(evidence, classifier)


class SettingEvaluation(GradCAM):
    def explain(self, evidence, classifier):
        classifier.network.eval()
        return super().explain(evidence, classifier)


class LeavingAHook(GradCAM):
    def explain(self, evidence, classifier):
        if not classifier.network._forward_hooks:
            classifier.network.register_forward_hook(lambda *_: None)
        return super().explain(evidence, classifier)


class DrawingGlobally(GradCAM):
    def explain(self, evidence, classifier):
        torch.rand(1)
        return super().explain(evidence, classifier)


class LeavingADefault(GradCAM):
    def explain(self, evidence, classifier):
        torch.set_default_dtype(torch.float64)
        return super().explain(evidence, classifier)


class WithAPassOfItsOwn(GradCAM):
    """Runs a copy of the network; how, is left to the ones below."""

    def cost(self, image):
        return Calls(forwards=1, backwards=1)

    def go_back(self, network, images, target):
        network(images).gather(1, target[:, None]).sum().backward()


class NeedingParameters(WithAPassOfItsOwn):
    def explain(self, evidence, classifier):
        with torch.enable_grad():
            self.go_back(copy.deepcopy(classifier.network).eval(), evidence.images, evidence.targets)
        return super().explain(evidence, classifier)


class NeedingGradMode(WithAPassOfItsOwn):
    def explain(self, evidence, classifier):
        images = evidence.images.clone().requires_grad_()
        self.go_back(copy.deepcopy(classifier.network).eval(), images, evidence.targets)
        return super().explain(evidence, classifier)


class ByNumpy(GradCAM):
    """numpy has no bfloat16, which the images have."""

    def explain(self, evidence, classifier):
        edges = torch.from_numpy(evidence.images.cpu().numpy()).to(evidence.images)
        return super().explain(evidence, classifier) + 0 * edges.sum()


class Hooked(WithAPassOfItsOwn):
    """GradCAM from hooks of its own: `keep` takes the layer's output, and gives what the network goes on with."""

    def keep(self, kept, output):
        raise NotImplementedError

    def explain(self, evidence, classifier):
        twin, kept = copy.deepcopy(classifier).eval(), {}
        layer = twin.network.get_submodule(self.layer)
        layer.register_forward_hook(lambda _m, _i, output: self.keep(kept, output))
        with torch.enable_grad():
            images = evidence.images.clone().requires_grad_()
            score = twin(images).gather(1, evidence.targets[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, kept["output"])
        return (gradient.mean((2, 3), keepdim=True) * kept["output"].detach()).sum(1)


class WithoutACopy(Hooked):
    def keep(self, kept, output):
        kept["output"] = output


class OfTheFirstCall(Hooked):
    def keep(self, kept, output):
        kept.setdefault("output", output)
        return output.clone()


class TooBright(GradCAM):
    def explain(self, evidence, classifier):
        classifier.scores(5.5 * evidence.images)
        return super().explain(evidence, classifier)

    def cost(self, image):
        return Calls(forwards=1)


class Undeclared(GradCAM):
    def explain(self, evidence, classifier):
        classifier.scores(evidence.images)
        return super().explain(evidence, classifier)


class Remembering(GradCAM):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.given = []

    def explain(self, evidence, classifier):
        self.given.append(super().explain(evidence, classifier))
        return self.given[-1]


class Stale(GradCAM):
    """The first map of an image is given for every class that is asked later."""

    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.known = {}

    def explain(self, evidence, classifier):
        weights = [float(parameter.double().sum()) for parameter in classifier.parameters()]
        key = (evidence.images.double().cpu().numpy().tobytes(), *weights)
        return self.known.setdefault(key, super().explain(evidence, classifier))


class PerActivation(GradCAM):
    """0/0 where the layer is silent."""

    def explain(self, evidence, classifier):
        size = evidence.activations[self.layer].abs().sum((1, 2, 3))
        return super().explain(evidence, classifier) / size[:, None, None]


class FromItsMinimum(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw - raw.amin((1, 2), keepdim=True)


class BlindAtTheBorder(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        if min(raw.shape[1:]) < 3:
            return raw
        dimmed = 0.01 * raw
        dimmed[:, 1:-1, 1:-1] = raw[:, 1:-1, 1:-1]
        return dimmed


class SignedByTheLogit(GradCAM):
    def explain(self, evidence, classifier):
        sign = evidence.logits.gather(1, evidence.targets[:, None]).sign()
        return super().explain(evidence, classifier) * sign[:, :, None]


class OfAbsoluteWeights(GradCAM):
    def weights(self, activations, gradients):
        return super().weights(activations, gradients).abs()


class Leaking(Method):
    """Image times gradient, of the class and nearly as much of all others."""

    name = "leaking"
    needs_layer = False

    def cost(self, image):
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence, classifier):
        twin = copy.deepcopy(classifier).eval().requires_grad_(False)
        with torch.enable_grad():
            images = evidence.images.clone().requires_grad_()
            logits = twin(images)
            own = logits.gather(1, evidence.targets[:, None])
            score = own.sum() + 0.9 * (logits.sum() - own.sum())
            (gradient,) = torch.autograd.grad(score, images)
        return (gradient * evidence.images).sum(1)


class Squared(GradCAM):
    def explain(self, evidence, classifier):
        return (raw := super().explain(evidence, classifier)) * raw.abs()


class ClaimingToBeComplete(GradCAM):
    complete = True


class Leaning(GradCAM):
    def explain(self, evidence, classifier):
        return (raw := super().explain(evidence, classifier)) * (1 + 1e-4 * torch.arange(raw.shape[2]).to(raw))


class Lifted(GradCAM):
    def explain(self, evidence, classifier):
        return (raw := super().explain(evidence, classifier)) + 0.02 * raw.clamp(min=0).amax((1, 2), keepdim=True)


class OfTheLastReLU(WithAPassOfItsOwn):
    """Whatever layer is named."""

    def explain(self, evidence, classifier):
        names = [name for name, module in classifier.network.named_modules() if isinstance(module, torch.nn.ReLU)]
        if not names:
            raise NotApplicable("there is no ReLU")
        again = classifier.evidence(evidence.images, evidence.targets, [names[-1]])
        return (again.activations[names[-1]] * again.gradients[names[-1]]).sum(1)


class PastTheClassifier(GradCAM):
    """Asks the network itself, with images that are not normalised."""

    needs_layer = needs_gradients = False
    of_pixels = True
    cost = WithAPassOfItsOwn.cost

    def explain(self, evidence, classifier):
        images = evidence.images.clone().requires_grad_()
        with torch.enable_grad():
            logits = classifier.read(copy.deepcopy(classifier.network).eval()(images))
            (gradient,) = torch.autograd.grad(logits.gather(1, evidence.targets[:, None]).sum(), images)
        return (gradient * images.detach()).sum(1)


class HoldingACopy(WithAPassOfItsOwn):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.twin = copy.deepcopy(self.classifier)

    def cost(self, image):
        return Calls()

    def explain(self, evidence, classifier):
        again = self.twin.evidence(evidence.images, evidence.targets, [self.layer])
        return super().explain(again, classifier)


class PastTheHead(GradCAM):
    """Explains the network's one output for both of its classes."""

    def explain(self, evidence, classifier):
        sign = 2 * evidence.targets - 1 if classifier.head.name == "binary" else torch.ones(len(evidence))
        return sign[:, None, None] * super().explain(evidence, classifier)


BROKEN = {
    "shape": (Squeezed, {}),
    "dtype": (Single, {}),
    "device": (OnTheHost, {}),
    "finite": (Standardised, {}),
    "repeatable": (Jittered, {}),
    "batch": (OverTheBatch, {}),
    "images-untouched": (Writing, {}),
    "network-untouched": (LeavingGradients, {}),
    "training-mode": (SettingEvaluation, {}),
    "hooks": (LeavingAHook, {}),
    "random-state": (DrawingGlobally, {}),
    "process-untouched": (LeavingADefault, {}),
    "layer": (OfTheLastReLU, {}),
    "preprocessing": (PastTheClassifier, {}),
    "one-logit": (PastTheHead, {}),
    "present-weights": (HoldingACopy, {}),
    "frozen": (NeedingParameters, {}),
    "no-grad": (NeedingGradMode, {}),
    "low-precision": (ByNumpy, {}),
    "in-place": (WithoutACopy, {}),
    "reused-layer": (OfTheFirstCall, {}),
    "in-range": (TooBright, {}),
    "cost": (Undeclared, {}),
    "memory": (Remembering, {}),
    "class-dependence": (Stale, {}),
    "zero-activations": (PerActivation, {}),
    "constant-evidence": (FromItsMinimum, {}),
    "planted-patch": (BlindAtTheBorder, {}),
    "negative-logit": (SignedByTheLogit, {}),
    "evidence-against": (OfAbsoluteWeights, {}),
    "mosaic": (Leaking, {}),
    "known-map": (Squared, {}),
    "completeness": (ClaimingToBeComplete, {}),
    "logit-scale": ("gradcam++", {"variant": "pgc"}),
    "flip": (Leaning, {}),
    "cancelling-channel": ("xgradcam", {"variant": "pgc"}),
    "silent-cells": (Lifted, {}),
    "like": ("gradcam++", {"variant": "torchcam", "like": "gradcam++"}),
}

QUICKLY = [replace(check, trials=check.trials[-1:]) for check in CHECKS if check.name != "memory"]
"""The checks on the largest of their inputs; memory is measured where it is asked about."""


def test_there_is_a_broken_method_for_every_check():
    assert list(BROKEN) == [check.name for check in CHECKS]


@pytest.mark.parametrize("name", BROKEN)
def test_a_check_catches_the_method_that_is_broken_in_its_way_alone(name):
    if name == "device" and not torch.cuda.is_available():
        pytest.skip("maps on another device need one: there is no CUDA here")
    method, settings = BROKEN[name]
    candidate = Candidate(method, **settings)
    assert BY_NAME[name].of(candidate).outcome == "failed"
    others = [check for check in QUICKLY if check.name != name]
    assert [check.name for check in others if check.of(candidate).outcome == "failed"] == []


def test_an_error_that_a_check_is_about_has_its_meaning():
    frozen = BY_NAME["frozen"].of(Candidate(NeedingParameters))
    assert frozen.seen.startswith("RuntimeError")
    assert frozen.means == "it cannot explain a model whose weights are fixed, as in deployment"


class OverflowingInHalf(GradCAM):
    """65,504 is the most that float16 holds; bfloat16 has single precision's range."""

    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier) + 0 * (1e6 * evidence.images).sum()


def test_the_precision_that_fails_is_named():
    check = BY_NAME["low-precision"]
    assert check.of(Candidate(OverflowingInHalf)).seen == "in float16: the map holds NaN or infinite values"
    assert check.of(Candidate(ByNumpy)).seen.startswith("in bfloat16: TypeError: ")


def test_a_failing_check_fails_its_test():
    (check,) = (check for check in method_checks(Undeclared) if check.check.name == "cost")
    with pytest.raises(AssertionError, match=r"batch 1, 2×2 px.*1 forwards.*declared: 0"):
        check()
