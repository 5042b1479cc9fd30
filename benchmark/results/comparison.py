"""Two sides compared: for every metric whether the candidate is worse than the base by more than a declared margin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import units_of
from camfaith.benchmark.results.comparable import Mismatch, advice, both_of, matched, mismatches, notes
from camfaith.benchmark.results.intervals import means
from camfaith.benchmark.results.margins import DEFAULT, KEPT, Margins
from camfaith.benchmark.results.paired import SIGN, differences, paired
from camfaith.benchmark.results.pairing import Source, pairs_of
from camfaith.benchmark.results.sides import BLOCK, Side, wide_of, within
from camfaith.benchmark.results.signflip import sign_flip
from camfaith.benchmark.results.verdicts import EXIT_CODES, decide, whole

ROWS = [
    *("method", *BLOCK, "metric", "column", "better", "n", "units", "base", "candidate", "difference", "low", "high"),
    *("margin", "detectable", "p_within", "p_better", "p_worse", "verdict", "why", "needed", "lost", "gained", "equal"),
]
CALLS = ["method", *BLOCK, "calls", "base", "candidate", "times", "verdict"]
Column = tuple[str, str, str]
"""A metric, its column, and which way is better."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a candidate is against a base.

    `rows`: a row for each method, model, data set and metric's column, as `ROWS`; a `difference` is positive where the
    candidate is better, `low` and `high` are the limits of its 95 % interval, `detectable` is the smallest loss that so
    many samples would have shown with a chance of 0.8, p are corrected for all rows (Holm).
    `calls`: the images that go through the network for one map, and back, as `CALLS`. `differing`: what differs and
    must not, and what to do. `notes`: what else differs, or is missing.
    """

    base: str
    candidate: str
    pairs: Sequence[tuple[str, str]]
    margins: str
    level: float
    rows: pd.DataFrame
    calls: pd.DataFrame
    differing: Sequence[str]
    notes: Sequence[str]

    @property
    def verdict(self) -> str:
        """The whole: regressed where anything is; else not comparable, inconclusive, improved, or passed."""
        judged = list(self.rows["verdict"])
        return whole([*judged, *self.calls["verdict"]] if judged else [])

    @property
    def exit_code(self) -> int:
        """0 passed or improved, 1 regressed, 2 inconclusive, 3 not comparable."""
        return EXIT_CODES[self.verdict]

    def to_json(self) -> str:
        """All of it as JSON; a number that is none is null."""
        tables = {
            name: json.loads(getattr(self, name).to_json(orient="records", double_precision=15))
            for name in ("rows", "calls")
        }
        about = {"verdict": self.verdict, "exit_code": self.exit_code, "base": self.base, "candidate": self.candidate}
        about |= {"pairs": [list(pair) for pair in self.pairs], "margins": self.margins, "level": self.level}
        told = {"differing": list(self.differing), "notes": list(self.notes)}
        return json.dumps({**about, **tables, **told}, indent=2, ensure_ascii=False)


def compare(
    base: Source,
    candidate: Source | None = None,
    margins: Margins | str | float = DEFAULT,
    *,
    methods: Sequence[str] = (),
    metrics: Sequence[str] | None = None,
    level: float = 0.05,
) -> Comparison:
    """Compare runs (folders or results), baselines (files), or sides, method by method as `pairs_of` says.

    `metrics`: "deletion" (its main column) or "deletion:auc_relative"; left out: the main columns of all that have a
    direction. For each the paired differences δ of common samples are tested against the margin: *passed* where
    δ ≤ −margin is refuted, *improved* where δ ≤ 0 is too, *regressed* where δ ≥ 0 is refuted and it has not passed,
    else *inconclusive*; all at `level`, by the sign-flip test, each of the three corrected over all rows (Holm).

    `ValueError` for methods, metrics and margins that are not there or make no sense, before anything is computed.
    """
    margins = margins if isinstance(margins, Margins) else Margins.of(margins)
    if not 0 < level < 0.5:
        raise ValueError(f"the level must lie between 0 and 0.5, got {level:g}")
    pairs = pairs_of(base, candidate, methods)
    columns = _columns(*pairs[0], metrics, margins)
    rows: list[dict[str, Any]] = []
    calls: list[tuple[Any, ...]] = []
    differing: list[str] = []
    said = [] if metrics else _undirected(*pairs[0])
    for one, other in pairs:
        found = mismatches(one, other)
        title = one.label if one.label == other.label else f"{one.label} → {other.label}"
        for block in [block for block in one.blocks if block in other.blocks]:
            both = both_of(one, other, block)
            rows += [{"method": title, **row} for row in _rows(one, other, block, both, columns, margins, found)]
            if not any(each.hits(*block) and not each.metric for each in found):
                calls += [(title, *block, *row) for row in _calls(both, margins.calls)]
        differing += [each.text for each in found] + ([advice(one, other)] if found else [])
        said += notes(one, other)
    decide(rows, level)
    said += _told(rows)
    return Comparison(
        base=pairs[0][0].source,
        candidate=pairs[0][1].source,
        pairs=[(one.label, other.label) for one, other in pairs],
        margins=str(margins),
        level=level,
        rows=pd.DataFrame(rows, columns=ROWS).astype({"needed": "Int64"}),
        calls=pd.DataFrame(calls, columns=CALLS),
        differing=list(dict.fromkeys(differing)),
        notes=list(dict.fromkeys(said)),
    )


def _columns(base: Side, candidate: Side, asked: Sequence[str] | None, margins: Margins) -> list[Column]:
    """The columns that are compared; `ValueError` for names of none."""
    for name in [*margins.own, *(asked or ())]:
        _column(base, name)
    known = matched(base, candidate)
    if asked is None:
        found = [(label, metric["main"]) for label, metric in base.metrics.items() if label in known]
        return [(m, c, base.metrics[m]["better"][c]) for m, c in found if c in base.metrics[m]["better"]]
    found = list(dict.fromkeys(_column(base, name) for name in asked))
    for metric, column in found:
        if metric not in known:
            raise ValueError(f"{candidate.source} has no metric {metric!r}; it has {', '.join(candidate.metrics)}")
        if column not in base.metrics[metric]["better"]:
            has = ", ".join(base.metrics[metric]["better"]) or "none"
            raise ValueError(
                f"{metric}:{column} has no direction: neither more nor less of it is better; with one: {has}"
            )
    return [(metric, column, base.metrics[metric]["better"][column]) for metric, column in found]


def _undirected(base: Side, candidate: Side) -> list[str]:
    """A line where metrics of both sides are not compared because their main column only describes."""
    known = matched(base, candidate)
    names = [
        f"{label} {metric['main']}"
        for label, metric in base.metrics.items()
        if label in known and metric["main"] not in metric["better"]
    ]
    return [f"not compared, since no value of it is better: {', '.join(names)}"] if names else []


def _column(base: Side, name: str) -> tuple[str, str]:
    """The metric and column that a name says; a label may hold ":" itself."""
    if name in base.metrics:
        return name, str(base.metrics[name]["main"])
    metric, _, column = name.rpartition(":")
    if metric not in base.metrics:
        raise ValueError(f"{base.source} has no metric {name!r}; it has {', '.join(base.metrics)}")
    known = set(base.values.loc[base.values["metric"] == metric, "column"]) | set(base.metrics[metric]["better"])
    if column not in known:
        raise ValueError(f"metric {metric!r} has no column {column!r}; it has {', '.join(sorted(known))}")
    return metric, column


def _rows(
    base: Side,
    candidate: Side,
    block: tuple[str, str],
    both: pd.DataFrame,
    columns: Sequence[Column],
    margins: Margins,
    found: Sequence[Mismatch],
) -> Iterator[dict[str, Any]]:
    """Every column of one block, tested but not decided."""
    if not columns:
        return
    other = matched(base, candidate)
    both = both if len(both) else both.reindex([0])  # no sample in common is one without any value
    samples, units = pd.Index(both["sample"]), units_of(both["sample"], both["cluster_x"])
    ours, theirs = [(m, c) for m, c, _ in columns], [(other[m], c) for m, c, _ in columns]
    mains = [(other[m], str(base.metrics[m]["main"])) for m, _, _ in columns]
    a, b = (wide_of(side, block, samples, names, "value") for side, names in ((base, ours), (candidate, theirs)))
    failed = pd.notna(wide_of(candidate, block, samples, theirs, "status"))
    failed |= np.isin(wide_of(candidate, block, samples, mains, "status").astype(str), ["undefined", "error"])
    had, has = np.isfinite(a), np.isfinite(b)
    a, b = np.where(had & has, a, np.nan), np.where(had & has, b, np.nan)
    delta = differences(b, a, np.array([[SIGN[better]] for *_, better in columns]))
    sizes = [_margin(base, block, column, margins) for column in columns]
    margin = np.array([size for size, _ in sizes])
    bases, candidates = means(a), means(b)
    shown, refuted = paired(delta, units), sign_flip(delta + margin[:, None], units).greater
    for at, (metric, column, better) in enumerate(columns):
        lost = had[at] & ~has[at] & failed[at]
        used = had[at] & has[at]
        differs = "; ".join(each.text for each in found if each.hits(*block, metric))
        yield {
            "model": block[0],
            "dataset": block[1],
            "metric": metric,
            "column": column,
            "better": better,
            "n": int(shown.n[at]),
            "units": int(shown.units[at]),
            "base": float(bases[at]),
            "candidate": float(candidates[at]),
            "difference": float(shown.mean[at]),
            "low": float(shown.low[at]),
            "high": float(shown.high[at]),
            "deviation": float(shown.deviation[at]),
            "margin": sizes[at][0],
            "of_margin": sizes[at][1],
            "p_within": np.nan if differs else float(refuted[at]),
            "p_better": np.nan if differs else float(shown.greater[at]),
            "p_worse": np.nan if differs else float(shown.less[at]),
            "differs": differs,
            "lost": int(lost.sum()),
            "reason": _reason(candidate, block, other[metric], samples[lost]) if lost.any() else "",
            "gained": int((~had[at] & has[at]).sum()),
            "equal": _equal(a[at][used], b[at][used], delta[at][used]),
        }


def _margin(base: Side, block: tuple[str, str], column: Column, margins: Margins) -> tuple[float, str]:
    """The margin of a column, and what must be said of it: why it is NaN, or that it lets pass what it should not.

    A share of the distance from random to the best known map is at most half of the base's own lead over random: what
    has lost more of that shall not pass.
    """
    asked, at = margins.for_column(*column[:2]), within(base.reach, block)
    at = at[(at["metric"] == column[0]) & (at["column"] == column[1])]
    if at.empty and not asked.share:
        return asked.size, ""
    lead = np.nan if at.empty else float(at["lead"].iloc[0])
    distance = np.nan if at.empty else float(at["distance"].iloc[0])
    if asked.share and at.empty:
        why = "the base's run knows no map that is better than a random control, so there is nothing to take a share of"
        return np.nan, f"{why}: judge random in it, or give an absolute margin (--margin {column[0]}=0.02)"
    if lead <= 0:
        said = f"the base itself is not ahead of the random control ({lead:.3g}): to be no worse than it says little"
        return (asked.size * distance if asked.share else asked.size), said
    if asked.share:
        return float(np.nanmin([asked.size * distance, KEPT * lead])), ""
    wide = asked.size > KEPT * lead
    said = f"the margin {asked} is more than half of the base's lead over the random control ({lead:.3g})"
    return asked.size, f"{said}: what has lost as much would pass" if wide else ""


def _equal(base: Any, candidate: Any, delta: Any) -> str:
    if not len(base) or np.any(delta != 0):
        return ""
    return "bit" if np.array_equal(base, candidate) else "rounding"


def _reason(side: Side, block: tuple[str, str], metric: str, samples: pd.Index) -> str:
    """Why the first value is missing."""
    rows = within(side.values, block)
    rows = rows[(rows["metric"] == metric) & rows["sample"].isin(samples) & rows["status"].isin(["undefined", "error"])]
    return f" ({rows['status'].iloc[0]}: {rows['error'].iloc[0] or 'no reason kept'})" if len(rows) else ""


def _calls(both: pd.DataFrame, times: float) -> Iterator[tuple[Any, ...]]:
    """The images forward and back for one map, over common samples. They are exact: any rise beyond `times` counts."""
    for kind in ("forwards", "backwards"):
        known = both[[f"{kind}_x", f"{kind}_y"]].dropna()
        ours, theirs = (float(known[name].mean()) if len(known) else np.nan for name in known)
        rise = theirs / ours if ours else (1.0 if theirs == ours else np.inf)
        judged = "not known" if np.isnan(theirs) else "regressed" if rise > times * (1 + 1e-9) else "passed"
        yield kind, ours, theirs, rise, judged


def _told(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Values that one side alone has, and margins that are wide for what there is."""
    for row in rows:
        of = f"{row['method']}, {row['model']} on {row['dataset']}, {row['metric']} {row['column']}"
        if row["lost"]:
            yield f"{of}: {row['lost']} values of the base are missing in the candidate{row['reason']}."
        if row["of_margin"] and row["margin"] == row["margin"] and not row["equal"]:
            yield f"{of}: {row['of_margin']}."
        if row["gained"]:
            yield f"{of}: {row['gained']} values of the candidate are missing in the base."
