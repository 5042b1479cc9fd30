"""What a network does in one forward: the modules that it calls, and the functions that each of them computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.walk import require_float, require_python

_MOVING = {"Alias", "AsStrided", "Cat", "Clone", "ConstantPadNd", "Expand", "Flip", "Permute", "PixelShuffle",
           "ReshapeAlias", "Roll", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "Stack", "T", "ToCopy",
           "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View"}  # fmt: skip
_ADDING = {"AdaptiveAvgPool2D", "Add", "AvgPool2D", "Mean", "Neg", "ReflectionPad2D", "ReplicationPad2D", "Rsub", "Sub",
           "Sum", "UpsampleBilinear2D", "UpsampleNearest2D"}  # fmt: skip
_MULTIPLYING = {"Addmm", "Bmm", "Convolution", "CudnnBatchNorm", "Div", "Linear", "MiopenBatchNorm", "Mm", "Mul",
                "NativeBatchNorm"}  # fmt: skip

_LAYERS = {"adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "addmm", "avg_pool1d", "avg_pool2d",
           "avg_pool3d", "batch_norm", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
           "conv_transpose3d", "einsum", "interpolate", "linear", "max_pool1d", "max_pool2d", "max_pool3d", "mean",
           "mm", "neg", "pad", "relu", "sum", "tanh",
           *(turned + name for turned in ("", "i", "r") for name in ("add", "div", "matmul", "mul", "sub", "truediv"))
           }  # fmt: skip


@dataclass(frozen=True)
class Function:
    """A function that a network computes: the name of its derivative in PyTorch ("Relu", "Add", "Convolution"), and
    which of its arguments depend on the images."""

    name: str
    depends: tuple[bool, ...]
    rectifies: bool = False
    """Whether it is max(x, 0): a ReLU, a clamp or threshold at 0 with no upper bound, or a maximum with a constant."""

    @property
    def moves(self) -> bool:
        """Whether it only moves values about."""
        return self.name in _MOVING

    @property
    def hides(self) -> bool:
        """Whether it is a part of the network that `torch.utils.checkpoint` runs without gradients."""
        return self.name == "CheckpointFunctionBackward"

    @property
    def linear(self) -> bool:
        """Whether it is known to be linear in what depends on the images, up to a constant."""
        if self.name in _MULTIPLYING:
            return sum(self.depends) == 1 and (self.depends[0] or self.name != "Div")
        return self.moves or self.name in _ADDING


@dataclass(frozen=True)
class FunctionCall:
    """One call of a function that does a layer's work, such as `F.relu` or `x.mean`: its number among these calls in a
    forward, and the functions that it computes."""

    number: int
    functions: tuple[Function, ...]


@dataclass(frozen=True)
class Step:
    """One call of a module in a forward: the calls of layers' functions in it, and the other functions that it
    computes, both without those of the modules inside it."""

    name: str
    module: nn.Module
    calls: tuple[FunctionCall, ...]
    others: tuple[Function, ...]
    plain: bool
    """Whether all its arguments are positional tensors that depend on the images, it writes into none of them, and it
    returns such a tensor: hooks then see all that goes through it."""

    @property
    def functions(self) -> tuple[Function, ...]:
        return (*(function for call in self.calls for function in call.functions), *self.others)

    @property
    def leaf(self) -> bool:
        return not any(True for _ in self.module.children())

    @property
    def where(self) -> str:
        """The module as an error names it."""
        kind = type(self.module).__name__
        return f"module {self.name!r} ({kind})" if self.name else f"{kind} itself"


class Interceptor(TorchFunctionMode):
    """Hands each call of a layer's function whose arguments depend on the images to `make`: the call's number, the
    function and its arguments."""

    def __init__(self, make: Callable[[int, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()
        self.count, self._make = 0, make

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        named_so = getattr(func, "__name__", "").strip("_") in _LAYERS
        if not named_so or not any(map(depends, (*args, *named.values()))):
            return func(*args, **named)
        self.count += 1
        return self._make(self.count, func, args, named)


def depends(value: Any) -> bool:
    """Whether it is a tensor that depends on the images, in a forward where these alone require gradients."""
    return isinstance(value, Tensor) and value.requires_grad


class _Running:
    """A call of a module while it runs, and the nodes that it adds to the graph."""

    def __init__(self, name: str, module: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self.name, self.module = name, module
        self.calls: list[tuple[int, list[Any]]] = []
        self.others: list[Any] = []
        self.plain = not named and all(depends(value) for value in inputs)
        self._given = [(tensor, tensor._version) for tensor in _tensors(inputs)]

    def end(self, output: Any) -> None:
        wrote = any(tensor._version != version for tensor, version in self._given)
        self.plain = self.plain and depends(output) and not wrote
        self._given.clear()

    def step(self, live: set[Any]) -> Step:
        calls = tuple(FunctionCall(number, _functions(nodes, live)) for number, nodes in self.calls)
        return Step(self.name, self.module, calls, _functions(self.others, live), self.plain)


def trace(classifier: Classifier, images: Tensor) -> tuple[list[Step], Tensor]:
    """Every call of a module in one forward of `images`, in the order in which they end, and what the network was
    given (the images after normalisation). What the classifier's head computes from the outputs is the last step.

    A function belongs to the innermost module that was running. Only what the logits depend on is seen. Raises
    `NotApplicable` for a TorchScript module, which shows nothing, and if checkpointing hides a part of the network.
    """
    network = classifier.network
    require_python(network)
    require_float(network)
    ended: list[_Running] = []
    running = [_Running("", classifier, (), {})]  # what comes before and after the network
    given: list[Tensor] = []
    seen: set[Any] = set()

    def enter(name: str, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if module is network:  # the classifier may repeat a forward that broke off
            ended.clear()
            calls.count = 0
            running[0].calls.clear()
            given.append(next(_tensors((inputs, named))).detach().clone())  # the network may write into it
        running[-1].others.extend(_nodes((inputs, named), seen))
        running.append(_Running(name, module, inputs, named))

    def leave(module: nn.Module, output: Any) -> None:
        last = running.pop()
        last.others.extend(_nodes(classifier.outputs(output) if module is network else output, seen))
        last.end(output)
        ended.append(last)

    def call(number: int, func: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        running[-1].others.extend(_nodes((args, named), seen))
        result = func(*args, **named)
        running[-1].calls.append((number, list(_nodes(result, seen))))
        return result

    calls = Interceptor(call)
    handles = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(network):
        try:
            for name, module in network.named_modules():
                entering = partial(enter, name)
                handles.append(module.register_forward_pre_hook(entering, with_kwargs=True))
                handles.append(module.register_forward_hook(lambda m, _i, output: leave(m, output)))
            with calls:
                logits = classifier(images.detach().clone().requires_grad_().clone())
            running[0].others[:] = _nodes(logits, seen)
        finally:
            for handle in handles:
                handle.remove()
    live = set(_nodes(logits))
    if any(_function(node).hides for node in live):
        raise NotApplicable(
            f"{classifier.name} runs a part of itself in torch.utils.checkpoint with use_reentrant=True, which hides "
            "what it computes; set use_reentrant=False, or switch checkpointing off (timm: set_grad_checkpointing)"
        )
    head = [running[0]] if running[0].calls or running[0].others else []
    return [each.step(live) for each in (*ended, *head)], given[-1]


def functions(value: Any) -> Iterator[Function]:
    """The functions behind the tensors in `value`."""
    return map(_function, _nodes(value))


def _functions(nodes: list[Any], live: set[Any]) -> tuple[Function, ...]:
    return tuple(_function(node) for node in nodes if node in live)


def _nodes(value: Any, seen: set[Any] | None = None) -> Iterator[Any]:
    """The nodes of the graph behind the tensors in `value`, without those `seen` before."""
    seen = set() if seen is None else seen
    waiting: list[Any] = [tensor.grad_fn for tensor in _tensors(value)]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting.extend(before for before, _ in node.next_functions)
        yield node


def _function(node: Any) -> Function:
    name = re.sub(r"Backward\d+$", "", node.name())  # a network's own function has no number, and keeps its name
    # normalising by the image's own mean and deviation is not linear
    own = "WithOwnStatistics" if getattr(node, "_saved_training", False) else ""
    rounded = "Rounded" if getattr(node, "_saved_rounding_mode", None) else ""
    depends_on = tuple(argument is not None for argument, _ in node.next_functions)
    return Function(rounded + name + own, depends_on, _rectifies(name, node, depends_on))


def _rectifies(name: str, node: Any, depends_on: tuple[bool, ...]) -> bool:
    if name in ("Clamp", "ClampMin", "Threshold"):
        bound = node._saved_threshold if name == "Threshold" else node._saved_min
        upper = node._saved_max if name == "Clamp" else None
        return upper is None and bound is not None and bool((torch.as_tensor(bound) == 0).all())
    return name == "Relu" or (name == "Maximum" and sum(depends_on) == 1)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
