"""The blocks of a vision transformer: what ran around each attention, and the head behind the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.attention import Note, opened
from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.tokens import Grid, watched


@dataclass(frozen=True)
class Block:
    """What ran around one attention, with all that went in: tokens first (B×T×K), tokens of the same shape came out."""

    module: nn.Module
    inputs: tuple[Any, ...]
    named: Mapping[str, Any]
    output: Tensor

    @property
    def tokens(self) -> Tensor:
        found: Tensor = self.inputs[0]
        return found

    def __call__(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.module(tokens, *self.inputs[1:], **self.named)
        return found


@dataclass(frozen=True)
class Transformer:
    """The blocks of a network in which every attention is from each of T tokens to all, as one forward had them."""

    classifier: Classifier
    images: Tensor
    blocks: Sequence[Block]
    grid: Grid

    def head(self, tokens: Tensor) -> Tensor:
        """The logits (B×C) for these tokens in the place of what the last block put out: one forward that passes over
        the blocks."""
        forwards: dict[nn.Module, Callable[..., Tensor]] = {block.module: _pass for block in self.blocks}
        forwards[self.blocks[-1].module] = lambda *_, **__: tokens
        with _with_forwards(forwards):
            return self.classifier.logits(self.images)

    def on_grid(self, values: Tensor) -> Tensor:
        """One value a token (B×T), the patches' alone, as B×h×w."""
        return self.grid.of(values[:, :, None])[:, 0]


def observe(classifier: Classifier, images: Tensor, note: Note = lambda _: None) -> Transformer:
    """One forward without a graph; `note` is shown every attention matrix in turn.

    Raises `NotApplicable` for a network that has no attention, or attention within windows or from a pooling query.
    """
    images, network = images.contiguous(), classifier.network
    shapes: list[tuple[int, ...]] = []
    blocks: dict[int, Block] = {}
    entered: list[int] = []

    def count(attention: Tensor) -> None:
        shapes.append(tuple(attention.shape[-2:]))
        note(attention)

    def enter(_module: nn.Module, _inputs: object) -> None:
        entered.append(len(shapes))

    def leave(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        number = entered.pop()
        if len(shapes) == number + 1 and _keeps_tokens(inputs, output):
            blocks[number] = Block(module, inputs, named, output)  # the outermost comes last, and stays

    with torch.inference_mode(False), torch.no_grad(), evaluating(network), ExitStack() as stack:
        scene = stack.enter_context(watched(network))
        for name, module in network.named_modules():
            if name:
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(leave, with_kwargs=True).remove)
        with opened(network, count):
            classifier.logits(images)
        found = [block for _, block in sorted(blocks.items())]
        grid = scene.grid(found[-1].output) if found else None
    tokens = found[-1].output.shape[1] if found else 0
    sizes = {tuple(block.output.shape[:2]) for block in found}
    if grid is None or len(found) != len(shapes) or sizes != {(len(images), tokens)} or set(shapes) != {(tokens,) * 2}:
        listed = ", ".join(f"{rows}×{columns}" for rows, columns in dict.fromkeys(shapes))
        raise NotApplicable(
            "expected a vision transformer, in which every attention is from all tokens of an image to all of them; "
            f"{type(network).__name__} shows {f'attention of {listed}' if shapes else 'none'}: use a gradient CAM"
        )
    return Transformer(classifier, images, found, grid)


_depths: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def depth(classifier: Classifier, image: Tensor) -> int:
    """How many blocks `observe` finds for an image of that size (1×3×H×W), 0 where it raises; tried once."""
    known, size = _depths.setdefault(classifier.network, {}), tuple(image.shape[1:])
    if size not in known:
        try:
            known[size] = len(observe(classifier, image[:1]).blocks)
        except NotApplicable:
            known[size] = 0
    return known[size]


def _keeps_tokens(inputs: tuple[Any, ...], output: Any) -> bool:
    both = isinstance(output, Tensor) and bool(inputs) and isinstance(inputs[0], Tensor)
    return both and output.ndim == 3 and output.shape == inputs[0].shape


def _pass(tokens: Tensor, *_: Any, **__: Any) -> Tensor:
    return tokens


@contextmanager
def _with_forwards(forwards: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """These modules run other code for the time of the block."""
    before = {module: vars(module).get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            vars(module)["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            vars(module).pop("forward", None)
            if own is not None:
                vars(module)["forward"] = own
