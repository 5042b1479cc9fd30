"""What every method owes its caller, whatever its maps show. Each check raises `Broken` if a method fails it, and
`NotApplicable` if the check makes no sense for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.examination import Broken, Malformed
from camfaith.benchmark.conformance.networks import Repeating
from camfaith.benchmark.conformance.of_methods.candidate import Candidate, Placed, must_agree, shown
from camfaith.benchmark.conformance.trials import Trial, set_generators
from camfaith.methods import Calls
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.counting import counting

EQUAL = 1e-5
"""How far apart two maps may be that should be equal, in units of the largest value: single precision rounds."""


def shape(candidate: Candidate, trial: Trial) -> None:
    """explain gives a floating-point tensor B×h×w for a batch of B."""
    try:
        candidate.on_ground(trial).maps(trial.images(), trial.targets)
    except Malformed as reason:
        raise Broken(str(reason)) from None


def dtype(candidate: Candidate, trial: Trial) -> None:
    """Maps have the precision of the network."""
    for wanted in (torch.float32, torch.float64):
        found = candidate.on_ground(trial, dtype=wanted).maps(trial.images(wanted), trial.targets)
        if found.dtype != wanted:
            raise Broken(f"a {_name(wanted)} network gets {_name(found.dtype)} maps")


def device(candidate: Candidate, trial: Trial) -> None:
    """Maps lie on the device of the images."""
    if not torch.cuda.is_available():
        raise NotApplicable("there is no CUDA device on this machine")
    bound = candidate.on(candidate.ground.build(trial.seed).to("cuda"), candidate.ground.layer)
    found = bound.maps(trial.images().to("cuda"), trial.targets)
    if found.device.type != "cuda":
        raise Broken(f"images on cuda get maps on {found.device.type}")


def finite(candidate: Candidate, trial: Trial) -> None:
    """No map of an ordinary image holds NaN or an infinity, even where the layer has a single cell."""
    found = candidate.on_ground(trial).maps(trial.images(), trial.targets)
    if bad := int((~found.isfinite()).sum()):
        raise Broken(f"{bad} of {found.numel()} values are NaN or infinite")


def repeatable(candidate: Candidate, trial: Trial) -> None:
    """The same evidence and seeds give the same maps, whatever state the global generators have, now or when the method
    is bound."""
    set_generators(0)
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    one, other = (bound.explain(evidence, chance=chance) for chance in (0, 1))
    must_agree(other, one, 1e-12, "asked twice")
    set_generators(1)
    must_agree(candidate.on_ground(trial).explain(evidence), one, 1e-12, "bound twice")


def batch(candidate: Candidate, trial: Trial) -> None:
    """A batch of N gives the same maps as N batches of one."""
    bound, images = candidate.on_ground(trial), trial.images()
    together = bound.maps(images, trial.targets)
    rows = [bound.evidence(images[row : row + 1], [target], seed=row) for row, target in enumerate(trial.targets)]
    must_agree(together, torch.cat([bound.explain(row) for row in rows]), EQUAL, "together and one by one")


def frozen(candidate: Candidate, trial: Trial) -> None:
    """A network whose parameters require no gradients is explained like any other."""
    bound, images = candidate.on_ground(trial), trial.images()
    expected = bound.maps(images, trial.targets)
    bound.classifier.network.requires_grad_(False)
    must_agree(bound.maps(images, trial.targets), expected, EQUAL, "frozen and not")


def no_grad(candidate: Candidate, trial: Trial) -> None:
    """Inside torch.no_grad() maps are the same."""
    bound, images = candidate.on_ground(trial), trial.images()
    expected = bound.maps(images, trial.targets)
    with torch.no_grad():
        found = bound.maps(images, trial.targets)
    must_agree(found, expected, EQUAL, "inside torch.no_grad() and outside")


def low_precision(candidate: Candidate, trial: Trial) -> None:
    """In bfloat16 and float16, of which a method may refuse one, a map is finite and within 0.1, on average, of the map
    in double precision."""
    refused = []
    for dtype in (torch.bfloat16, torch.float16):
        try:
            _must_show_the_same(candidate, trial, dtype)
        except NotApplicable as reason:
            refused.append(reason)
        except Exception as error:
            told = str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
            raise Broken(f"in {_name(dtype)}: {told}") from error
    if len(refused) == 2:
        raise refused[0]


def _must_show_the_same(candidate: Candidate, trial: Trial, dtype: torch.dtype) -> None:
    images = trial.images(dtype)
    exact = candidate.on_ground(trial).maps(images.double(), trial.targets)
    found = candidate.on_ground(trial, dtype=dtype).maps(images, trial.targets)
    if not bool(found.isfinite().all()):
        raise Broken("the map holds NaN or infinite values")
    shows = (shown(each.double(), (trial.height, trial.width)) for each in (found, exact))
    gap = float(torch.sub(*shows).abs().mean())
    if gap > 0.1:
        raise Broken(f"the map lies {gap:.2f} from that in double precision, on a scale from 0 to 1")


def in_place(candidate: Candidate, trial: Trial) -> None:
    """An in-place ReLU behind the target layer changes nothing."""
    images, layer = trial.images(), candidate.ground.before_relu
    if layer is None:
        raise NotApplicable(f"a {candidate.ground.name} network has no such ReLU")
    plain, changed = (
        candidate.on(candidate.ground.build(trial.seed, inplace=inplace), layer).maps(images, trial.targets)
        for inplace in (False, True)
    )
    must_agree(changed, plain, EQUAL, "with an in-place ReLU behind the layer and with another")


def reused_layer(candidate: Candidate, trial: Trial) -> None:
    """If a layer runs twice in a forward, the last call is explained."""
    images = trial.images()
    expected = candidate.on(Repeating(trial.seed, shared=False), "again").maps(images, trial.targets)
    found = candidate.on(Repeating(trial.seed, shared=True), "mix").maps(images, trial.targets)
    must_agree(found, expected, EQUAL, "the layer that runs twice and a layer of its own for the last call")


def in_range(candidate: Candidate, trial: Trial) -> None:
    """The images that a method sends through the network are at most three times as bright as the explained one, and no
    layer gets values a hundred times as large as with that image."""
    ground, images = candidate.ground, trial.images()
    _must_stay_in_range(candidate.on_ground(trial), images, trial.targets)
    if ground.before_relu:  # activations are signed there, and some methods behave differently
        with suppress(NotApplicable):
            _must_stay_in_range(candidate.on(ground.build(trial.seed), ground.before_relu), images, trial.targets)


def _must_stay_in_range(bound: Placed, images: Tensor, targets: Sequence[int]) -> None:
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
    """The largest magnitude that each module gets inside, by name; the network's own name is ""."""
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


def cost(candidate: Candidate, trial: Trial) -> None:
    """`cost(image)` is what explain sends through the network and back; a method without `cost` sends nothing."""
    bound, images = candidate.on_ground(trial), trial.images()
    evidence = bound.evidence(images, trial.targets)
    declared = sum((bound.cost(image) for image in torch.split(evidence.images, 1)), Calls())  # first, as in a plan
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
