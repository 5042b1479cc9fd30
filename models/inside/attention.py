"""The attention of a vision transformer, seen where it is computed; the network stays as it was."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from camfaith.models.walk import every_module

Note = Callable[[Tensor], None]

_SOFTMAX = (torch.softmax, torch.special.softmax, Tensor.softmax, F.softmax)
_WATCHED = {F.scaled_dot_product_attention, F.multi_head_attention_forward, *_SOFTMAX}


class Opened(TorchFunctionMode):
    """Computes scaled dot-product attention in two steps, A = softmax(q kᵀ/√d + mask) and A v, and shows each A
    (B×heads×T×T or B·heads×T×T) to `note` between them. PyTorch's fused kernels and fast paths never hold A.

    `unseen` lists the shapes of other attention, which is left as it is: causal, of grouped queries, or the softmax of
    a square in a network's own code.
    """

    def __init__(self, note: Note) -> None:
        super().__init__()
        self.note = note
        self.unseen: list[tuple[int, ...]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _WATCHED:
            return func(*args, **(kwargs or {}))
        if func is F.scaled_dot_product_attention:
            return self._attend(*args, **(kwargs or {}))
        if func is F.multi_head_attention_forward:
            return self._multi_head(*args, **(kwargs or {}))
        output = func(*args, **(kwargs or {}))
        if output.ndim > 2 and output.shape[-1] == output.shape[-2] > 1:
            self.unseen.append(tuple(output.shape))
        return output

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        **others: Any,
    ) -> Tensor:
        scale = others.pop("scale", None)
        if is_causal or any(others.values()):
            self.unseen.append((*query.shape[:-1], key.shape[-2]))
            return F.scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, **others
            )
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        root = abs(scale) ** 0.5  # on either side: the bare product would overflow half precision
        scores = (query * math.copysign(root, scale)) @ (key * root).mT
        if attn_mask is not None:
            boolean = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, -torch.inf) if boolean else scores + attn_mask
        attention = scores.softmax(-1) if attn_mask is None else _masked_softmax(scores)
        self.note(attention)
        mixed = F.dropout(attention, dropout_p) @ value
        if mixed.ndim < 3:
            return mixed
        return mixed.transpose(-3, -2).contiguous().transpose(-3, -2)  # as fused kernels lay it out: code takes views

    def _multi_head(
        self, *args: Any, need_weights: bool = True, average_attn_weights: bool = True, **kwargs: Any
    ) -> Any:
        kwargs |= {"need_weights": True, "average_attn_weights": False}
        rows = {tokens: tokens.contiguous() for tokens in args[:3]}  # else PyTorch multiplies token by token
        both: Any = F.multi_head_attention_forward(*(rows[tokens] for tokens in args[:3]), *args[3:], **kwargs)
        output, weights = both
        self.note(weights if weights._base is None else weights._base)  # what `output` comes from; `weights` is a view
        return output, (weights.mean(1) if average_attn_weights else weights) if need_weights else None


def _masked_softmax(scores: Tensor) -> Tensor:
    """The softmax over keys; a token whose keys are all masked takes nothing from any, as in PyTorch's kernels."""
    masked = (scores == -torch.inf).all(-1, keepdim=True)
    return scores.masked_fill(masked, 0).softmax(-1).masked_fill(masked, 0)


@contextmanager
def opened(network: nn.Module, note: Note) -> Iterator[Opened]:
    """Shows every attention matrix of the block's forwards to `note`; meanwhile timm's networks compute attention by
    PyTorch's function instead of their own code."""
    own = [module for module in every_module(network) if getattr(module, "fused_attn", True) is False]
    try:
        for module in own:
            module.fused_attn = True  # type: ignore[assignment]
        with Opened(note) as mode:
            yield mode
    finally:
        for module in own:
            module.fused_attn = False  # type: ignore[assignment]
