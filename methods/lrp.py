"""Captum's layer-wise relevance propagation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from camfaith.methods.attribution import Attribution, captum, copied_to
from camfaith.methods.base import Calls as Cost
from camfaith.methods.base import TargetLayer
from camfaith.methods.preparing import check_precision, no_rule, unmarked, without_backward_hooks
from camfaith.models.capture import Evidence
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import Function, Interceptor, Step, depends, trace
from camfaith.models.settings import Positive


class LRP(Attribution):
    """R_i = Σ_j a_i w_ij/(z_j + ε·sign z_j) · R_j from the logit back to the input, z_j = Σ_i a_i w_ij + b_j, at every
    linear layer, batch norm, pooling, mean and sum; ReLU and tanh hand R on as it is (Bach et al. 2015).

    The relevance is that of the network's own input, x after normalisation: a value of 0 there, not black, has none.
    Without biases ΣR tends to S_c as ε falls to 0; biases keep their share. Captum has one ε for all layers.

    Modules and functions count alike: `nn.AdaptiveAvgPool2d(1)`, `F.avg_pool2d` and `x.mean((2, 3))`, `nn.ReLU` and
    `torch.relu`. A module's own captum rule, set as its attribute `rule`, is kept. `NotApplicable` names the module
    that computes what has no rule (SiLU, Sigmoid, GELU, layer norm, products of two activations), and the one whose own
    rule cannot be followed. The check costs one more forward for each image.
    """

    name = "lrp-epsilon"
    complete: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = {"preprocessing": "relevance is that of the network's own input"}

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, *, epsilon: Positive = 1e-9) -> None:
        super().__init__(model, target_layer)
        self.epsilon = epsilon

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        check_precision(self.name, classifier)
        with without_backward_hooks(classifier), unmarked(classifier.network):
            steps, given = trace(classifier, images)
            own = _with_own_rules(steps)
            network = _Network(classifier, self._ruled(step for step in steps if step.module not in own))
            with copied_to(own):
                explainer = captum().LRP(network)
                explainer._get_layers = lambda _model: explainer.layers.extend([*own, *network.calls.values()])
                found: Tensor = explainer.attribute(given.requires_grad_(), target=evidence.targets)
        return found

    def cost(self, image: Tensor) -> Cost:
        return Cost(forwards=3, backwards=1)

    def _ruled(self, steps: Iterable[Step]) -> dict[int, _Ruled]:
        """A module with its rule for each call of a layer's function, by number; `NotApplicable` for a call without a
        rule."""
        from captum.attr._utils.lrp_rules import EpsilonRule, IdentityRule

        ruled = {}
        for step in steps:
            for function in step.others:
                if not function.moves:
                    raise no_rule(self.name, step, function.name, _ADVICE)
            for call in step.calls:
                unknown = [function for function in call.functions if not _known(function)]
                if unknown:
                    raise no_rule(self.name, step, unknown[0].name, _ADVICE)
                if any(map(_activates, call.functions)):
                    ruled[call.number] = _Ruled(IdentityRule())
                elif not all(function.moves for function in call.functions):
                    ruled[call.number] = _Ruled(EpsilonRule(self.epsilon))
        return ruled


_ADVICE = (
    "write it with layers or functions that have one (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU or F.relu, pooling "
    "without indices, sums), or give a module without others in it one of captum.attr._utils.lrp_rules as its "
    "attribute `rule`"
)


def _activates(function: Function) -> bool:
    return function.rectifies or function.name == "Tanh"


def _known(function: Function) -> bool:
    return function.linear or function.name.startswith("MaxPool") or _activates(function)


def _with_own_rules(steps: Sequence[Step]) -> list[nn.Module]:
    """The modules that bring their own rules; `NotApplicable` names one that captum's hooks cannot follow."""
    from captum.attr._utils.lrp_rules import PropagationRule

    own = [step for step in steps if isinstance(getattr(step.module, "rule", None), PropagationRule)]
    calls = Counter(step.module for step in own)
    for step in own:
        if not step.leaf:
            wrong = "has modules in it; give them rules"
        elif calls[step.module] > 1:
            wrong = f"is called {calls[step.module]} times in a forward; give each call a module of its own"
        elif not step.plain:
            wrong = (
                "is not called with tensors alone, by position, or writes into them, or does not return one tensor; "
                "change that, or leave the rule to lrp-epsilon"
            )
        else:
            continue
        raise NotApplicable(f"{LRP.name}: {step.where} has a rule of its own, and {wrong}")
    return list(calls)


class _Ruled(nn.Module):
    """One call of a function as a module, as the rules want it: it takes tensors by position, and does not change
    them."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule = rule

    def make(self, func: Callable[..., Tensor], args: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
        values = [*args, *named.values()]
        places = [place for place, value in enumerate(values) if depends(value)]
        written: list[Tensor] = []

        def run(*tensors: Tensor) -> Tensor:
            copies = {place: tensor.clone() for place, tensor in zip(places, tensors, strict=True)}
            filled = [copies.get(place, value) for place, value in enumerate(values)]
            result = func(*filled[: len(args)], **dict(zip(named, filled[len(args) :], strict=True)))
            written.extend(values[place] for place, copy in copies.items() if copy is result)
            return result

        self.forward = run
        result: Tensor = self(*(values[place].clone() for place in places))
        return written[0].copy_(result) if written else result


class _Network(nn.Module):
    """A classifier's network in which some calls of functions are modules, because captum's rules need modules."""

    def __init__(self, classifier: Classifier, calls: Mapping[int, _Ruled]) -> None:
        super().__init__()
        self.network, self._read, self.calls = classifier.network, classifier.read, calls

    def forward(self, images: Tensor) -> Tensor:
        with Interceptor(self._make):
            return self._read(self.network(images.clone()))  # it may write into it

    def _make(self, number: int, func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        if number in self.calls:
            return self.calls[number].make(func, args, named)
        return func(*args, **named)
