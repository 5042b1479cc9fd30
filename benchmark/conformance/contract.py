"""What every method owes whoever calls it, whatever its maps show. Each check raises `Broken` where a method fails it
and `NotApplicable` where it cannot be asked."""

from __future__ import annotations

import gc
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.networks import Repeating
from camfaith.benchmark.conformance.subject import (
    Broken,
    Case,
    Malformed,
    Subject,
    must_agree,
    set_generators,
    shown,
)
from camfaith.methods import Calls
from camfaith.models import Evidence
from camfaith.models.counting import counting
from camfaith.models.errors import NotApplicable

EQUAL = 1e-5
"""How far two maps may lie apart that should be the same, in units of the largest value: single precision rounds."""


def shape(subject: Subject, case: Case) -> None:
    """explain gives a floating-point tensor B×h×w for a batch of B."""
    try:
        subject.on_ground(case).maps(case.images(), case.targets)
    except Malformed as reason:
        raise Broken(str(reason)) from None


def dtype(subject: Subject, case: Case) -> None:
    """Maps have the precision of the network."""
    for wanted in (torch.float32, torch.float64):
        found = subject.on_ground(case, dtype=wanted).maps(case.images(wanted), case.targets)
        if found.dtype != wanted:
            raise Broken(f"a {_name(wanted)} network gets {_name(found.dtype)} maps")


