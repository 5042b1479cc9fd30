"""A logit taken apart into what the input adds to it and what every bias of the network adds."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from camfaith.methods.base import Calls, Method, check_variant
from camfaith.models import maps
from camfaith.models.capture import Evidence, evaluating, target_logit
from camfaith.models.classifier import Classifier

Variant = Literal["paper", "pgc"]


class FullGrad(Method):
    """ψ(∇x S_c ⊙ x) + Σ_l Σ_k ψ(g^l ⊙ b^l)_k, never negative, on the image's grid (Srinivas and Fleuret 2019).

    x is what the network is given, after normalisation; g^l = ∂S_c/∂(the output of layer l) and b^l its bias, for all
    convolutions and batch norms (`full_gradients`; the biases of a fully connected head have no place in the image, and
    none in the map). ψ takes the absolute value, scales it by (v − min)/(max − min), and upsamples. Minimum and maximum
    are those of all channels of a layer, as in the authors' code. That code adds 10⁻⁶ to the denominator, which would
    rule where gradients are small, and aligns the corners as it upsamples; here a flat layer adds 0, and maps are
    upsampled as all maps are.

    `variant="pgc"`: minimum and maximum of each channel, and 10⁻⁷ in the denominator, as in pytorch-grad-cam 1.5, so
    that every channel counts alike, however small its share.

    For a network of ReLUs the parts add up to S_c exactly. Where they do not, as with SiLU or GELU, whose own biases
    are not known here, the map is still drawn, and a warning says so.
    """

    name = "fullgrad"
    of_pixels: ClassVar[bool] = True

    def __init__(self, model: nn.Module, target_layer: str | None = None, *, variant: Variant = "paper") -> None:
        super().__init__(model, target_layer)
        check_variant(variant, get_args(Variant))
        self.variant = variant

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        score, parts = full_gradients(classifier, evidence.images, evidence.targets)
        sums = torch.stack([part.flatten(1).sum(1) for part in parts])
        if bool(((score - sums.sum(0)).abs() > 1e-3 * sums.abs().sum(0)).any()):
            warnings.warn(
                f"FullGrad: what the input and the biases of {type(classifier.network).__name__} add does not sum to "
                "the logit: it has nonlinearities other than ReLU, or biases outside its layers",
                stacklevel=2,
            )
        height, width = evidence.images.shape[-2:]
        drawn = [maps.upsample(self._scaled(part.abs()).sum(1), (height, width)) for part in parts if part.ndim == 4]
        return torch.stack(drawn).sum(0)

    def _scaled(self, values: Tensor) -> Tensor:
        over = (1, 2, 3) if self.variant == "paper" else (2, 3)
        low, high = values.amin(over, keepdim=True), values.amax(over, keepdim=True)
        if self.variant == "pgc":
            return (values - low) / (high - low + 1e-7)
        return (values - low) / torch.where(high > low, high - low, 1)


def full_gradients(classifier: Classifier, images: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
    """S_c (B), and the parts that sum to it in a network of ReLUs: ∇x S_c ⊙ x, and g ⊙ b for each call of a layer with
    a bias b, g being the gradient at its output; channels on the second axis.

    Convolutions, linear layers and batch norms, whose bias is β − γμ/√(σ²+ε). Their sum is exact because a network of
    ReLUs is linear around x in x and its biases together. Normalisation inside the classifier makes no part:
    x = (image − mean)/std, and so ∇x S_c ⊙ x = ∂S_c/∂image ⊙ (image − mean).
    """
    parts: list[Tensor] = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network):
        leaf = images.clone().requires_grad_()
        handles = []
        try:
            for module in classifier.network.modules():
                bias = _bias(module)
                if bias is not None:
                    handles.append(module.register_forward_hook(_listener(bias, parts, isinstance(module, nn.Linear))))
            score = target_logit(classifier.logits(leaf.clone()), targets.clone())
            (gradient,) = torch.autograd.grad(score.sum(), leaf)
        finally:
            for handle in handles:
                handle.remove()
    mean = images.new_tensor(classifier.mean or [0.0] * images.shape[1]).view(1, -1, 1, 1)
    return score.detach(), [gradient * (images - mean), *parts]


def _bias(module: nn.Module) -> Tensor | None:
    """What a layer adds to each of its output channels, as long as it is linear but for that."""
    if isinstance(module, _ConvNd | nn.Linear):
        return None if module.bias is None else module.bias.detach()
    if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
        scale = (module.running_var + module.eps).rsqrt()
        if module.affine:
            scale = scale * module.weight.detach()
        shift = -module.running_mean * scale
        return shift + module.bias.detach() if module.affine else shift
    return None


def _listener(bias: Tensor, parts: list[Tensor], channels_last: bool) -> Callable[..., Tensor]:
    """A forward hook that adds g ⊙ b to `parts` when the gradient g at the output comes back."""

    def listen(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        def keep(gradient: Tensor) -> None:
            g = gradient.movedim(-1, 1) if channels_last else gradient
            parts.append(g * bias.view(-1, *[1] * (g.ndim - 2)))

        if output.requires_grad:  # else nothing that depends on the image comes this way
            output.register_hook(keep)  # type: ignore[no-untyped-call]
        return output.clone()  # an in-place ReLU that wrote into the output would take its hook away where it is a view

    return listen
