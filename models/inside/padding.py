"""A network that sees no zeros beyond the border of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camfaith.models.walk import in_python, require_python

_Size = int | Sequence[int]


@contextmanager
def reflected_padding(network: nn.Module) -> Iterator[None]:
    """In the block, what convolutions and average poolings add around their input is its mirror image and not zeros.

    Functions are watched, not modules: `nn.Conv2d`, `nn.ZeroPad2d`, `F.pad` before a convolution and what a network's
    author wrote count alike, and no module is changed. Where the grid has too few cells to be mirrored, its outermost
    are repeated. Padding with other values than 0, and that of max pooling, which no activation falls below, stay.

    Raises `NotApplicable` for a network part of which is TorchScript, which shows nothing of its padding.
    """
    require_python(network)
    with in_python(network), _Reflecting():
        yield


class _Reflecting(TorchFunctionMode):
    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Size = 1,
    padding: _Size | str = 0,
    dilation: _Size = 1,
    groups: int = 1,
) -> Tensor:
    spread = [d * (k - 1) for d, k in zip(_pair(dilation), weight.shape[2:], strict=True)]
    if padding == "same":
        around = [(each // 2, each - each // 2) for each in spread]
    else:
        around = [(each, each) for each in _pair(0 if isinstance(padding, str) else padding)]
    return F.conv2d(_mirrored(input, *around), weight, bias, stride, 0, dilation, groups)


def _avg_pool2d(
    input: Tensor,
    kernel_size: _Size,
    stride: _Size | None = None,
    padding: _Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    if count_include_pad:
        input, padding = _mirrored(input, *((each, each) for each in _pair(padding))), 0
    return F.avg_pool2d(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    if mode != "constant" or value or input.ndim != 4 or len(pad) > 4 or min(pad) < 0:
        return F.pad(input, pad, mode, value)
    left, right, top, bottom = (*pad, 0, 0)[:4]
    return _mirrored(input, (top, bottom), (left, right))


_INSTEAD: dict[Any, Callable[..., Tensor]] = {F.conv2d: _conv2d, F.avg_pool2d: _avg_pool2d, F.pad: _pad}


def _mirrored(input: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    around = (*columns, *rows)
    if not any(around):
        return input
    fits = max(rows) < input.shape[-2] and max(columns) < input.shape[-1]
    return F.pad(input, around, mode="reflect" if fits else "replicate")


def _pair(size: _Size) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else (*size, *size)[:2]
