"""Two sides compared to the bit, or to a tolerance: what a refactoring must leave as it was."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from camfaith.benchmark.results.comparable import advice, matched, mismatches, notes
from camfaith.benchmark.results.pairing import Source, pairs_of
from camfaith.benchmark.results.sides import BLOCK, Side
from camfaith.benchmark.results.tables import map_of


@dataclass(frozen=True)
class First:
    """The first thing that differs: a score, or the cell (row, column) of a map that differs most."""

    method: str
    model: str
    dataset: str
    sample: str
    what: str
    base: float | str
    candidate: float | str

    @property
    def told(self) -> dict[str, float | str]:
        """As JSON takes it, which knows no NaN and no infinity."""
        return {k: v if isinstance(v, str) or np.isfinite(v) else str(v) for k, v in asdict(self).items()}

    @property
    def line(self) -> str:
        where = f"{self.method}, {self.model} on {self.dataset}, sample {self.sample}, {self.what}"
        return f"{where}: {_told(self.base)} in the base, {_told(self.candidate)} in the candidate"


@dataclass(frozen=True, eq=False)
class Maps:
    """The first maps that differ, with the picture that they are of; what is needed to draw them."""

    first: First
    base: NDArray[np.floating] | None
    candidate: NDArray[np.floating] | None
    picture: bytes | None


@dataclass(frozen=True, eq=False)
class Exactness:
    """How many scores and maps were compared, how many of them differ, and the first of each that does."""

    base: str
    candidate: str
    pairs: Sequence[tuple[str, str]]
    tolerance: float
    scores: int
    differing_scores: int
    first_score: First | None
    maps: int
    differing_maps: int
    first_map: Maps | None
    differing: Sequence[str]
    notes: Sequence[str]

    @property
    def verdict(self) -> str:
        if self.differing or not self.scores + self.maps:
            return "not comparable"
        return "different" if self.differing_scores or self.differing_maps else "equal"

    @property
    def exit_code(self) -> int:
        """0 equal, 1 different, 3 not comparable."""
        return {"equal": 0, "different": 1, "not comparable": 3}[self.verdict]

    def to_json(self) -> str:
        found = {name: value for name, value in vars(self).items() if not name.startswith("first")}
        score, shown = self.first_score, self.first_map
        found["first"] = {"score": score.told if score else None, "map": shown.first.told if shown else None}
        return json.dumps({"verdict": self.verdict, "exit_code": self.exit_code, **found}, indent=2, ensure_ascii=False)


def exact(
    base: Source, candidate: Source | None = None, *, methods: Sequence[str] = (), tolerance: float = 0.0
) -> Exactness:
    """Compare every column of every metric, and the raw maps where both sides are runs: equal to the bit, or
    |a − b| ≤ `tolerance`. What is missing in one is different. Metrics and methods may have other sources than before:
    a refactoring is what this is for.
    """
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"the tolerance must be 0 or more, got {tolerance:g}")
    scores = maps = differing_scores = differing_maps = 0
    first_score, first_map = None, None
    differing: list[str] = []
    said: list[str] = []
    pairs = pairs_of(base, candidate, methods)
    for one, other in pairs:
        found = mismatches(one, other, metrics=False)
        differing += [each.text for each in found] + ([advice(one, other)] if found else [])
        said += notes(one, other)
        if found:
            continue
        both = _scores(one, other)
        a, b = both["value_x"].to_numpy(float), both["value_y"].to_numpy(float)
        unlike = (both["status_x"].fillna("") != both["status_y"].fillna("")).to_numpy(bool)
        apart = both[_differ(a, b, tolerance) | (np.isnan(a) & np.isnan(b) & unlike)]  # values, or why there is none
        scores, differing_scores = scores + len(both), differing_scores + len(apart)
        if len(apart) and first_score is None:
            first_score = _first_score(_title(one, other), apart.iloc[0])
        for change in _maps(one, other, tolerance):
            maps, differing_maps = maps + 1, differing_maps + (change is not None)
            if change is not None and first_map is None:
                first_map = Maps(*change, _picture(one, change[0]))
    return Exactness(
        base=pairs[0][0].source,
        candidate=pairs[0][1].source,
        pairs=[(one.label, other.label) for one, other in pairs],
        tolerance=tolerance,
        scores=scores,
        differing_scores=differing_scores,
        first_score=first_score,
        maps=maps,
        differing_maps=differing_maps,
        first_map=first_map,
        differing=list(dict.fromkeys(differing)),
        notes=list(dict.fromkeys(said)),
    )


def _title(base: Side, candidate: Side) -> str:
    return base.label if base.label == candidate.label else f"{base.label} → {candidate.label}"


def _scores(base: Side, candidate: Side) -> pd.DataFrame:
    """The scores of both sides (`_x`, `_y`) of all samples and columns that both know."""
    names = {other: label for label, other in matched(base, candidate).items()}
    ours, theirs = base.values, candidate.values[candidate.values["metric"].isin(list(names))]
    theirs = theirs.assign(metric=theirs["metric"].map(names))
    columns = [set(map(tuple, side[["metric", "column"]].drop_duplicates().to_numpy())) for side in (ours, theirs)]
    samples = [set(map(tuple, side.samples[[*BLOCK, "sample"]].to_numpy())) for side in (base, candidate)]
    kept = []
    for side in (ours, theirs):
        known = pd.MultiIndex.from_frame(side[["metric", "column"]]).isin(columns[0] & columns[1])
        known &= pd.MultiIndex.from_frame(side[[*BLOCK, "sample"]]).isin(samples[0] & samples[1])
        kept.append(side[known])
    return kept[0].merge(kept[1], "outer", [*BLOCK, "sample", "metric", "column"], sort=False)


def _differ(a: NDArray[np.floating], b: NDArray[np.floating], tolerance: float) -> NDArray[np.bool_]:
    """Where values differ by more than the tolerance; NaN equals NaN, and each infinity itself."""
    with np.errstate(invalid="ignore"):
        near: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= tolerance)
    return ~near


def _first_score(method: str, row: Any) -> First:
    value = {
        side: row[f"value_{side}"] if row[f"value_{side}"] == row[f"value_{side}"] else row[f"status_{side}"]
        for side in "xy"
    }
    told = [float(v) if isinstance(v, float) and v == v else "no row" if pd.isna(v) else str(v) for v in value.values()]
    return First(method, row["model"], row["dataset"], row["sample"], f"{row['metric']} {row['column']}", *told)


Change = tuple[First, NDArray[np.floating] | None, NDArray[np.floating] | None]
"""What differs, and the two maps; None for one that is not there."""


def _maps(base: Side, candidate: Side, tolerance: float) -> Iterator[Change | None]:
    """For each map that either side has of a common sample: None where both are alike, else how they differ."""
    if base.result is None or candidate.result is None:
        return
    of = [side.result.read("maps", method=side.label) for side in (base, candidate) if side.result]
    tables = [{_place(row): map_of(row) for row in table.to_dict("records")} for table in of]
    samples = set.intersection(*({_place(row) for row in s.samples.to_dict("records")} for s in (base, candidate)))
    for place in [place for place in dict.fromkeys([*tables[0], *tables[1]]) if place in samples]:
        a, b = (table.get(place) for table in tables)
        names = (_title(base, candidate), *place)
        if a is None or b is None or a.shape != b.shape:
            sizes = ("no map" if x is None else f"{'×'.join(map(str, x.shape))} cells" for x in (a, b))
            yield First(*names, "map", *sizes), a, b
        elif (apart := _differ(a, b, tolerance)).any():
            size = np.nan_to_num(np.abs(a.astype(float) - b.astype(float)), nan=np.inf)
            down, right = np.unravel_index(np.argmax(np.where(apart, size, -1)), a.shape)
            what = f"map: {int(apart.sum())} of {a.size} cells differ, most the one in row {down}, column {right}"
            yield First(*names, what, float(a[down, right]), float(b[down, right])), a, b
        else:
            yield None


def _place(row: Mapping[Hashable, Any]) -> tuple[str, str, str]:
    return str(row["model"]), str(row["dataset"]), str(row["sample"])


def _picture(side: Side, first: First) -> bytes | None:
    """The image that the maps are of, where the run keeps it."""
    if side.result is None:
        return None
    rows = side.result.read("pictures", model=first.model, dataset=first.dataset, sample=first.sample)
    return next((image for image in rows["image"] if isinstance(image, bytes)), None)


def _told(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value!r}"
