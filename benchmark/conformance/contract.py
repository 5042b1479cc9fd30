"""What every method owes whoever calls it, whatever its maps show. Each check raises `Broken` where a method fails it
and `NotApplicable` where it cannot be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.networks import Repeating
from camfaith.benchmark.conformance.subject import (
    Bound,
    Broken,
    Case,
    Malformed,
    Subject,
    must_agree,
    set_generators,
    shown,
)
from camfaith.methods import Calls
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.counting import counting

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
    """The same evidence with the same seeds gives the same maps, whatever the global generators hold, then or when the
    method is bound."""
    set_generators(0)
    bound = subject.on_ground(case)
    evidence = bound.evidence(case.images(), case.targets)
    one, other = (bound.explain(evidence, chance=chance) for chance in (0, 1))
    must_agree(other, one, 1e-12, "asked twice")
    set_generators(1)
    must_agree(subject.on_ground(case).explain(evidence), one, 1e-12, "bound twice")


def batch(subject: Subject, case: Case) -> None:
    """A batch of N gives what N batches of one give."""
    bound, images = subject.on_ground(case), case.images()
    together = bound.maps(images, case.targets)
    rows = [bound.evidence(images[row : row + 1], [target], seed=row) for row, target in enumerate(case.targets)]
    must_agree(together, torch.cat([bound.explain(row) for row in rows]), EQUAL, "together and one by one")


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
    """In bfloat16 and in float16, but for one that it refuses, a map is finite and shows what it does in double
    precision: within 0.1 on average."""
    refused = []
    for dtype in (torch.bfloat16, torch.float16):
        try:
            _must_show_the_same(subject, case, dtype)
        except NotApplicable as reason:
            refused.append(reason)
        except Exception as error:
            told = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            raise Broken(f"in {_name(dtype)}: {told}") from error
    if len(refused) == 2:
        raise refused[0]


def _must_show_the_same(subject: Subject, case: Case, dtype: torch.dtype) -> None:
    images = case.images(dtype)
    exact = subject.on_ground(case).maps(images.double(), case.targets)
    found = subject.on_ground(case, dtype=dtype).maps(images, case.targets)
    if not bool(found.isfinite().all()):
        raise Broken("the map holds NaN or infinite values")
    shows = (shown(each.double(), (case.height, case.width)) for each in (found, exact))
    gap = float(torch.sub(*shows).abs().mean())
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
    """The images that the method itself sends through the network are no more than three times as bright as its own,
    and no layer is given values a hundred times as large as any that its own image leads to."""
    ground, images = subject.ground, case.images()
    _must_stay_in_range(subject.on_ground(case), images, case.targets)
    if ground.before_relu:  # where activations are signed, and some methods do otherwise
        with suppress(NotApplicable):
            _must_stay_in_range(subject.on(ground.build(case.seed), ground.before_relu), images, case.targets)


def _must_stay_in_range(bound: Bound, images: Tensor, targets: Sequence[int]) -> None:
    if bound.draws(images, targets):
        raise NotApplicable("it adds noise, which has no bound")
    network = bound.classifier.network
    with _largest_inputs(network) as usual:
        evidence = bound.evidence(images, targets)
    with _largest_inputs(network) as found:
        bound.explain(evidence)
    ratio = found.pop("", 0.0) / usual.pop("")
    if ratio > 3:
        raise Broken(f"the network is shown values {ratio:.1f} times as large as any of the image's")
    largest = max(usual.values())
    for layer, most in found.items():
        if most > 100 * largest:
            raise Broken(f"layer {layer!r} is given values up to {most:.2g}, where the image's own reach {largest:.2g}")


@contextmanager
def _largest_inputs(network: nn.Module) -> Iterator[dict[str, float]]:
    """The largest magnitude that each module is given in the block, by name; the network's own is ""."""
    largest: dict[str, float] = {}

    def note(_module: nn.Module, inputs: tuple[Any, ...], *, name: str) -> None:
        tensors = [given.detach().abs().max() for given in inputs if isinstance(given, Tensor) and given.numel()]
        try:
            largest[name] = max([largest.get(name, 0.0), *map(float, tensors)])
        except RuntimeError as error:
            raise NotApplicable("it asks the network inside torch.func.vmap, where no value can be read") from error

    handles = [m.register_forward_pre_hook(partial(note, name=name)) for name, m in network.named_modules()]
    try:
        yield largest
    finally:
        for handle in handles:
            handle.remove()


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


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
