"""A network that makes of an image and a constant what it made of the image: its first bias takes the constant away."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.walk import in_python, require_python


@contextmanager
def compensating(classifier: Classifier, shift: float) -> Iterator[None]:
    """In the block, the first convolution takes images that are `shift` brighter for what they were: b' = b − Σ W·c,
    with c what the shift is at its input, and c stands where it, or the network before it, pads with zeros.

    Its own bias comes back whatever happens. Where anything but the classifier's normalisation comes before it, the
    network is another one than before, which shows in its logits. Raises `NotApplicable` where the first convolution
    takes other channels than the image's, or there is none, and for TorchScript.
    """
    require_python(classifier.network)
    first: Any = next((module for module in classifier.network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != classifier.colours:
        raise NotApplicable(f"{type(classifier.network).__name__} has no first convolution of the image's colours")
    weight, bias, padding = first.weight, first.bias, first.padding
    with torch.inference_mode(False), torch.no_grad():
        image = weight.new_zeros(1, first.in_channels, 1, 1)
        c = classifier.normalised(image + shift) - classifier.normalised(image)
        worth = F.conv2d(c.expand(-1, -1, *weight.shape[2:]), weight, groups=first.groups).flatten()
        first.bias = nn.Parameter((0 if bias is None else bias) - worth, weight.requires_grad)
    around = first._reversed_padding_repeated_twice

    def pad(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return F.pad(inputs[0], around), *inputs[1:]

    zeros = first.padding_mode == "zeros" and any(around)
    handle = first.register_forward_pre_hook(pad) if zeros else None
    if zeros:
        first.padding = (0, 0)
    try:
        with in_python(classifier.network), _Padding(c):
            yield
    finally:
        first.bias, first.padding = bias, padding
        if handle is not None:
            handle.remove()


class _Padding(TorchFunctionMode):
    """Zeros around an image that is brighter by c (1×K×1×1) are as much brighter."""

    def __init__(self, c: Tensor) -> None:
        super().__init__()
        self._c = c

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return (self._pad if func is F.pad else func)(*args, **(kwargs or {}))

    def _pad(self, input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
        if mode != "constant" or value or input.ndim != 4 or input.shape[1] != self._c.shape[1]:
            return F.pad(input, pad, mode, value)
        return F.pad(input - self._c, pad) + self._c
