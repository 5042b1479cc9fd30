"""Taking activations and gradients at layers in one forward and one backward; the network stays as it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.models.errors import LayerError, NotApplicable
from camfaith.models.naming import call_of, shown
from camfaith.models.tokens import Grid, GridFinder, watched
from camfaith.models.unseen import why_unseen
from camfaith.models.walk import every_module, in_python

ScoreFunction = Callable[[Tensor, Tensor], Tensor]
"""What is explained: one number per image, from its logits (B×C) and its class (B)."""


def target_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """S_c, the logit of each image's class."""
    return logits.gather(1, targets[:, None])[:, 0]


@dataclass(frozen=True)
class Evidence:
    """What one forward and one backward give for B images, one target class each.

    `activations[layer]` is A (B×K×h×w) and `gradients[layer]` is g = ∂S_c/∂A of the same shape, where S_c is the
    target's logit unless another score was asked for. Both are detached, and in single precision at least. For a layer
    of tokens they hold the patches alone. `seeds` holds one integer per image: a method draws all its random numbers
    from it, so that a result does not depend on the batch. `masks` (B×H×W, bool) is the ground truth, for the oracle
    control alone.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    activations: dict[str, Tensor] = field(default_factory=dict)
    gradients: dict[str, Tensor] = field(default_factory=dict)
    seeds: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def copy(self) -> Evidence:
        """A copy in memory of its own, for code that may write into it."""
        return self.select(list(range(len(self))))

    def select(self, rows: slice | Sequence[int]) -> Evidence:
        """The same evidence for some of the images."""
        return replace(
            self,
            images=self.images[rows],
            targets=self.targets[rows],
            logits=self.logits[rows],
            activations={name: a[rows] for name, a in self.activations.items()},
            gradients={name: g[rows] for name, g in self.gradients.items()} or self.gradients,
            seeds=self.seeds[rows],
            masks=None if self.masks is None else self.masks[rows],
        )


class NoGradients(dict[str, Tensor]):
    """The gradients of a network that has none: who asks for a layer's, or whether it is there, gets `NotApplicable`
    with the reason."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why

    def __missing__(self, layer: str) -> Tensor:
        raise NotApplicable(self.why)

    def __contains__(self, layer: object) -> bool:
        raise NotApplicable(self.why)


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside, where compiled parts run as Python; every flag comes back as
    it was, whatever happens."""
    modules = every_module(network)
    modes = [getattr(module, "training", False) for module in modules]  # frozen TorchScript has none
    parameters = [own for module in modules for own in module._parameters.values() if own is not None]
    flags = [parameter.requires_grad for parameter in parameters]
    try:
        if any(modes):
            network.eval()
        for parameter, flag in zip(parameters, flags, strict=True):
            if flag:
                parameter.requires_grad = False
        with in_python(network):
            yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            if mode != getattr(module, "training", False):
                module.training = mode
        for parameter, flag in zip(parameters, flags, strict=True):
            if parameter.requires_grad != flag:
                parameter.requires_grad = flag


@contextmanager
def inferring(network: nn.Module) -> Iterator[None]:
    """`evaluating`, without a graph. Unlike in inference mode, what the network keeps may join a graph later."""
    with torch.inference_mode(False), torch.no_grad(), evaluating(network):
        yield


@contextmanager
def hooked(
    network: nn.Module,
    hooks: dict[str, Callable[[Any, GridFinder], Any]],
    begin: Callable[[], None] | None = None,
    *,
    all_grids: bool = True,
) -> Iterator[None]:
    """Inside the block, each named layer's output becomes what its hook makes of it and of the grids found so far.

    The hook of a layer with a call's number is called for that call alone, every other for each call.
    `begin` is called before each forward of the whole network; `all_grids` is as in `watched`.
    """
    handles = []
    calls: list[_Call] = []
    with watched(network, all_grids=all_grids) as finder:

        def enter(_module: nn.Module, _inputs: Any) -> None:
            for call in calls:
                call.ran = 0
            if begin is not None:
                begin()

        try:
            handles.append(network.register_forward_pre_hook(enter))
            for layer, change in hooks.items():
                name, number = call_of(layer)
                calls.append(_Call(number, change, finder))
                handles.append(shown(network, name).register_forward_hook(calls[-1]))
            yield
        finally:
            for handle in handles:
                handle.remove()


@dataclass
class _Call:
    """A module's hook for its call of this number in a forward, from 1; for every call if that is None. It sees a
    quantised output in floating point."""

    number: int | None
    change: Callable[[Any, GridFinder], Any]
    finder: GridFinder
    ran: int = 0

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        self.ran += 1
        if self.number not in (None, self.ran):
            return output
        if not isinstance(output, Tensor) or not output.is_quantized:
            return self.change(output, self.finder)
        changed = self.change(output.dequantize(), self.finder)
        return torch.quantize_per_tensor(changed, output.q_scale(), output.q_zero_point(), output.dtype)


def grid_of(layer: str, output: Any, finder: GridFinder) -> Grid:
    """Where the cells of a layer's output lie; `LayerError` if it has none."""
    if not isinstance(output, Tensor):
        raise LayerError(
            f"layer {layer!r} returns a {type(output).__name__}, not a tensor; name a layer inside or before it"
        )
    grid = finder.grid(output)
    if grid is None:
        raise no_cells(layer, output, finder.count)
    return grid


