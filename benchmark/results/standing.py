"""What is claimed of the methods on one model and data set: which are better than random, and than each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import Block
from camfaith.benchmark.results.families import LEVEL, holm
from camfaith.benchmark.results.intervals import Floats
from camfaith.benchmark.results.paired import Paired
from camfaith.benchmark.results.pairs import pairs_of
from camfaith.benchmark.results.sequential import arrivals, separations


class Standing(NamedTuple):
    """For each cell of a block: the adjusted `p` of its difference from the random control; whether it is shown to be
    `above_random` (None where that was not asked); its `rank`, 1 + the number of methods that are shown to be better
    (NaN where it was compared with none); and whether it is `best`: none is shown to be better, and some method is
    shown to be worse than another. Of main columns of methods that are no controls; else NaN, None and False."""

    p: Floats
    above_random: pd.Series
    rank: pd.Series
    best: pd.Series


def tested(block: Block, beside_random: Paired) -> Standing:
    """By the sign-flip test on common samples: `p` after Holm over all methods × metrics, the others after Holm over
    all pairs of methods × metrics."""
    entrant = _entrants(block)
    p = holm(np.where(entrant, beside_random.p, np.nan))
    above = pd.Series((p <= LEVEL) & (beside_random.mean > 0), index=block.cells.index, dtype=object)
    found = pairs_of(block)
    compared = found.loc[found["p"].notna(), ["first_cell", "second_cell"]].to_numpy()
    lost = [found.loc[found["ahead"] == a, f"{b}_cell"] for a, b in (("first", "second"), ("second", "first"))]
    return Standing(p, above.where(np.isfinite(p), None), *_placed(block, compared, pd.concat(lost)))


def told_apart(block: Block, scores: pd.DataFrame, info: Mapping[str, Any], random: str | None) -> Standing:
    """By the sequential test, for a run that stops where this one has decided, so that a test for a number of samples
    that was fixed before would be wrong: a lead is one on more samples. `scores` are the block's; `p` is NaN."""
    suite, judged = info["suite"], block.judged
    main, better = {m: column for m, column, _ in judged}, {m: way for m, _, way in judged}
    found = separations(arrivals(scores, main), better, suite["level"], suite["margin"])
    cells = {(m, metric): row for metric, column in main.items() for m, row in block.rows(metric, column).items()}
    for side in ("first", "second"):
        found[f"{side}_cell"] = [cells[m, metric] for m, metric in zip(found[side], found["metric"], strict=True)]
    entrant = _entrants(block)
    both = entrant.to_numpy()[found[["first_cell", "second_cell"]].to_numpy(int)].all(1) & (found["images"] > 0)
    above = pd.Series([None] * len(block.cells), dtype=object)
    lost = []
    for side, other in (("first", "second"), ("second", "first")):
        ahead = found["ahead"] == side
        lost.append(found.loc[both & ahead, f"{other}_cell"])
        asked = (found[other] == random) & entrant.to_numpy()[found[f"{side}_cell"].to_numpy(int)]
        above[found.loc[asked, f"{side}_cell"]] = ahead[asked].to_list()
    compared = found.loc[both, ["first_cell", "second_cell"]].to_numpy()
    return Standing(np.full(len(above), np.nan), above, *_placed(block, compared, pd.concat(lost)))


def _entrants(block: Block) -> pd.Series:
    return block.cells["main"].astype(bool) & block.cells["better"].notna() & ~block.cells["control"]


def _placed(block: Block, compared: Any, lost: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Ranks and the best, from the cells that were `compared`, and those that `lost`, once for each time."""
    rank = pd.Series(np.nan, index=block.cells.index)
    rank[np.unique(compared.ravel()).astype(int)] = 1.0
    rank = rank.add(lost.astype(int).value_counts(), fill_value=0)
    last = rank.groupby([block.cells["metric"], block.cells["column"]]).transform("max")
    return rank, (rank == 1) & (last > 1)
