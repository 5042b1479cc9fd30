"""Which metrics to report: by the table of what measures faithfulness, and by what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from camfaith.benchmark.validity.asking import WAYS
from camfaith.benchmark.validity.degrading import DEGRADATIONS
from camfaith.benchmark.validity.networks import NETWORKS
from camfaith.benchmark.validity.table import EVERY, YARDSTICK, shipped
from camfaith.metrics import SHIPPED

REPORTED = 3
METHODS = 8
"""Costs are compared for so many methods."""
Rows = dict[str, dict[Any, Any]]
"""A metric's rows of the table, by network."""


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
        """Why it may be reported: how well it orders, what it costs, and how it asks."""
        return f"{self.shown}, forwards {self.an_image} an image + {self.a_map} a map: {WAYS[self.way]}"


@lru_cache(maxsize=1)
def standings() -> dict[str, Standing]:
    """Those of the shipped table."""
    return standings_of(shipped())


def standings_of(table: pd.DataFrame) -> dict[str, Standing]:
    """Those of all metrics that could be asked, by name."""
    rows: dict[str, Rows] = {}
    for row in table[table["network"].notna() & (table["metric"] != YARDSTICK)].to_dict("records"):
        rows.setdefault(row["metric"], {})[row["network"]] = row
    return {name: _standing(name, own) for name, own in rows.items()}


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
    """The answer in lines: the three, all that measure faithfulness, those that fail at a part of it, and those that
    describe."""
    every = standings().values()
    describing = [name for name in SHIPPED if name not in {*standings(), *unasked()}]
    return [
        "report three, of different ways of asking (docs/metrics.md has the rule, and what fails at what):",
        *(f"  {each.name}: {each.why}" for each in reported()),
        f"measure faithfulness: {', '.join(each.name for each in every if not each.failings)}",
        f"fail at a part of it, or at all: {', '.join(each.name for each in every if each.failings)}",
        f"describe, no value is better: {', '.join(describing)}",
    ]


def _standing(name: str, rows: Rows) -> Standing:
    every = rows[EVERY]
    return Standing(
        name,
        every["way"],
        int(every["an_image"]),
        int(every["a_map"]),
        every["tau"],
        every["tau_low"],
        every["tau_high"],
        {each: every[each] for each in DEGRADATIONS} | {each: rows[each]["tau"] for each in NETWORKS},
        _failings(rows),
    )


def _failings(rows: Rows) -> tuple[str, ...]:
    """Degradations over all networks, and networks over all degradations, of which the interval of τ does not show that
    they are ordered more often right than wrong."""
    ends = {each: (rows[EVERY][f"{each}_low"], rows[EVERY][f"{each}_high"]) for each in DEGRADATIONS}
    before = {each: (rows[each]["tau_low"], rows[each]["tau_high"]) for each in NETWORKS}
    found = {
        "prefers": [each for each, (_, high) in ends.items() if high < 0],
        "cannot tell": [each for each, (low, high) in ends.items() if low <= 0 <= high],
        "wrong before": [each for each, (_, high) in before.items() if high < 0],
        "blind before": [each for each, (low, high) in before.items() if low <= 0 <= high],
        "undefined before": [each for each, (low, _) in before.items() if low != low],
    }
    return tuple(f"{what} {', '.join(which)}" for what, which in found.items() if which)
