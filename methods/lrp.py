"""Captum's layer-wise relevance propagation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camfaith.methods.attribution import Attribution, captum, copied_to
from camfaith.methods.base import Calls
from camfaith.methods.rules import check_precision, no_rule, stateless, unmarked, unshared
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.outputs import logits_in
from camfaith.models.steps import Step, trace


class LRP(Attribution):
    """R_i = Σ_j a_i w_ij/(z_j + ε·sign z_j) · R_j from the logit back to the input, z_j = Σ_i a_i w_ij + b_j, at every
    linear layer, batch norm, pooling and sum of two branches; activations hand R on as it is (Bach et al. 2015).

    The relevance is that of the network's own input, x after normalisation: what is 0 there, not black, has none.
    Without biases ΣR tends to S_c as ε falls to 0; biases keep their share. Captum has one ε for all layers.

    A module's own captum rule, set as its attribute `rule`, is kept. `NotApplicable` names the module that has none
    (SiLU, Sigmoid, GELU, layer norm), the one that has parameters and is called several times, and the one that
    computes more than sums and reshapings between its modules, as a functional ReLU or mean. One forward more for each
    image finds that out.
    """

    name = "lrp"
    complete: ClassVar[bool] = True

    def __init__(self, model: nn.Module, target_layer: str | None = None, *, epsilon: float = 1e-9) -> None:
        super().__init__(model, target_layer)
        self.epsilon = epsilon

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        from captum.attr._core.lrp import SUPPORTED_NON_LINEAR_LAYERS
        from captum.attr._utils.lrp_rules import EpsilonRule

        check_precision(self.name, classifier)
        steps, given = trace(classifier, images)
        network = _Summing(classifier, _additions(steps))
        moving = {step.module for step in steps if all(function.moves for function in step.functions)}
        with unmarked(network):
            for leaf in _leaves(network):
                if type(leaf) not in SUPPORTED_NON_LINEAR_LAYERS and not hasattr(leaf, "rule"):
                    leaf.rule = EpsilonRule() if leaf in moving else EpsilonRule(self.epsilon)
            with unshared(network, steps), copied_to(_leaves(network)):
                explainer = captum().LRP(network)
                # captum's own list has a module twice that two parents share
                explainer._get_layers = lambda model: explainer.layers.extend(_leaves(model))
                found: Tensor = explainer.attribute(given.requires_grad_(), target=evidence.targets)
        return found

    def cost(self, image: Tensor) -> Calls:  # noqa: ARG002
        return Calls(forwards=3, backwards=1)


class _Summing(nn.Module):
    """A classifier's network, whose sums of two branches run as captum's module for them, which its rule needs."""

    def __init__(self, classifier: Classifier, additions: int) -> None:
        from captum.attr._utils.custom_modules import Addition_Module

        super().__init__()
        self.network, self._output, self._name = classifier.network, classifier.output, classifier.name
        self.additions = nn.ModuleList(Addition_Module() for _ in range(additions))

    def forward(self, images: Tensor) -> Tensor:
        turns = iter(self.additions)
        with _Sums(turns) if self.additions else nullcontext():
            result = logits_in(self.network(images), self._output, self._name)
        if any(True for _ in turns):
            raise NotApplicable(
                "lrp: a sum of two tensors is written in a way that it cannot follow; write it as a + b"
            )
        return result


class _Sums(TorchFunctionMode):
    """Hands every sum of two tensors with gradients to the next of some modules."""

    def __init__(self, modules: Iterator[nn.Module]) -> None:
        super().__init__()
        self._modules = modules

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if kwargs or name not in ("add", "add_", "__add__", "__iadd__", "__radd__") or not _both_depend(args):
            return func(*args, **(kwargs or {}))
        module = next(self._modules, None)
        if module is None:
            raise NotApplicable(
                "lrp: the network sums two tensors that its output does not depend on; leave that out of its forward"
            )
        total = module(*args)
        return args[0].copy_(total) if name in ("add_", "__iadd__") else total


def _leaves(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if not any(True for _ in module.children())]


def _both_depend(values: Sequence[Any]) -> bool:
    return len(values) == 2 and all(isinstance(value, Tensor) and value.requires_grad for value in values)


def _additions(steps: Sequence[Step]) -> int:
    """How many sums of two branches the network computes between its modules; `NotApplicable` where LRP cannot go."""
    from captum.attr._core.lrp import SUPPORTED_LAYERS_WITH_RULES, SUPPORTED_NON_LINEAR_LAYERS

    known = {*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS}
    advice = (
        "write it with modules that have one (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, pooling), or give the "
    )
    advice += "module one of captum.attr._utils.lrp_rules as its attribute `rule`"
    for step in steps:
        for function in step.functions:
            if not step.leaf:
                fine = function.moves or function.adds
            elif function.own_statistics:
                fine = False
            else:
                ruled = type(step.module) in known or hasattr(step.module, "rule")
                fine = ruled or function.linear or function.name.startswith("MaxPool")
            if not fine:
                raise no_rule(LRP.name, step, function.name, advice)
    for module, calls in Counter(step.module for step in steps if step.leaf).items():
        if calls > 1 and not stateless(module):
            where = next(step.where for step in steps if step.module is module)
            raise NotApplicable(f"lrp: {where} is called {calls} times in a forward; give each call its own module")
    between = sum(function.adds for step in steps if not step.leaf for function in step.functions)
    within = [step.where for step in steps if step.leaf and any(function.adds for function in step.functions)]
    if between and within:
        raise NotApplicable(
            f"lrp: {within[0]} adds two tensors, and so does the network between its modules; write all sums in one way"
        )
    return between