def no_cells(layer: str, output: Tensor, images: int) -> LayerError:
    """The error for a layer whose output, of so many images, has no cells on them."""
    return LayerError(
        f"layer {layer!r} has no spatial output: expected B×K×h×w, B×h×w×K, or tokens B×T×K of which the last are a "
        f"convolution's h×w cells, or such cells merged in their places, of {images} images, got "
        f"{'×'.join(map(str, output.shape))}; name a layer before it, or leave the layer out to have the last one found"
    )


class Recorder:
    """Keeps the output tensor of the wanted layers, and lets the network go on with a copy.

    Without the copy an in-place ReLU behind the layer would change what was kept. If nothing before the layer needs a
    gradient, the graph starts here, and no backward runs through the layers below it. If a module is called several
    times in one forward, the last call counts, with a warning.
    """

    def __init__(self, layers: Sequence[str], *, gradients: bool) -> None:
        self.outputs: dict[str, Tensor] = {}
        """In the network's own form and precision."""
        self.grids: dict[str, Grid] = {}
        self._gradients = gradients
        self.hooks = {layer: self._keeper(layer) for layer in layers}

    def begin(self) -> None:
        """Forgets what an earlier forward left, which may have broken off."""
        self.outputs.clear()

    def require_all(self, network: nn.Module, forward: Callable[[], object]) -> None:
        """Raises `LayerError` for a layer that the forward did not run, for the reason that another finds."""
        for layer in self.hooks:
            if layer not in self.outputs:
                raise LayerError(why_unseen(network, layer, forward))

    def cells(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """The layers' outputs, or values of the same shapes, as B×K×h×w in single precision at least."""
        return {layer: single(self.grids[layer].of(value.detach())) for layer, value in values.items()}

    def _keeper(self, layer: str) -> Callable[[Any, GridFinder], Tensor]:
        def keep(output: Any, finder: GridFinder) -> Tensor:
            self.grids[layer] = grid_of(layer, output, finder)
            kept: Tensor = output
            if layer in self.outputs:
                warnings.warn(
                    f"layer {layer!r} runs more than once in a forward; its last call is explained "
                    f"({layer + '#1'!r} is the first)",
                    stacklevel=2,
                )
            if self._gradients and not kept.requires_grad:
                kept = kept.detach().requires_grad_()
            self.outputs[layer] = kept
            return kept.clone()

        return keep


def single(values: Tensor) -> Tensor:
    """Values of half precision in single precision: sums over cells and products of three would overflow the half."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def gradients_at(scores: Tensor, outputs: dict[str, Tensor], *, again: bool = False) -> dict[str, Tensor]:
    """∂(sum of scores)/∂A for every kept output, without touching any parameter's `.grad`.

    With `again` the gradients can be differentiated themselves.
    """
    if not outputs:
        return {}
    if not scores.requires_grad:
        raise LayerError(f"the class score does not depend on {' or '.join(map(repr, outputs))}")
    found = torch.autograd.grad(scores.sum(), list(outputs.values()), create_graph=again, allow_unused=True)
    gradients = {}
    for (layer, _), gradient in zip(outputs.items(), found, strict=True):
        if gradient is None:
            raise LayerError(f"the class score does not depend on layer {layer!r}; name one on the way to the score")
        gradients[layer] = gradient
    return gradients
