"""What a network does in one forward: the modules that it calls, and the functions that it computes outside of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable

_MOVING = {"Alias", "AsStrided", "Cat", "Clone", "ConstantPadNd", "Expand", "Flip", "Permute", "PixelShuffle",
           "ReshapeAlias", "Roll", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "Stack", "T", "ToCopy",
           "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View"}  # fmt: skip
_ADDING = {"AdaptiveAvgPool2D", "Add", "AvgPool2D", "Mean", "Neg", "ReflectionPad2D", "ReplicationPad2D", "Rsub", "Sub",
           "Sum", "UpsampleBilinear2D", "UpsampleNearest2D"}  # fmt: skip
_MULTIPLYING = {"Addmm", "Bmm", "Convolution", "CudnnBatchNorm", "Div", "Linear", "MiopenBatchNorm", "Mm", "Mul",
                "NativeBatchNorm"}  # fmt: skip


_OWN_STATISTICS = "WithOwnStatistics"


@dataclass(frozen=True)
class Function:
    """A function of the network, by the name that its derivative has in PyTorch ("Relu", "Add", "Convolution"), and
    which of its arguments depend on the images."""

    name: str
    depends: tuple[bool, ...]
    rectifies: bool = False
    """Whether it is max(x, 0): a ReLU, a clamp or threshold at 0 with no upper bound, or a maximum with a constant."""

    @property
    def moves(self) -> bool:
        """Whether it does no more than move values about."""
        return self.name in _MOVING

    @property
    def own_statistics(self) -> bool:
        """Whether it normalises by the batch's own mean and deviation."""
        return self.name.endswith(_OWN_STATISTICS)

    @property
    def adds(self) -> bool:
        """Whether it adds two tensors that both depend on the images, as a residual block does."""
        return self.name == "Add" and sum(self.depends) == 2

    @property
    def linear(self) -> bool:
        """Whether it is known to be linear in what depends on the images, up to a constant."""
        if self.name in _MULTIPLYING:
            return sum(self.depends) == 1 and (self.depends[0] or self.name != "Div")
        return self.moves or self.name in _ADDING


@dataclass(frozen=True)
class Step:
    """One call of a module in a forward, and the functions that it computes itself, outside the modules in it."""

    name: str
    module: nn.Module
    functions: tuple[Function, ...]

    @property
    def leaf(self) -> bool:
        return not any(True for _ in self.module.children())

    @property
    def where(self) -> str:
        """The module as an error names it."""
        kind = type(self.module).__name__
        return f"module {self.name!r} ({kind})" if self.name else f"{kind} itself"


def trace(classifier: Classifier, images: Tensor) -> tuple[list[Step], Tensor]:
    """Every call of a module in one forward of `images`, in the order in which they end, and what the network was
    given (the images after normalisation).

    A function belongs to the innermost module that was running. Only what the output of a module depends on is seen, of
    the network itself what its logits depend on. `NotApplicable` names a TorchScript module, which shows nothing.
    """
    steps: list[Step] = []
    running: list[list[Function]] = [[]]  # and what comes before the network
    given: list[Tensor] = []
    seen: set[Any] = set()

    def enter(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        if module is classifier.network:
            steps.clear()  # a forward that broke off is begun anew
            given.append(next(_tensors((inputs, named))).detach())
        running[-1].extend(functions((inputs, named), seen))
        running.append([])

    def leave(name: str, module: nn.Module, output: Any) -> None:
        if module is classifier.network:
            output = ()  # which may hold the logits in any form, and other things
        steps.append(Step(name, module, (*running.pop(), *functions(output, seen))))

    handles = []
    with torch.inference_mode(False), torch.enable_grad(), evaluating(classifier.network):
        try:
            for name, module in classifier.network.named_modules():
                if isinstance(module, torch.jit.ScriptModule):
                    raise NotApplicable(
                        f"what {f'module {name!r}' if name else 'the network'} computes cannot be seen, because it is "
                        "TorchScript; give the Python module that it was made from, or take another method"
                    )
                handles.append(module.register_forward_pre_hook(enter, with_kwargs=True))
                handles.append(module.register_forward_hook(lambda m, _i, output, name=name: leave(name, m, output)))
            logits = classifier(images.detach().clone().requires_grad_().clone())
            network = steps.pop()
            steps.append(replace(network, functions=(*network.functions, *functions(logits, seen))))
        finally:
            for handle in handles:
                handle.remove()
    return steps, given[-1]


def functions(value: Any, seen: set[Any] | None = None) -> Iterator[Function]:
    """The functions behind the tensors in `value`, without those `seen` before."""
    seen = set() if seen is None else seen
    waiting = [tensor.grad_fn for tensor in _tensors(value)]
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        before = [following for following, _ in node.next_functions]
        waiting.extend(before)
        name = re.sub(r"Backward\d+$", "", node.name())  # without a number: a function of the network's own
        # a normalisation by the image's own mean and deviation is no linear one
        own = _OWN_STATISTICS if getattr(node, "_saved_training", False) else ""
        rounded = "Rounded" if getattr(node, "_saved_rounding_mode", None) else ""
        depends = tuple(argument is not None for argument in before)
        yield Function(rounded + name + own, depends, _rectifies(name, node, depends))


def _rectifies(name: str, node: Any, depends: tuple[bool, ...]) -> bool:
    if name in ("Clamp", "ClampMin", "Threshold"):
        bound = node._saved_threshold if name == "Threshold" else node._saved_min
        upper = node._saved_max if name == "Clamp" else None
        return upper is None and bound is not None and bool((torch.as_tensor(bound) == 0).all())
    return name == "Relu" or (name == "Maximum" and sum(depends) == 1)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
