"""A network that sees its own activations, and not zeros, beyond their border."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camfaith.models.walk import in_python, require_python

Border = Literal["reflect", "replicate"]
"""What lies beyond the border: the mirror image of what is inside, or its outermost cells again."""
_Size = int | tuple[int, ...]


@contextmanager
def padding_by(network: nn.Module, border: Border) -> Iterator[None]:
    """In the block, what convolutions and average poolings add around their input is the `border` and not zeros.

    Functions are watched, not modules: `nn.Conv2d`, `nn.ZeroPad2d`, `F.pad` before a convolution and what a network's
    author wrote count alike, and no module is changed. A grid of too few cells to be mirrored is replicated. Padding
    with other values than 0, and that of max pooling, which no activation falls below, stay.

    Raises `NotApplicable` for a network part of which is TorchScript, which shows nothing of its padding.
    """
    require_python(network)
    with in_python(network), _Padding(border):
        yield


class _Padding(TorchFunctionMode):
    """Stands in for the functions that pad with zeros; each method takes what its function takes."""

    def __init__(self, border: Border) -> None:
        super().__init__()
        self._border = border
        self._own: Mapping[Any, Callable[..., Any]] = {
            F.conv2d: self._conv2d,
            F.avg_pool2d: self._avg_pool2d,
            F.pad: self._pad,
        }

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._own.get(func, func)(*args, **(kwargs or {}))

    def _conv2d(
        self,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: _Size = 1,
        padding: _Size | str = 0,
        dilation: _Size = 1,
        groups: int = 1,
    ) -> Tensor:
        if padding == "same":
            spread = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
            rows, columns = ((each // 2, each - each // 2) for each in spread)
        else:
            rows, columns = _around(0 if isinstance(padding, str) else padding)
        return F.conv2d(self._padded(input, rows, columns), weight, bias, stride, 0, dilation, groups)

    def _avg_pool2d(
        self,
        input: Tensor,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: _Size = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> Tensor:
        if count_include_pad:
            input, padding = self._padded(input, *_around(padding)), 0
        return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)

    def _pad(self, input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
        if mode != "constant" or value or input.ndim != 4 or len(pad) > 4 or min(pad) < 0:
            return F.pad(input, pad, mode, value)
        left, right, top, bottom = (*pad, 0, 0)[:4]
        return self._padded(input, (top, bottom), (left, right))

    def _padded(self, input: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        if not any((*rows, *columns)):
            return input
        mirrored = self._border == "reflect" and max(rows) < input.shape[-2] and max(columns) < input.shape[-1]
        return F.pad(input, (*columns, *rows), mode="reflect" if mirrored else "replicate")


def _pair(size: _Size) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    return size[0], size[-1]


def _around(size: _Size) -> tuple[tuple[int, int], tuple[int, int]]:
    """So many rows above and below, and columns left and right."""
    rows, columns = _pair(size)
    return (rows, rows), (columns, columns)