def device(subject: Subject, case: Case) -> None:
    """Maps lie on the device of the images."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device on this machine")
    bound = subject.on(subject.ground.build(case.seed).to("cuda"), subject.ground.layer)
    found = bound.maps(case.images().to("cuda"), case.targets)
    if found.device.type != "cuda":
        raise Broken(f"images on cuda get maps on {found.device.type}")


def finite(subject: Subject, case: Case) -> None:
    """No map of an ordinary image holds NaN or an infinity, even where the layer has a single cell."""
    found = subject.on_ground(case).maps(case.images(), case.targets)
    if bad := int((~found.isfinite()).sum()):
        raise Broken(f"{bad} of {found.numel()} values are NaN or infinite")


def repeatable(subject: Subject, case: Case) -> None:
    """The same evidence with the same seeds gives the same maps, whatever the global generators hold."""
    bound = subject.on_ground(case)
    evidence = bound.evidence(case.images(), case.targets)
    one, other = (bound.explain(evidence, chance=chance) for chance in (0, 1))
    must_agree(other, one, 1e-12, "asked twice")


def batch(subject: Subject, case: Case) -> None:
    """A batch of N gives what N batches of one give."""
    bound, images = subject.on_ground(case), case.images()
    together = bound.maps(images, case.targets)
    rows = [bound.evidence(images[row : row + 1], [target], seed=row) for row, target in enumerate(case.targets)]
    must_agree(together, torch.cat([bound.explain(row) for row in rows]), EQUAL, "together and one by one")


def images_untouched(subject: Subject, case: Case) -> None:
    """Nothing is written into the evidence: images, activations, gradients, logits, targets, seeds, masks."""
    bound = subject.on_ground(case)
    evidence = bound.evidence(case.images(), case.targets)
    kept = _tensors(evidence.copy())
    bound.explain(evidence)
    for name, value in _tensors(evidence).items():
        if not torch.equal(value, kept[name]):
            raise Broken(f"the evidence's {name} were changed")


def network_untouched(subject: Subject, case: Case) -> None:
    """Parameters, buffers, requires_grad flags, .grad and submodules of the network are as they were."""
    bound = subject.on_ground(case)
    network = bound.classifier.network
    parameters = dict(network.named_parameters())
    next(iter(parameters.values())).requires_grad_(False)
    parameters["head.bias"].grad = torch.ones_like(parameters["head.bias"])
    state = {name: value.clone() for name, value in network.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
    grads = {name: _copy(parameter.grad) for name, parameter in parameters.items()}
    modules = list(network.modules())
    bound.maps(case.images(), case.targets)
    if [id(module) for module in network.modules()] != [id(module) for module in modules]:
        raise Broken("a submodule was exchanged")
    for name, value in network.state_dict().items():
        if not torch.equal(value, state[name]):
            raise Broken(f"{name} was changed")
    for name, parameter in parameters.items():
        if parameter.requires_grad != flags[name]:
            raise Broken(f"requires_grad of {name} was {flags[name]} and is {parameter.requires_grad}")
        if not _same(parameter.grad, grads[name]):
            raise Broken(f".grad of {name} was changed")


def training_mode(subject: Subject, case: Case) -> None:
    """In a network that is being trained, maps are those of evaluation, and modes and statistics stay as they were."""
    bound = subject.on_ground(case)
    network, images = bound.classifier.network, case.images()
    expected = bound.maps(images, case.targets)
    network.train()
    network.get_submodule("conv1").eval()
    modes = {name: module.training for name, module in network.named_modules()}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    found = bound.maps(images, case.targets)
    for name, module in network.named_modules():
        if module.training != modes[name]:
            raise Broken(f"{name or 'the network'} was in {_mode(modes[name])} mode and is in {_mode(module.training)}")
    for name, value in network.named_buffers():
        if not torch.equal(value, buffers[name]):
            raise Broken(f"{name} was updated")
    must_agree(found, expected, EQUAL, "in training and in evaluation mode")


def hooks(subject: Subject, case: Case) -> None:
    """The network has the hooks that it had, and no others."""
    bound = subject.on_ground(case)
    network = bound.classifier.network
    network.get_submodule("conv1").register_forward_hook(lambda *_: None)
    before = _hooks_of(network)
    bound.maps(case.images(), case.targets)
    if changed := sorted(set(before.items()) ^ set(_hooks_of(network).items())):
        (name, kind), _ = changed[0]
        raise Broken(f"{kind[1:]} of {name or 'the network'} are others than before")


def random_state(subject: Subject, case: Case) -> None:
    """The global generators of torch, numpy and Python are left alone."""
    bound = subject.on_ground(case)
    evidence = bound.evidence(case.images(), case.targets)
    bound.explain(evidence)
    set_generators(7)
    before = _generators()
    bound.explainer.explain(evidence, bound.classifier)
    for name, state in _generators().items():
        if state != before[name]:
            raise Broken(f"{name}'s global generator was used or set")


def frozen(subject: Subject, case: Case) -> None:
    """A network whose parameters want no gradients is explained as any other."""
    bound, images = subject.on_ground(case), case.images()
    expected = bound.maps(images, case.targets)
    bound.classifier.network.requires_grad_(False)
    must_agree(bound.maps(images, case.targets), expected, EQUAL, "frozen and not")


def no_grad(subject: Subject, case: Case) -> None:
    """Inside torch.no_grad() maps are the same."""
    bound, images = subject.on_ground(case), case.images()
    expected = bound.maps(images, case.targets)
    with torch.no_grad():
        found = bound.maps(images, case.targets)
    must_agree(found, expected, EQUAL, "inside torch.no_grad() and outside")


def low_precision(subject: Subject, case: Case) -> None:
    """In bfloat16 a map is finite and shows what it does in double precision: within 0.1 on average."""
    size = (case.height, case.width)
    images = case.images(torch.bfloat16)
    exact = subject.on_ground(case).maps(images.double(), case.targets)
    found = subject.on_ground(case, dtype=torch.bfloat16).maps(images, case.targets).double()
    if not bool(found.isfinite().all()):
        raise Broken("the map holds NaN or infinite values")
    gap = float((shown(found, size) - shown(exact.double(), size)).abs().mean())
    if gap > 0.1:
        raise Broken(f"the map lies {gap:.2f} from that in double precision, on a scale from 0 to 1")


def in_place(subject: Subject, case: Case) -> None:
    """An in-place ReLU behind the target layer changes nothing."""
    images, layer = case.images(), subject.ground.before_relu
    if layer is None:
        raise NotApplicable(f"a {subject.ground.name} network has no such ReLU")
    plain, changed = (
        subject.on(subject.ground.build(case.seed, inplace=inplace), layer).maps(images, case.targets)
        for inplace in (False, True)
    )
    must_agree(changed, plain, EQUAL, "with an in-place ReLU behind the layer and with another")


def reused_layer(subject: Subject, case: Case) -> None:
    """Of a layer that runs twice in a forward the last call is explained."""
    images = case.images()
    expected = subject.on(Repeating(case.seed, shared=False), "again").maps(images, case.targets)
    found = subject.on(Repeating(case.seed, shared=True), "mix").maps(images, case.targets)
    must_agree(found, expected, EQUAL, "the layer that runs twice and a layer of its own for the last call")


def in_range(subject: Subject, case: Case) -> None:
    """The images that the method itself sends through the network are no more than three times as bright as its own."""
    bound, images = subject.on_ground(case), case.images()
    if bound.draws(images, case.targets):
        raise NotApplicable("it adds noise, which has no bound")
    evidence, seen = bound.evidence(images, case.targets), [0.0]

    def note(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        seen.extend(float(given.detach().abs().max()) for given in inputs if isinstance(given, Tensor))

    handle = bound.classifier.network.register_forward_pre_hook(note)
    try:
        bound.explain(evidence)
    finally:
        handle.remove()
    ratio = max(seen) / float(evidence.images.abs().max())
    if ratio > 3:
        raise Broken(f"the network is shown values {ratio:.1f} times as large as any of the image's")


def cost(subject: Subject, case: Case) -> None:
    """`cost(image)` tells what explain sends through the network and back, and a method without it sends nothing."""
    bound, images = subject.on_ground(case), case.images()
    evidence = bound.evidence(images, case.targets)
    declare: Callable[[Tensor], Calls] = getattr(bound.explainer, "cost", lambda _: Calls())
    declared = sum((declare(image) for image in torch.split(evidence.images, 1)), Calls())  # first, as a plan asks
    with counting(bound.classifier.network) as tally:
        bound.explain(evidence)
    called = Calls(tally.forwards, tally.backwards)
    if called != declared:
        raise Broken(
            f"{called.forwards} forwards and {called.backwards} backwards for {len(images)} images; "
            f"declared: {declared.forwards} and {declared.backwards}"
        )


def memory(subject: Subject, case: Case) -> None:
    """Memory does not grow over 200 calls (fewer, where one asks for many forwards)."""
    bound = subject.on_ground(case)
    evidence = bound.evidence(case.images(), case.targets)
    with counting(bound.classifier.network) as tally:
        bound.explain(evidence)
    calls = max(12, min(200, 2000 // max(tally.forwards, 1)))
    marks = []
    for rounds in (calls // 4, calls - calls // 4):
        for _ in range(rounds):
            bound.explain(evidence)
        gc.collect()
        marks.append(_alive())
    grown = (marks[1] - marks[0]) / rounds
    if grown > 0.5:
        raise Broken(f"{grown:.1f} objects stay behind after each call")


def _alive() -> int:
    """Objects that Python's collector knows, tensors among them, and what is in its containers, arrays among that."""
    objects = gc.get_objects()
    return len(objects) + sum(len(o) for o in objects if type(o) in (list, dict, OrderedDict, set, deque))


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


def _tensors(evidence: Evidence) -> dict[str, Tensor]:
    found = {"masks": evidence.masks} if evidence.masks is not None else {}
    found |= {name: getattr(evidence, name) for name in ("images", "targets", "logits", "seeds")}
    for kind in ("activations", "gradients"):
        found |= {f"{kind} of {layer}": value for layer, value in getattr(evidence, kind).items()}
    return found


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _hooks_of(network: nn.Module) -> dict[tuple[str, str], tuple[int, ...]]:
    return {(name, kind): tuple(getattr(m, kind)) for name, m in network.named_modules() for kind in _KINDS}


def _generators() -> dict[str, Any]:
    numpys = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in numpys],
        "Python": random.getstate(),
    }
