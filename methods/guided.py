"""Gradients that every ReLU changes on their way back: guided backpropagation and deconvolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from camfaith.methods.attribution import Attribution
from camfaith.methods.gradient import GradCAM
from camfaith.methods.preparing import no_rule
from camfaith.models import maps
from camfaith.models.capture import Evidence, target_logit
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import functions, trace


class GuidedBackprop(Attribution):
    """∂S_c/∂x where every ReLU, besides its own gradient, passes back only what is positive (Springenberg et al. 2014).

    Modules and functions count alike: `nn.ReLU`, `torch.relu`, `x.relu_()`. Other activations, such as LeakyReLU and
    ReLU6, keep their gradient. `NotApplicable` is raised for a network without a ReLU on the image's way, and names the
    module that writes one as a clamp at 0, a threshold or a maximum. Captum changes `nn.ReLU` modules alone; its result
    is the same if a network has no other ReLUs and nothing flows past them.
    """

    name = "guided-backprop"
    only_open: ClassVar[bool] = True
    """Whether a ReLU with a negative input passes nothing back."""

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        with _Guiding(only_open=self.only_open) as relus:
            scores = target_logit(classifier(images), evidence.targets)
            if any(function.rectifies or function.hides for function in functions(scores)):
                raise self._unmet(classifier, images)
            if not relus.met:
                raise NotApplicable(
                    f"{self.name} changes gradients at ReLUs, and {classifier.name} runs none on the image's way "
                    "(SiLU, GELU and the like cannot be guided); take input-x-gradient or integrated-gradients"
                )
            # checkpointing runs ReLUs again meanwhile: of edges, not tensors, the mode does not let go
            return torch.autograd.grad(get_gradient_edge(scores.sum()), get_gradient_edge(images))[0]

    def _unmet(self, classifier: Classifier, images: Tensor) -> NotApplicable:
        """The error for a ReLU that could not be exchanged."""
        steps, _ = trace(classifier, images)
        step, function = next((step, each) for step in steps for each in step.functions if each.rectifies)
        return no_rule(self.name, step, function.name, "write it as nn.ReLU or F.relu")


class Deconvolution(GuidedBackprop):
    """∂S_c/∂x where every ReLU passes back the positive part of what reaches it, whatever its input (Zeiler and Fergus
    2014). The same ReLUs count as in `GuidedBackprop`."""

    name = "deconvolution"
    only_open: ClassVar[bool] = False
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("planted-patch", "negative-logit", "evidence-against", "mosaic"),
        "it passes a ReLU whether or not that was open, so pixels that the score does not depend on light up",
    )


class GuidedGradCam(GuidedBackprop):
    """Guided backpropagation ⊙ upsampled GradCAM, colours summed (Selvaraju et al. 2017)."""

    name = "guided-gradcam"
    needs_layer: ClassVar[bool] = True
    needs_gradients: ClassVar[bool] = True
    explained_layer = None

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        cam = GradCAM(classifier, self.named_layer).explain(evidence, classifier).clamp(min=0)
        guided = super().attribute(evidence, classifier, images)
        return guided * maps.upsample(cam, (images.shape[-2], images.shape[-1]))[:, None]


class _Guiding(TorchFunctionMode):
    """Exchanges every ReLU that runs inside, and counts those whose input depends on the image."""

    def __init__(self, *, only_open: bool) -> None:
        super().__init__()
        self.only_open, self.met = only_open, 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name not in ("relu", "relu_"):
            return func(*args, **named)
        values = args[0] if args else named["input"]
        self.met += values.requires_grad  # parameters need no gradients, so what needs one depends on the image
        return _Rectifier.apply(values, name == "relu_" or named.get("inplace", False), self.only_open)


class _Rectifier(torch.autograd.Function):
    """A ReLU that passes back the positive part of what reaches it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, inplace: bool, only_open: bool) -> Tensor:
        out = values.relu_() if inplace else values.relu()
        if inplace:
            ctx.mark_dirty(out)
        ctx.open = out > 0 if only_open else None
        return out

    @staticmethod
    def backward(ctx: Any, flow: Tensor) -> tuple[Tensor, None, None]:
        flow = flow.clamp(min=0)
        return flow if ctx.open is None else flow * ctx.open, None, None
