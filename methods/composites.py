"""Layer-wise relevance propagation by zennit's composites, one rule per kind of layer: `zennit:EpsilonPlusFlat`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.attribution import Attribution
from camfaith.methods.base import Calls, TargetLayer
from camfaith.methods.preparing import check_precision, no_rule
from camfaith.models.capture import Evidence, target_logit
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.trace import Function, Step, trace
from camfaith.models.walk import require_float, require_python


class Composite(Attribution):
    """zennit's relevance of the network's own input, x after normalisation, from the target's logit back.

    `options` go to the composite's constructor. Unless they name others, `canonizers` is zennit's `ResNetCanonizer`,
    which merges batch norms into the layers before them and makes a module of the sum in torchvision's ResNet blocks;
    `low` and `high`, the bounds of the box, are black and white after normalisation.

    zennit sees modules alone. `NotApplicable` names the function that zennit would miss (a residual sum, `F.relu`,
    `x.mean((2, 3))`), a layer that is called several times, and a network whose batch norms do not follow the layers
    that they are merged into. Max pooling and functions that only move values are allowed. Without biases ΣR tends to
    S_c as `epsilon` and `stabilizer` fall to 0, unless α2β1 finds no negative share.
    """

    package: ClassVar[str] = "zennit"
    module: ClassVar[str] = "zennit.composites"
    class_free: ClassVar[frozenset[str]] = frozenset()
    theirs: ClassVar[Any]

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, **options: Any) -> None:
        super().__init__(model, target_layer)
        taken = inspect.signature(self.theirs)
        try:
            taken.bind_partial(**options)
        except TypeError as error:
            raise TypeError(f"{self.name}: {error}; its settings are {', '.join(taken.parameters)}") from None
        self.canonizers: Sequence[Any] | None = options.pop("canonizers", None)
        self.options = options

    @classmethod
    def methods_in(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """zennit's composites of LRP by name; its other composites change gradients."""
        known = content["COMPOSITES"].values()
        return {kind.__name__: kind for kind in known if "epsilon" in inspect.signature(kind).parameters}

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        check_precision(self.name, classifier)
        network = classifier.network
        require_python(network)
        require_float(network)
        given = classifier.normalised(images.detach()).to(classifier.dtype).requires_grad_()
        with torch.no_grad():
            plain = classifier(images)
        with _as_it_was(network):
            self._canonize(classifier)
            composite = self._composite(classifier, images)
            self._check(trace(classifier, images)[0], _rules(composite, network))
            with composite.context(network):
                outputs = classifier.outputs(network(given.clone()))
                started = self._relevance(outputs, plain, evidence.targets, classifier)
                found: Tensor = torch.autograd.grad(outputs, given, started)[0]
        return found

    def _relevance(self, outputs: Any, plain: Tensor, targets: Tensor, classifier: Classifier) -> Tensor:
        """Where the rules start: u ⊙ ∂S_c/∂u for the network's outputs u, which is the target's logit where the scores
        are outputs."""
        if not isinstance(outputs, Tensor):
            raise NotApplicable(f"{self.name} needs a network that returns a tensor, got a {type(outputs).__name__}")
        ends = outputs.detach().requires_grad_()
        logits = classifier.head.scores(ends, classifier.name)
        self._require_same(logits.detach(), plain, classifier)
        return ends.detach() * torch.autograd.grad(target_logit(logits, targets).sum(), ends)[0]

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=3, backwards=1)

    def _canonize(self, classifier: Classifier) -> None:
        from zennit.torchvision import ResNetCanonizer

        try:
            for canonizer in (ResNetCanonizer(),) if self.canonizers is None else self.canonizers:
                canonizer.apply(classifier.network)
        except (AttributeError, RuntimeError) as error:
            raise self._unmerged(classifier, str(error)) from error

    def _composite(self, classifier: Classifier, images: Tensor) -> Any:
        ends = {"low": torch.zeros_like(images[:1]), "high": torch.ones_like(images[:1])}
        box = {name: classifier.normalised(end.detach()) for name, end in ends.items()}
        taken = inspect.signature(self.theirs).parameters
        return self.theirs(**{name: end for name, end in box.items() if name in taken} | self.options)

    def _check(self, steps: Sequence[Step], rules: Mapping[nn.Module, Any]) -> None:
        """Raises `NotApplicable` for what zennit's hooks cannot follow."""
        from zennit.rules import Pass

        steps = [step for step in steps if step.functions and step.module in rules]  # not the head's
        calls = Counter(step.module for step in steps)
        for step in steps:
            rule = rules[step.module]
            if rule is None:
                if unknown := [function.name for function in step.functions if not _passes(function)]:
                    raise no_rule(self.name, step, unknown[0], _ADVICE)
                continue
            if not step.plain:
                wrong = "is not called with tensors that depend on the images, by position, or does not return one"
            elif isinstance(rule, Pass):
                continue
            elif calls[step.module] > 1:
                wrong = f"is called {calls[step.module]} times in a forward; give each call a module of its own"
            elif not step.leaf:
                wrong = "has modules in it that compute its weights; make them parameters (remove_parametrizations)"
            else:
                continue
            raise NotApplicable(f"{self.name}: {step.where} {wrong}: zennit's rule would not see it right")

    def _require_same(self, logits: Tensor, plain: Tensor, classifier: Classifier) -> None:
        """Raises `NotApplicable` if the canonizers changed what the network computes."""
        tolerance = 0.1 if classifier.dtype == torch.bfloat16 else 0.01  # a merged batch norm keeps its own ε
        if bool(((logits - plain).abs().amax(1) > tolerance * plain.abs().amax(1)).any()):
            raise self._unmerged(classifier, "the logits are others")

    def _unmerged(self, classifier: Classifier, why: str) -> NotApplicable:
        return NotApplicable(
            f"{self.name}: zennit's canonizers do not fit {classifier.name} ({why}): they merge a batch norm into the "
            "layer that is defined before it; name others, or none, as canonizers=[]"
        )


_ADVICE = (
    "write it with modules that zennit has rules for (nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.ReLU, "
    "nn.AdaptiveAvgPool2d, zennit.layer.Sum), or name canonizers that do"
)


def _rules(composite: Any, network: nn.Module) -> dict[nn.Module, Any]:
    """The rule that zennit gives each module; None where it keeps the gradient."""
    context: dict[Any, Any] = {}
    return {module: composite.module_map(context, name, module) for name, module in network.named_modules()}


def _passes(function: Function) -> bool:
    """Whether the module's gradient hands relevance on unchanged."""
    return function.moves or "MaxPool" in function.name


@contextmanager
def _as_it_was(network: nn.Module) -> Iterator[None]:
    """Restores what the modules hold. If a canonizer fails, zennit does not undo what came before; if two changed one
    module, it undoes them wrongly."""
    held = [vars(module) for module in network.modules()]
    tables = [table for own in held for table in own.values() if isinstance(table, dict)]
    before = [(table, dict(table)) for table in (*held, *tables)]
    values = [(tensor, tensor.data) for tensor in (*network.parameters(), *network.buffers())]
    try:
        yield
    finally:
        for table, content in before:
            table.clear()
            table.update(content)
        for tensor, data in values:
            tensor.data = data
