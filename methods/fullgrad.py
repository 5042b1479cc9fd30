"""A logit split into what the input adds to it and what every bias of the network adds."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.models import maps
from camfaith.models.capture import Evidence, evaluating, single, target_logit
from camfaith.models.classifier import Classifier
from camfaith.models.walk import require_float, require_python

Variant = Literal["paper", "pgc"]
_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


class FullGrad(Method):
    """ψ(∇x S_c ⊙ x) + Σ_l Σ_k ψ(g^l ⊙ b^l)_k, never negative, on the image's grid (Srinivas and Fleuret 2019).

    x is what the network is given, after normalisation; g^l = ∂S_c/∂(the output of layer l) and b^l its bias, for all
    convolutions, linear layers and batch norms (`full_gradients`). The map holds the layers whose output is a grid for
    each image, B×K×h×w, or B×h×w×K of a linear layer. The biases of a head, of a row of tokens and of windows cut out
    of the image have no place in it. ψ takes the absolute value, scales it by (v − min)/(max − min), and upsamples.
    Minimum and maximum are those of all channels of a layer, as in the authors' code. That code adds 10⁻⁶ to the
    denominator, which would dominate if gradients are small, and aligns the corners when it upsamples. Here a flat
    layer adds 0, and maps are upsampled like all others.

    For a network of ReLUs the parts, drawn or not, add up to S_c exactly. If they do not, the map is still drawn, and a
    warning says so: SiLU, GELU, attention and the norms that measure the image itself (layer, group and instance norm)
    are not linear around x. They have no part, nor have their biases, nor constants that a network adds outside its
    layers, such as position embeddings.

    `variant="pgc"`: minimum and maximum of each channel, and 10⁻⁷ in the denominator, as in pytorch-grad-cam 1.5, so
    that every channel counts alike, however small its share. It takes the biases of `nn.Conv2d` and `nn.BatchNorm2d`
    alone, without their subclasses. Its parts are not meant to add up, so the sum is not checked.
    """

    name = "fullgrad"
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    of_pixels: ClassVar[bool] = True
    unsigned: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = {"preprocessing": "a mean that the network itself subtracts is a bias"}

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, variant: Variant = "paper") -> None:
        super().__init__(model, target_layer)
        self.variant = variant

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        chosen = _of_pgc(classifier.network) if self.variant == "pgc" else None
        score, parts = full_gradients(classifier, evidence.images, evidence.targets, chosen)
        if self.variant == "paper":
            _warn_unless_complete(classifier, score, parts)
        height, width = evidence.images.shape[-2:]
        placed = [part for part in parts if part.ndim == 4 and len(part) == len(score)]
        return torch.stack([maps.upsample(self._scaled(p.abs()).sum(1), (height, width)) for p in placed]).sum(0)

    def _scaled(self, values: Tensor) -> Tensor:
        over = (1, 2, 3) if self.variant == "paper" else (2, 3)
        low, high = values.amin(over, keepdim=True), values.amax(over, keepdim=True)
        if self.variant == "pgc":
            return (values - low) / (high - low + 1e-7)
        return (values - low) / torch.where(high > low, high - low, 1)


def full_gradients(
    classifier: Classifier, images: Tensor, targets: Tensor, biases: Collection[Tensor] | None = None
) -> tuple[Tensor, list[Tensor]]:
    """S_c (B), and the parts that sum to it in a network of ReLUs: ∇x S_c ⊙ x, and g ⊙ b for each call of a function
    with a bias b, g being the gradient at its output; channels on the second axis, and single precision at least.

    The functions are convolutions, linear layers and batch norms, whose bias is β − γμ/√(σ²+ε). Any module may call
    them; one may run an activation behind its batch norm too. `biases`, if given, restricts them to those whose
    parameter is among it. The sum is exact because a network of ReLUs is linear around x in x and its biases together.
    Normalisation inside the classifier makes no part: x = (image − mean)/std, and so ∇x S_c ⊙ x = ∂S_c/∂image ⊙ (image
    − mean). Raises `NotApplicable` for a network that holds TorchScript, which hides its biases.
    """
    require_python(classifier.network)
    require_float(classifier.network)
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network):
        leaf = images.clone().requires_grad_()
        with _Biases(biases) as found:
            score = target_logit(classifier.logits(leaf.clone()), targets.clone())
        (gradient,) = torch.autograd.grad(score.sum(), leaf)
    mean = images.new_tensor(classifier.mean or [0.0] * images.shape[1]).view(1, -1, 1, 1)
    return single(score.detach()), [single(gradient) * single(images - mean), *found.parts]


def _of_pgc(network: nn.Module) -> list[Tensor]:
    """The biases of the layers that pytorch-grad-cam takes."""
    layers = [module for module in network.modules() if type(module) in (nn.Conv2d, nn.BatchNorm2d)]
    return [layer.bias for layer in layers if isinstance(layer.bias, Tensor)]


def _warn_unless_complete(classifier: Classifier, score: Tensor, parts: list[Tensor]) -> None:
    sums = torch.stack([part.reshape(len(score), -1).sum(1) for part in parts])
    rounding = max(1e-3, 8 * torch.finfo(classifier.dtype).eps)
    if bool(((score - sums.sum(0)).abs() > rounding * sums.abs().sum(0)).any()):
        warnings.warn(
            f"FullGrad: what the input and the biases of {type(classifier.network).__name__} add does not sum to "
            "the logit: it has nonlinearities other than ReLU, or biases outside its layers",
            stacklevel=3,
        )


class _Biases(TorchFunctionMode):
    """Inside, every bias b that is added puts g ⊙ b into `parts` when the gradient g at the output comes back."""

    def __init__(self, only: Collection[Tensor] | None) -> None:
        super().__init__()
        self.parts: list[Tensor] = []
        self._only = None if only is None else {id(parameter) for parameter in only}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        output = func(*args, **named)
        parameter, bias = _added(func, args, named)
        if bias is None or not output.requires_grad:  # else its input does not depend on the image
            return output
        if self._only is None or id(parameter) in self._only:
            output.register_hook(self._keeper(bias.detach(), channels_last=func is F.linear))
        return output.clone()  # if the output is a view, an in-place ReLU that writes into it would remove its hook

    def _keeper(self, bias: Tensor, *, channels_last: bool) -> Any:
        def keep(gradient: Tensor) -> None:
            g = single(gradient.movedim(-1, 1) if channels_last else gradient)
            self.parts.append(g * bias.to(g).view(-1, *[1] * (g.ndim - 2)))

        return keep


def _added(func: Any, args: Any, named: dict[str, Any]) -> tuple[Tensor | None, Tensor | None]:
    """The bias parameter of a call, and what the call adds to each output channel, if it is otherwise linear."""
    if func is F.linear or func in _CONVOLUTIONS:
        bias = args[2] if len(args) > 2 else named.get("bias")
        return bias, bias
    if func is not F.batch_norm:
        return None, None
    given = inspect.signature(F.batch_norm).bind(*args, **named)
    given.apply_defaults()
    of = given.arguments
    if of["training"]:  # or by the images' statistics, if it keeps none
        return None, None
    scale = (single(of["running_var"]) + of["eps"]).rsqrt()
    if of["weight"] is not None:
        scale = scale * of["weight"]
    shift = -of["running_mean"] * scale
    return of["bias"], shift if of["bias"] is None else shift + of["bias"]
