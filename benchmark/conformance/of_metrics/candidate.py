"""The examined metric, asked about scenes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from camfaith import metrics
from camfaith.benchmark.conformance.examination import Broken, Malformed, asked_for, with_settings
from camfaith.benchmark.conformance.of_metrics.scenes import Scene
from camfaith.benchmark.conformance.trials import Trial
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.benchmark.suite.settings import checked_settings, make
from camfaith.metrics import Metric
from camfaith.metrics.judgement import MalformedColumns, over_several
from camfaith.metrics.probing.pool import Pool, filled

Columns = dict[str, Tensor]
OWN, OTHER = "own", "other"
"""The names of a scene's maps, where they are given by name."""
EQUAL = 1e-6
"""How far apart two values may be that should be equal, in units of the larger one, or of 1 if that is larger."""


class Candidate:
    """A metric by its name or class, with settings. Raises `SuiteError` for a setting that does not exist, and for what
    lacks a part that every metric has."""

    lost: ClassVar[str] = "it gives no value there"

    def __init__(self, metric: Any, /, **settings: Any) -> None:
        named, self.settings = asked_for(metric, settings)
        self.kind = metrics.find(named) if isinstance(named, str) else named
        if not callable(self.kind) or not hasattr(self.kind, "__name__"):
            raise SuiteError(f"expected a metric's class, or its name; got {type(named).__name__} {named!r}")
        bare = named if isinstance(named, str) else str(getattr(named, "name", None) or named.__name__)
        self._what = f"metric {bare!r}"
        checked_settings(self._what, self.kind, self.settings)
        self.name = with_settings(bare, self.settings)
        example = self.make()
        if lacking := [part for part in ("name", "main", "better", "probes") if not hasattr(example, part)]:
            raise SuiteError(f"{self._what} lacks {', '.join(lacking)}; see CONTRIBUTING.md for a metric")
        self.main: str = example.main
        self.better: Mapping[str, str] = example.better
        self.range: Mapping[str, tuple[float, float]] = getattr(example, "range", {})
        self.exempt: Mapping[str, str] = getattr(example, "exempt", {})
        self.compares = over_several(example)
        self.columns = list(dict.fromkeys([self.main, *self.better]))
        """Those that judge."""

    def make(self) -> Any:
        """A new object with the settings, and with noise for pictures of a data set, where it needs such."""
        return filled(make(self._what, self.kind, self.settings), _noise)

    def judged(self, scene: Scene, metric: Any = None) -> Columns:
        """What the metric, or a given object of it, says of a scene; `Malformed` if it is no B values a column, or
        a column is missing. One that compares methods is given the scene's maps and its `other` ones."""
        if self.compares:
            return self.of_both(scene, metric)[OWN]
        found: Columns = self._called(scene, scene.maps, metric)
        return found

    def of_both(self, scene: Scene, metric: Any = None) -> dict[str, Columns]:
        """What it says of the scene's maps (`OWN`) and of its `other` ones, given by name."""
        found: dict[str, Columns] = self._called(scene, {OWN: scene.maps, OTHER: scene.other}, metric)
        return found

    def _called(self, scene: Scene, maps: Any, metric: Any) -> Any:
        metric = self.make() if metric is None else metric
        try:
            # One that derives from nothing is called as all others are.
            found = (metric if callable(metric) else partial(Metric.__call__, metric))(
                *(scene.network, scene.images, scene.targets, maps),
                masks=scene.masks,
                contents=scene.contents,
                layer=scene.layer,
                contributions=scene.contributions,
                seeds=scene.seeds,
                method=scene.method,
            )
        except MalformedColumns as reason:
            raise Malformed(str(reason)) from None
        for columns in found.values() if isinstance(maps, Mapping) else [found]:
            if lacking := [column for column in self.columns if column not in columns]:
                raise Malformed(f"there is no column {lacking[0]!r}, only {', '.join(columns)}")
        return found

    def asked(self, scene: Scene) -> list[Any]:
        """Its probes for a scene, equal ones once."""
        pixels = scene.images.shape[-2] * scene.images.shape[-1]
        return list(dict.fromkeys(self.make().probes(scene.layer, pixels)))


@lru_cache(maxsize=4)
def _noise(pictures: int) -> Pool:
    return Pool.of(Trial(pictures, 8, 8, seed=1).images())


def must_equal(found: Columns, expected: Columns, what: str, tolerance: float = EQUAL) -> None:
    """Raises `Broken` where a column has other values, NaN for NaN."""
    if found.keys() != expected.keys():
        raise Broken(f"{what}: the columns are {', '.join(found)}, and {', '.join(expected)}")
    for column, values in found.items():
        wanted = expected[column]
        gap = (values - wanted).abs() / torch.maximum(values.abs(), wanted.abs()).clamp(min=1)
        other = ~((gap <= tolerance) | (values == wanted) | (values.isnan() & wanted.isnan()))
        if other.any():
            at = int(other.nonzero()[0])
            raise Broken(f"{what}: {column!r} of image {at} is {float(values[at]):.6g} and {float(wanted[at]):.6g}")
