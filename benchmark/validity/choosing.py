"""Which metrics to report: by the table of what measures faithfulness, and by what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from camfaith.benchmark.validity.asking import WAYS
from camfaith.benchmark.validity.degrading import DEGRADATIONS
from camfaith.benchmark.validity.networks import NETWORKS
from camfaith.benchmark.validity.table import EVERY, YARDSTICK, shipped

REPORTED = 3
METHODS = 8
"""Costs are compared for so many methods."""


@dataclass(frozen=True)
class Standing:
    """A metric's way of asking, its forwards once an image and once a map, its τ with the interval, those of each
    degradation and network, and what it fails at: nothing for a metric that measures faithfulness."""

    name: str
    way: str
    an_image: int
    a_map: int
    tau: float
    low: float
    high: float
    taus: dict[str, float]
    failings: tuple[str, ...]

    @property
    def cost(self) -> int:
        return self.an_image + METHODS * self.a_map

    @property
    def shown(self) -> str:
        return f"τ = {self.tau:.2f} [{self.low:.2f}, {self.high:.2f}]"

    @property
    def why(self) -> str:
        """Why it may be reported: what it costs, how well it orders, and how it asks."""
        return f"{self.an_image} forwards an image and {self.a_map} a map; {self.shown}; {WAYS[self.way]}"


@lru_cache(maxsize=1)
def standings() -> dict[str, Standing]:
    """Those of the shipped table."""
    return standings_of(shipped())


def standings_of(table: pd.DataFrame) -> dict[str, Standing]:
    """Those of all metrics that could be asked, by name."""
    asked = table[table["network"].notna() & (table["metric"] != YARDSTICK)]
    return {name: _standing(str(name), of.set_index("network")) for name, of in asked.groupby("metric", sort=False)}


def unasked() -> dict[str, str]:
    """Why the others could not be asked."""
    table = shipped().dropna(subset="unasked")
    return dict(zip(table["metric"], table["unasked"], strict=True))


def reported(among: dict[str, Standing] | None = None) -> list[Standing]:
    """The three to report, the best first. Only metrics that measure faithfulness come into question. Of each way of
    asking it is the cheapest whose interval meets that of the one with the greatest τ; and the ways go by τ."""
    every = standings() if among is None else among
    good = sorted((each for each in every.values() if not each.failings), key=lambda each: (-each.tau, each.cost))
    ways = [own for way in WAYS if (own := [each for each in good if each.way == way])]
    chosen = [min((each for each in own if each.high >= own[0].low), key=lambda each: each.cost) for own in ways]
    return sorted(chosen, key=lambda each: -each.tau)[:REPORTED]


def which_to_report() -> list[str]:
    """The answer in lines: the three, and which metrics measure faithfulness, and which fail at a part of it."""
    every = standings().values()
    failing = [f"{each.name} ({'; '.join(each.failings)})" for each in every if each.failings]
    return [
        "report three that measure faithfulness, one of each way of asking (docs/metrics.md has the rule):",
        *(f"  {each.name}: {each.why}" for each in reported()),
        f"all that measure it: {', '.join(each.name for each in every if not each.failings)}",
        f"fail at a part of it, or at all: {', '.join(failing)}",
    ]


def _standing(name: str, rows: pd.DataFrame) -> Standing:
    every = rows.loc[EVERY]
    return Standing(
        name,
        str(every["way"]),
        int(every["an_image"]),
        int(every["a_map"]),
        *(float(every[column]) for column in ("tau", "tau_low", "tau_high")),
        {
            **{each: float(every[each]) for each in DEGRADATIONS},
            **{each: float(rows["tau"][each]) for each in NETWORKS},
        },
        _failings(rows),
    )


def _failings(rows: pd.DataFrame) -> tuple[str, ...]:
    """Degradations over all networks, and networks over all degradations, of which the interval of τ does not show that
    they are ordered more often right than wrong."""
    ends = {each: (rows[f"{each}_low"][EVERY], rows[f"{each}_high"][EVERY]) for each in DEGRADATIONS}
    before = {each: (rows["tau_low"][each], rows["tau_high"][each]) for each in NETWORKS}
    found = {
        "prefers": [each for each, (_, high) in ends.items() if high < 0],
        "cannot tell": [each for each, (low, high) in ends.items() if low <= 0 <= high],
        "wrong before": [each for each, (_, high) in before.items() if high < 0],
        "blind before": [each for each, (low, high) in before.items() if low <= 0 <= high],
        "undefined before": [each for each, (low, _) in before.items() if low != low],
    }
    return tuple(f"{what} {', '.join(which)}" for what, which in found.items() if which)
