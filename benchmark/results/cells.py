"""A run's values as arrays: for each model on each data set, methods' columns × samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camfaith.benchmark.results.intervals import Floats, by_unit

CELL = ["model", "dataset", "method", "metric", "column"]
USED = ("ok", "constant")


@dataclass(frozen=True)
class Block:
    """One model on one data set: a row of `values` (cells × samples, NaN is none) for each of its `cells`, which tell
    method, control, metric, column, better and main. `units` names the cluster of each sample; None: none has one."""

    model: str
    dataset: str
    cells: pd.DataFrame
    samples: pd.Index
    units: list[Any] | None
    values: Floats
    sequential: bool = False
    """Whether methods left a metric once a test had decided, so that no test for a fixed number of samples holds."""

    def rows(self, metric: str, column: str) -> dict[str, int]:
        """Where each method's values of a column lie."""
        return dict(self._places.get((metric, column), {}))

    @cached_property
    def _places(self) -> dict[tuple[str, str], dict[str, int]]:
        found: dict[tuple[str, str], dict[str, int]] = {}
        names = (self.cells[name] for name in ("metric", "column", "method"))
        for metric, column, method, row in zip(*names, self.cells.index, strict=True):
            found.setdefault((metric, column), {})[method] = row
        return found

    @cached_property
    def judged(self) -> list[tuple[str, str, str]]:
        """The main columns that say which way is better: metric, column and way."""
        main = self.cells[self.cells["main"].astype(bool) & self.cells["better"].notna()]
        return list(main[["metric", "column", "better"]].drop_duplicates().itertuples(index=False, name=None))


def blocks(scores: pd.DataFrame, info: Mapping[str, Any]) -> Iterator[Block]:
    """Every model × data set that has rows, in the run's order."""
    for (model, dataset), cells in cells_of(scores, info).groupby(["model", "dataset"], sort=False):
        cells = cells.reset_index(drop=True)
        used = scores[(scores["model"] == model) & (scores["dataset"] == dataset) & scores["status"].isin(USED)]
        used = used.drop_duplicates(["sample", "method", "metric", "column"], keep="last")
        known = used.drop_duplicates("sample")
        samples = pd.Index(known["sample"])
        units = units_of(samples, known["cluster"])
        names = ["method", "metric", "column"]
        row = pd.MultiIndex.from_frame(cells[names]).get_indexer(pd.MultiIndex.from_frame(used[names]))
        values = np.full((len(cells), len(samples)), np.nan)
        values[row, samples.get_indexer(pd.Index(used["sample"]))] = used["value"].to_numpy(float)
        values[~np.isfinite(values)] = np.nan
        yield Block(str(model), str(dataset), cells, samples, units, values, until_separated(info))


def cells_of(scores: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """Every cell with rows, and every method × judging column of each block with rows, in the run's order."""
    metrics = {m["label"]: m for m in info.get("metrics", ())}
    rows = scores[CELL].drop_duplicates()
    rows = rows[(rows.notna() & (rows != "")).all(axis=1)]
    places = scores[["model", "dataset"]].drop_duplicates()
    places = places[(places.notna() & (places != "")).all(axis=1)]
    asked = [(m, c) for m, known in metrics.items() for c in dict.fromkeys([known.get("main"), *known["better"]]) if c]
    grid = places.merge(pd.DataFrame({"method": list(controls(info))}, dtype=object), how="cross")
    grid = grid.merge(pd.DataFrame(asked, columns=["metric", "column"], dtype=object), how="cross")
    cells = pd.concat([grid, rows], ignore_index=True).drop_duplicates()
    cells["control"] = cells["method"].map(controls(info)).eq(True)
    of = [(metrics.get(m, {}), c) for m, c in zip(cells["metric"], cells["column"], strict=True)]
    cells["better"] = pd.Series([m.get("better", {}).get(c) for m, c in of], index=cells.index, dtype=object)
    cells["main"] = [m.get("main") == c for m, c in of]
    orders = {
        "model": [m["name"] for m in info.get("models", ())],
        "dataset": [d["name"] for d in info.get("datasets", ())],
        "method": list(controls(info)),
        "metric": list(metrics),
        "column": [c for _, c in asked],
    }
    found = {name: _places(cells[name], order) for name, order in orders.items()}
    cells["main_first"] = ~cells["main"]
    cells = cells.assign(**{f"{name}_place": place for name, place in found.items()})
    by = ["model_place", "dataset_place", "method_place", "metric_place", "main_first", "column_place"]
    return cells.sort_values(by, kind="stable")[[*CELL, "control", "better", "main"]]


def common(values: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows (methods × samples) can be set side by side, and on which samples: all that those rows have. Rows with
    less than half of the samples that the fullest one has are left out, so that one method which is seldom defined does
    not leave the others without samples."""
    finite = np.isfinite(values)
    held = finite.sum(1)
    rows: NDArray[np.bool_] = (held > 0) & (2 * held >= held.max(initial=0))
    return rows, np.asarray(finite[rows].all(0) & rows.any())


def in_common(values: Floats, units: Sequence[Any] | None) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Of methods × samples: which rows can be set side by side (`common`), and on the samples that they have in common
    the sum of each unit's values and their number (rows × units)."""
    beside, samples = common(values)
    kept = values[np.ix_(beside, samples)]
    own = None if units is None else [unit for unit, held in zip(units, samples, strict=True) if held]
    return beside, *by_unit(kept, np.isfinite(kept), own)


def units_of(samples: Iterable[Any], clusters: Iterable[Any]) -> list[Any] | None:
    """What each sample counts as, its cluster or itself; None where no sample has a cluster."""
    given = [None if pd.isna(cluster) or cluster == "" else str(cluster) for cluster in clusters]
    if all(cluster is None for cluster in given):
        return None
    return [("sample", s) if c is None else ("cluster", c) for s, c in zip(samples, given, strict=True)]


def until_separated(info: Mapping[str, Any]) -> bool:
    """Whether the run stopped where its sequential test had decided."""
    return bool(info.get("suite", {}).get("until") == "separated")


def controls(info: Mapping[str, Any]) -> dict[str, bool]:
    """The labels of a run's methods, and whether each is a control."""
    return {m["label"]: bool(m.get("control", False)) for m in info.get("methods", ())}


def random_control(info: Mapping[str, Any]) -> str | None:
    """The label of the first random control of the run."""
    return control_named("random", info)


def control_named(name: str, info: Mapping[str, Any]) -> str | None:
    """The label of the run's first control of this name."""
    found = [m["label"] for m in info.get("methods", ()) if m.get("control") and m.get("name") == name]
    return found[0] if found else None


def _places(names: pd.Series, order: Sequence[str]) -> pd.Series:
    """The position of each name: as in `order`, then as first seen."""
    known = {name: place for place, name in enumerate(dict.fromkeys([*order, *names.unique()]))}
    return names.map(known)
