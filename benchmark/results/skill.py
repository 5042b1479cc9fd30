"""How far a method is on the way from the random control to the best map that is known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from camfaith.benchmark.results.cells import Block, common
from camfaith.benchmark.results.intervals import FEWEST, Floats, mean_interval, means
from camfaith.benchmark.results.paired import SIGN, differences


class Scale(NamedTuple):
    """Of one column: the method or control whose mean is best on the images that they have in common (`common`), the
    random control's mean there, and by how much the best is better."""

    best: str
    random: float
    distance: float


def scale_of(block: Block, metric: str, column: str, random: str | None) -> Scale | None:
    """None where there is no random control, or nothing better than it, or less than `FEWEST` common images."""
    rows = block.rows(metric, column)
    if random not in rows:
        return None
    of = {name: row for name, row in rows.items() if np.isfinite(block.values[row]).any()}
    values = block.values[list(of.values())]
    beside, images = common(values)
    if images.sum() < FEWEST or random not in of or not beside[list(of).index(random)]:
        return None
    own = block.values[rows[random]][images]
    sign = SIGN[str(block.cells["better"].iloc[rows[random]])]
    apart = np.where(beside, differences(values[:, images], own, sign).mean(1), -np.inf)
    best = int(apart.argmax())
    return Scale(list(of)[best], float(own.mean()), float(apart[best])) if apart[best] > 0 else None


def skills(block: Block, random: str | None) -> tuple[Floats, Floats, Floats]:
    """The skill of each cell of a main column, (m − random)/(best − random), with its 95 % interval; means over the
    images that the method, the random control and the best map (`Scale`) have in common. 0 is random's, 1 the best
    map's, which was chosen by these images. The interval is that of the ratio, linearised:
    s + (m − random − s·(best − random))/mean(best − random)."""
    found, low, high = (np.full(len(block.cells), np.nan) for _ in range(3))
    for metric, column, better in block.judged:
        known = scale_of(block, metric, column, random)
        if known is None or random is None:
            continue
        rows = block.rows(metric, column)
        own = np.array(list(rows.values()))
        values = block.values[own]
        apart = differences(values, block.values[rows[random]], SIGN[better])
        whole = differences(block.values[rows[known.best]], block.values[rows[random]], SIGN[better])
        all_three = np.isfinite(apart) & np.isfinite(whole)
        apart, whole = (np.where(all_three, way, np.nan) for way in (apart, whole))
        above = means(whole)[:, None]
        above[above <= 0] = np.nan
        ratio = means(apart)[:, None] / above
        found[own], low[own], high[own], *_ = mean_interval(ratio + (apart - ratio * whole) / above, block.units)
    return found, low, high
