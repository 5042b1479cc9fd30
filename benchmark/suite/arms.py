"""A method and a metric as a run knows them: under their labels, and such that what they cannot say stops nobody."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from camfaith.benchmark.suite.declaration import digest
from camfaith.metrics.base import Metric
from camfaith.metrics.fitting import Unfit
from camfaith.metrics.judgement import over_several
from camfaith.metrics.probing.pool import Pool, filled
from camfaith.metrics.probing.probes import Channels, Probe
from camfaith.models.contract import Bound, Calls
from camfaith.models.errors import kind_and_text, text_of
from camfaith.models.leaks import Watch


@dataclass(frozen=True, kw_only=True)
class Arm(Bound):
    """A method bound to a model, under the label that stands in the tables."""

    label: str
    name: str
    key: str
    parameters: Mapping[str, Any]
    leaks: tuple[str, ...] = ()
    """What its constructor changed in the network or the process, which was undone."""
    _costs: list[tuple[Tensor, Calls]] = field(default_factory=list, init=False, repr=False, compare=False)

    def cost(self, image: Tensor) -> Calls:
        """As the method says; none where that is no `Calls`, or fails: it is a plan's matter alone."""
        if self._costs and self._costs[0][0] is image:  # a plan asks often, of one image
            return self._costs[0][1]
        before = Watch(self.classifier.network)
        try:
            found: Any = super().cost(image)
        except Exception as error:
            found = kind_and_text(error)
        before.undone()
        if isinstance(found, Calls):
            self._costs[:] = [(image, found)]
            return found
        warnings.warn(f"{self.label}: cost(image) gives no Calls ({text_of(found)}); none are planned", stacklevel=1)
        return Calls()


@dataclass(frozen=True)
class Judge:
    """A metric under the label that stands in the tables.

    `over`: the keys of the methods that a metric over several of them (`judge_all`) judges together; else none.
    `preset`: the published protocol that it follows, if any.
    """

    label: str
    name: str
    own_key: str
    parameters: Mapping[str, Any]
    metric: Metric | Unfit
    over: tuple[str, ...] = ()
    preset: str = ""
    _asked: dict[tuple[str | None, int], list[Probe]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def key(self) -> str:
        """What its cells are known by: where it judges several methods together, they are of these alone."""
        return digest([self.own_key, self.over]) if self.over else self.own_key

    def with_pool(self, of_size: Callable[[int], Pool]) -> Judge:
        """The judge whose metric has its pictures of the data set, and is known by them too; itself where it needs
        none."""
        metric = filled(self.metric, of_size)
        if metric is self.metric:
            return self
        return replace(self, metric=metric, own_key=digest([self.own_key, repr(metric)]))

    @property
    def is_over_several(self) -> bool:
        return over_several(self.metric)

    def probes(self, layer: str | None, pixels: int) -> list[Probe]:
        """What its metric asks (`Metric.probes`). Raises what that raises, and `TypeError` where it asks for what is no
        probe."""
        if (layer, pixels) not in self._asked:
            found = list(self.metric.probes(layer, pixels))
            for probe in found:
                if not isinstance(probe, Channels) and not callable(getattr(probe, "rounds", None)):
                    raise TypeError(f"probes gives {type(probe).__name__}, which is no probe (ImageProbe, Channels)")
                count = 0 if isinstance(probe, Channels) else probe.count(pixels)
                if not isinstance(count, int):
                    raise TypeError(f"{type(probe).__name__}.count gives {type(count).__name__}, expected int")
                hash(probe), repr(probe)  # which answers and keys are found by
            self._asked[layer, pixels] = found
        return self._asked[layer, pixels]

    def planned(self, layer: str | None, pixels: int) -> list[Probe]:
        """The same; nothing of a metric that cannot say it, whose rows tell why."""
        try:
            return self.probes(layer, pixels)
        except Exception:
            return []
