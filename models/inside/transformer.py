"""The blocks of a vision transformer: what ran around each attention, and the tail behind the last of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.attention import Note, opened
from camfaith.models.tokens import Grid, watched
from camfaith.models.walk import require_float, require_python

Shape = tuple[int, ...]


@dataclass(frozen=True)
class TransformerBlock:
    """The outermost module around one attention: it took `tokens` and gave `output`, both B×T×K.

    `versions` are PyTorch's counts of writes, into `tokens` before it ran and into `output` after.
    """

    name: str
    module: nn.Module
    tokens: Tensor
    output: Tensor
    versions: tuple[int, int]


@dataclass(frozen=True)
class Transformer:
    """One forward of a network in which every attention is from each of T tokens to all.

    `stem` holds the output of each convolution that ran once, before the blocks. `logits` is B×C.
    """

    classifier: Classifier
    images: Tensor
    blocks: Sequence[TransformerBlock]
    stem: Mapping[nn.Module, Tensor]
    logits: Tensor
    grid: Grid

    def tail(self, tokens: Tensor) -> Tensor:
        """The logits (B×C) with these tokens in place of the last block's output, by one forward that passes over the
        blocks and the stem. N·B rows of tokens belong to the images N times over."""
        times = len(tokens) // len(self.images)
        forwards: dict[nn.Module, Callable[..., Tensor]] = {block.module: _pass for block in self.blocks}
        forwards |= {module: partial(_give, _repeated(output, times)) for module, output in self.stem.items()}
        forwards[self.blocks[-1].module] = partial(_give, tokens)
        with _with_forwards(forwards):
            return self.classifier.logits(_repeated(self.images, times))

    def on_grid(self, values: Tensor) -> Tensor:
        """The patches' values, of one value per token (B×T), as B×h×w."""
        return self.grid.of(values[:, :, None])[:, 0]


def observe(classifier: Classifier, images: Tensor, note: Note = lambda _: None, *, graph: bool = False) -> Transformer:
    """Runs one forward, and one of the tail to check it; `note` is shown every attention matrix in turn. With `graph` a
    block's output can be differentiated by its attention.

    Raises `NotApplicable` for a network that holds TorchScript, or has no attention, or has it within windows, from a
    pooling query or in code that is not seen; and for blocks that are no chain: each must take what the one before it
    gave, and the logits must follow from what the last gave.
    """
    images, network = images.detach().clone(memory_format=torch.contiguous_format), classifier.network
    require_python(network)
    if graph:
        require_float(network)
    shapes: list[Shape] = []
    blocks: dict[int, TransformerBlock] = {}
    given: dict[nn.Module, Tensor | None] = {}
    entered: list[tuple[int, int]] = []

    def count(attention: Tensor) -> None:
        shapes.append(tuple(attention.shape))
        note(attention)

    def enter(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        entered.append((len(shapes), _version(inputs[0]) if inputs else 0))

    def leave(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        number, version = entered.pop()
        if len(shapes) == number + 1 and _keeps_tokens(inputs, output):
            versions = version, _version(output)
            block = TransformerBlock(name, module, inputs[0], output, versions)
            blocks[number] = block  # the outermost module comes last, and stays
        if isinstance(module, nn.Conv2d):
            given[module] = None if shapes or module in given else output.detach()

    with torch.inference_mode(False), torch.set_grad_enabled(graph), evaluating(network), ExitStack() as stack:
        finder = stack.enter_context(watched(network))
        for name, module in network.named_modules():
            if name and _is_of_interest(module):
                stack.callback(module.register_forward_pre_hook(enter).remove)
                stack.callback(module.register_forward_hook(partial(leave, name)).remove)
        with opened(network, count) as mode:
            logits = classifier.logits(images.requires_grad_(graph))
        found = [block for _, block in sorted(blocks.items())]
        grid = finder.grid(found[-1].output) if found else None
        obstacle = _hidden(len(images), shapes, mode.unseen, found) or _broken(found, grid)
        if grid and not obstacle:
            stem = {module: output for module, output in given.items() if output is not None}
            seen = Transformer(classifier, images.detach(), found, stem, logits.detach(), grid)
            with torch.no_grad():
                follows = _close(seen.tail(found[-1].output), logits)
            if follows:
                return seen
            obstacle = f"logits that do not follow from what its last block, {found[-1].name!r}, gives"
    raise NotApplicable(
        "expected a vision transformer, in which every attention is from all tokens of an image to all of them, in "
        f"blocks that follow one another; {type(network).__name__} shows {obstacle}: use a gradient CAM"
    )


def _is_of_interest(module: nn.Module) -> bool:
    """Whether it is a convolution, or may hold attention, which PyTorch's own leaves do not."""
    leaf = not module._modules and type(module).__module__.startswith("torch.nn.")
    return isinstance(module, nn.Conv2d) or not leaf


def _hidden(
    images: int, shapes: Sequence[Shape], unseen: Sequence[Shape], found: Sequence[TransformerBlock]
) -> str | None:
    """Why not all attention is seen, among all tokens of an image and with a block around it; None if it is."""
    together = [*shapes, *unseen]
    sizes = list(dict.fromkeys(shape[-2:] for shape in together))
    if not sizes:
        return "none"
    tokens, listed = sizes[0][0], "attention of " + ", ".join(f"{rows}×{columns}" for rows, columns in sizes)
    whole = all((block.output.shape[0] == images) == (block.output.shape[1] == tokens) for block in found)
    if sizes != [(tokens, tokens)] or not whole or any(len(shape) == 4 and shape[0] != images for shape in together):
        return f"{listed}, within windows or from other tokens than all"
    if unseen:
        return (
            f"{listed} in code of its own, causal, or of grouped queries, which is not seen "
            "(torch.nn.functional.scaled_dot_product_attention would be)"
        )
    if len(found) < len(shapes) or any(block.output.shape[:2] != (images, tokens) for block in found):
        return f"{listed}, not always within a module of its own that takes and gives tokens B×{tokens}×K"
    return None


def _broken(blocks: Sequence[TransformerBlock], grid: Grid | None) -> str | None:
    """Why the tokens have no place, or cannot be followed from block to block; None if they can."""
    if grid is None:
        shape = "×".join(map(str, blocks[-1].output.shape))
        return f"rows {shape} that are not known as B×T×K, of whose T tokens the last are a convolution's h×w cells"
    for block in blocks:
        if block.versions != (_version(block.tokens), _version(block.output)):
            return f"tokens that are written into, at block {block.name!r} or behind it"
    for block, following in pairwise(blocks):
        if not torch.equal(block.output, following.tokens):
            return (
                f"a block, {following.name!r}, that does not take what the one before it, {block.name!r}, gives (as "
                "where blocks run side by side, or the sums with what goes past them are no part of them)"
            )
    return None


_depths: WeakKeyDictionary[nn.Module, dict[tuple[int, ...], int]] = WeakKeyDictionary()


def depth(classifier: Classifier, image: Tensor) -> int:
    """How many blocks `observe` finds for an image of this size (1×3×H×W), 0 if it raises; tried once."""
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


def _version(value: Any) -> int:
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0


def _close(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found, expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def _repeated(rows: Tensor, times: int) -> Tensor:
    return rows if times == 1 else torch.cat([rows] * times)


def _pass(tokens: Tensor, *_: Any, **__: Any) -> Tensor:
    return tokens


def _give(output: Tensor, *_: Any, **__: Any) -> Tensor:
    return output


@contextmanager
def _with_forwards(forwards: Mapping[nn.Module, Callable[..., Tensor]]) -> Iterator[None]:
    """Inside the block, these modules run these forwards instead of their own."""
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
