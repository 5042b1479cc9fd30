"""Captum's DeepLIFT: differences from a baseline, shared out layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods.attribution import TOGETHER, Attribution, captum, copied_to, noise_baselines
from camfaith.methods.base import Calls, TargetLayer
from camfaith.methods.preparing import check_precision, no_rule, unmarked, unshared, without_backward_hooks
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import Step, trace
from camfaith.models.settings import Few

_POOLING = {nn.MaxPool1d: F.max_pool1d, nn.MaxPool2d: F.max_pool2d, nn.MaxPool3d: F.max_pool3d}

_TOLERANCE = {torch.float64: 1e-2, torch.float32: 1e-2, torch.bfloat16: 0.1}
"""The share of Σ|map| that the map's sum may miss."""


class DeepLift(Attribution):
    """(x − b) ⊙ m for black b, where the multiplier m of a linear layer is its gradient, and that of a non-linear one
    Δout/Δin, the rescale rule (Shrikumar et al. 2017). Its sum is S_c(x) − S_c(b).

    Where |Δin| < 1e-10, m is the gradient at x. If windows of max pooling overlap, a pixel gets what all of them give
    it; captum 0.9 keeps only the last, a fifth less in sum on an untrained ResNet-18.

    `NotApplicable` names the module whose function is neither linear nor one that captum has a complete rule for: SiLU,
    GELU, softmax (whose rule loses part of the sum), products of two activations, functional ReLUs. The sum reveals
    what gradients do not show, as a mask x > 0 in place of a ReLU; the network is then refused too. A ReLU module may
    be called several times. The check costs one more forward for each image.
    """

    name = "deep-lift"
    complete: ClassVar[bool] = True

    def baselines(self, image: Tensor, seed: int) -> Tensor:
        """b for one image (3×H×W), N×3×H×W; maps are means over the N."""
        return torch.zeros_like(image)[None]

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        check_precision(self.name, classifier)
        with without_backward_hooks(classifier):
            steps, _ = trace(classifier, images)
            _check(self.name, steps)
            with unmarked(classifier.network), unshared(classifier.network, steps), _adding_windows():
                return self._means(evidence, classifier, images.detach())

    def _means(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        drawn = [self.baselines(x, seed) for x, seed in zip(images, evidence.seeds.tolist(), strict=True)]
        count = len(drawn[0])
        pairs = zip(
            torch.split(images.repeat_interleave(count, 0), TOGETHER // 2),
            torch.split(torch.cat(drawn), TOGETHER // 2),
            torch.split(evidence.targets.repeat_interleave(count), TOGETHER // 2),
            strict=True,
        )
        kinds = _kinds()
        with copied_to(module for module in classifier.network.modules() if type(module) in kinds):
            explainer = captum().DeepLift(classifier)
            # captum would hook a module twice that two parents share
            mine = explainer._forward_hook
            explainer._can_register_hook = lambda m: type(m) in kinds and mine not in m._forward_hooks.values()
            found = [self._lifted(explainer, x, b, c) for x, b, c in pairs]
        return torch.cat(found).view(len(images), count, *images.shape[1:]).mean(1)

    def _lifted(self, explainer: Any, x: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """Captum's result for pairs of image and baseline; `NotApplicable` if it is not complete."""
        logits: list[Tensor] = []
        handle = explainer.model.register_forward_hook(lambda _m, _i, out: logits.append(out.detach()))
        try:
            found: Tensor = explainer.attribute(x.requires_grad_(), b, target=targets).detach()
        finally:
            handle.remove()
        of_x, of_b = logits[-1].gather(1, targets.repeat(2)[:, None])[:, 0].chunk(2)
        missing = (found.flatten(1).sum(1) - (of_x - of_b)).abs()
        if bool((missing > _TOLERANCE[found.dtype] * found.abs().flatten(1).sum(1)).any()):
            raise NotApplicable(
                f"{self.name}: the map does not sum to S(x) − S(b), so the network computes something that its "
                "gradients do not show (a mask such as x > 0, .detach(), torch.no_grad()); write it with modules "
                "such as nn.ReLU, or take another method"
            )
        return found

    def cost(self, image: Tensor) -> Calls:
        count = len(self.baselines(image[0], 0))
        return Calls(forwards=1 + 2 * count, backwards=2 * count)


class DeepLiftShap(DeepLift):
    """The mean of DeepLift's maps over `baselines` images b: black, and noise uniform in [0, 1], drawn from each
    image's seed (Lundberg and Lee 2017). Its sum is S_c(x) less the mean of S_c(b)."""

    name = "deep-lift-shap"
    complete: ClassVar[bool] = False
    exempt: ClassVar[Mapping[str, str]] = {"constant-evidence": "against noise, a pixel may be darker than a baseline"}

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, baselines: Few = 8) -> None:
        super().__init__(model, target_layer)
        self.count = baselines

    def baselines(self, image: Tensor, seed: int) -> Tensor:
        return noise_baselines(image, self.count, seed)


def _kinds() -> set[type[nn.Module]]:
    """The kinds of modules with a complete rule: captum's, except softmax."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    return set(SUPPORTED_NON_LINEAR) - {nn.Softmax}


@contextmanager
def _adding_windows() -> Iterator[None]:
    """Inside, captum pools as `_max_pooling` says."""
    from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR

    captums = dict(SUPPORTED_NON_LINEAR)
    try:
        SUPPORTED_NON_LINEAR.update(dict.fromkeys(_POOLING, _max_pooling))
        yield
    finally:
        SUPPORTED_NON_LINEAR.update(captums)


def _max_pooling(
    pool: Any, inputs: Tensor, outputs: Tensor, grad_input: Tensor, grad_output: Tensor, eps: float
) -> Tensor:
    """Captum's rule for max pooling at one image: the excess of x's output over b's goes to x's maximum, that of b's
    over x's to b's maximum. The first half of every batch is x, the second b."""
    (x, b), (y, c) = inputs.chunk(2), outputs.chunk(2)
    larger = torch.maximum(y, c)
    given = grad_output * torch.cat([larger - c, y - larger])
    shape = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
    _, places = _POOLING[type(pool)](inputs, *shape, return_indices=True)
    sums = torch.zeros_like(inputs).flatten(2).scatter_add(2, places.flatten(2), given.flatten(2)).view(inputs.shape)
    still = (x - b).abs() < eps
    quotient = (sums[: len(x)] + sums[len(x) :]) / torch.where(still, torch.ones_like(x), x - b)
    return torch.where(still, grad_input[: len(x)], quotient).repeat(2, *[1] * (x.ndim - 1))


def _check(method: str, steps: Sequence[Step]) -> None:
    kinds = _kinds()
    known = ", ".join(sorted(f"nn.{kind.__name__}" for kind in kinds))
    advice = f"write it with modules of the kinds that have one ({known})"
    for step in steps:
        if type(step.module) in kinds:
            if not step.plain:
                raise NotApplicable(
                    f"{method}: {step.where} is not called with a tensor that depends on the images, by position, or "
                    "writes into it, or does not return one tensor alone (return_indices); change that"
                )
            continue
        for function in step.functions:
            if not function.linear:
                raise no_rule(method, step, function.name, advice)
