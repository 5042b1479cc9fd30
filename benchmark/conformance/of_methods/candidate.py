"""The examined method, bound to networks and asked for maps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith import methods
from camfaith.benchmark.conformance.examination import Broken, Malformed, asked_for, with_settings
from camfaith.benchmark.conformance.networks import GROUNDS, Ground
from camfaith.benchmark.conformance.trials import Trial, set_generators, undisturbed
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.benchmark.suite.settings import checked_settings
from camfaith.methods.adapters import LIBRARIES
from camfaith.methods.contract import bind
from camfaith.models import Classifier, Evidence, maps
from camfaith.models.contract import Bound, MalformedMaps, said
from camfaith.models.errors import NotApplicable


@dataclass(frozen=True, kw_only=True)
class Placed(Bound):
    """The candidate on one network and layer."""

    def evidence(self, images: Tensor, targets: Sequence[int], seed: int = 0) -> Evidence:
        """The evidence that the method needs; each image has a seed and a mask of its own."""
        masks = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool, device=images.device)
        masks[:, : -(-images.shape[2] // 2)] = True
        seeds = seed + torch.arange(len(images))
        return self.classifier.evidence(
            images, list(targets), self.needed_layers, gradients=self.goes_back, seeds=seeds, masks=masks
        )

    def explain(self, evidence: Evidence, chance: int = 0) -> Tensor:
        """Raw maps, B×h×w, on the device where the method left them; `Malformed` for anything else. The global
        generators are seeded with `chance` first."""
        set_generators(chance)
        try:
            return self.maps_as_given(evidence)
        except MalformedMaps as reason:
            raise Malformed(str(reason)) from None

    def maps(self, images: Tensor, targets: Sequence[int]) -> Tensor:
        return self.explain(self.evidence(images, targets))

    def draws(self, images: Tensor, targets: Sequence[int]) -> bool:
        """Whether the maps depend on chance: another seed gives others."""
        one, other = (self.explain(self.evidence(images, targets, seed), chance=seed) for seed in (0, 100))
        return not torch.equal(one, other)


class Candidate:
    """A method by its name or class, with settings for its constructor, and the method whose maps it must equal.

    Both may be tables, as in a suite: {"name": "gradcam++", "variant": "pgc"}. Raises `SuiteError` for a setting that
    does not exist.
    """

    lost: ClassVar[str] = "it gives no map there"

    def __init__(self, method: Any, /, *, like: Any = None, **settings: Any) -> None:
        named, self.settings = asked_for(method, settings)
        self.kind = methods.find(named) if isinstance(named, str) else named
        if not callable(self.kind) or not hasattr(self.kind, "__name__"):
            raise SuiteError(f"expected a method's class, or its name; got {type(named).__name__} {named!r}")
        bare = named if isinstance(named, str) else str(getattr(named, "name", None) or named.__name__)
        checked_settings(f"method {bare!r}", self.kind, self.settings)
        self.name = with_settings(bare, self.settings)
        like = namesake(bare) if like is None else like
        self.like = Candidate(like) if like is not None else None
        self.control: bool = said(self.kind, "control")
        self.class_dependent: bool = said(self.kind, "class_dependent")
        self.complete: bool = said(self.kind, "complete")
        self.displayed: bool = said(self.kind, "displayed")

    def on(self, network: nn.Module, layer: str) -> Placed:
        """The method bound to a network. Raises what it raised if no kind of network gave a map: `NotApplicable`, or
        `Malformed` for an error."""
        _ = self.ground
        return self._place(network, layer)

    def _place(self, network: nn.Module, layer: str) -> Placed:
        return Placed(**vars(bind(self.kind, Classifier.of(network), layer, self.settings)))

    @cached_property
    def exempt(self) -> Mapping[str, str]:
        """The checks that its definition breaks; where that depends on settings, the bound method says it."""
        found = said(self.kind, "exempt")
        return found if isinstance(found, Mapping) else self.on_ground(Trial()).exempt

    @cached_property
    def needs_layer(self) -> bool:
        """Whether the method reads evidence at a layer; that may depend on its settings."""
        return bool(self.on_ground(Trial()).needed_layers)

    @cached_property
    def needs_gradients(self) -> bool:
        return self.on_ground(Trial()).needs_gradients

    @property
    def ground(self) -> Ground:
        """The first kind of network on which the method gives a map, for some size of image."""
        if isinstance(self._ground, Exception):
            raise self._ground.with_traceback(None)
        return self._ground

    @cached_property
    def _ground(self) -> Ground | Exception:
        errors: list[Exception] = []
        for ground, side in product(GROUNDS, (4, 8, 16)):
            try:
                with undisturbed():
                    self._place(ground.build(0), ground.layer).maps(Trial(height=side, width=side).images(), [0])
            except Malformed:
                return ground
            except Exception as error:
                errors.append(error)
            else:
                return ground
        for found in errors:
            if not isinstance(found, NotApplicable):
                return Malformed(f"{type(found).__name__}: {found}")
        return errors[0]

    def on_ground(self, trial: Trial, **changes: Any) -> Placed:
        """The method on a network with random weights, drawn from the trial's seed."""
        return self.on(self.ground.build(trial.seed, **changes), self.ground.layer)


def namesake(name: str) -> str | Mapping[str, Any] | None:
    """The shipped method with the name of another library's method."""
    library, _, theirs = name.partition(":")
    if library not in LIBRARIES:
        return None
    own = {_plain(shipped): shipped for shipped in methods.SHIPPED}
    found = own.get(_plain(theirs).removeprefix("gradcam")) or own.get(_plain(theirs))
    return {"name": found, "layers": 1} if found == "legrad" else found  # theirs reads the block that it gets


def _plain(name: str) -> str:
    """One spelling for `GradCAMPlusPlus`, `GradCAMpp` and `gradcam++`."""
    return re.sub(r"[^a-z+]", "", re.sub("(plusplus|pp)$", "++", name.lower()))


def shown(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps as displayed: rectified, as large as the image, from 0 to 1."""
    return maps.normalise(maps.upsample(maps.rectify(raw), size))


def differ(found: Tensor, expected: Tensor) -> float:
    """The largest difference in units of the largest value; infinite if shapes differ, or a value is no number."""
    if found.shape != expected.shape:
        return float("inf")
    one, other = found.double(), expected.double()
    gap = (one - other).abs().max() / torch.maximum(one.abs().max(), other.abs().max()).clamp(min=1e-300)
    return float(gap) if bool(gap.isfinite()) else float("inf")


def must_agree(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Raises `Broken` if they differ by more than `tolerance`."""
    if (gap := differ(found, expected)) > tolerance:
        raise Broken(f"{what}: they differ by {gap:.2g} of the largest value")
