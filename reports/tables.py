"""The tables of a run: what a reader needs, and CSV with every number."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from camfaith.benchmark.results.files import own_folder, whole, write_whole
from camfaith.benchmark.results.statistics import few_samples, shown_better
from camfaith.reports.markup import DOUBT, Row, Table, Value, latex, markdown
from camfaith.reports.view import Block, Judged, View, file_stem, number, numbers

KINDS = {
    "constant": "Constant or zero maps (their values count; ties are drawn by lot)",
    "undefined": "Undefined, left out of the mean",
    "errors": "Errors, left out of the mean",
}
LEGEND = (
    "Mean over images [95 % BCa bootstrap interval]; ↑ higher is better, ↓ lower is better; bold: the best method; in "
    "italics: controls, which are not ranked"
)
DOUBTFUL = f"{DOUBT}: the 95 % interval of the paired difference does not show it better than the random control"


def write(view: View, folder: Path) -> list[Table]:
    """Write all tables; returns one per block, and last the one over all blocks."""
    own_folder(folder)
    frames = {"summary": view.summary, "ranks": view.ranks, "conservation_scale": view.scale}
    if view.suite.get("until") == "separated":
        frames["separations"] = view.result.separations()
    for name, frame in frames.items():
        with whole(folder / f"{name}.csv") as draft:
            without_formulas(frame).to_csv(draft, index=False)
    tables = [block_table(view, block) for block in view.blocks]
    if view.blocks:
        tables.append(overall_table(view))
    for table in tables:
        write_whole(folder / f"{table.stem}.md", markdown(table))
        write_whole(folder / f"{table.stem}.tex", latex(table))
    return tables


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """The same, but a text that a spreadsheet would take for a formula begins with an apostrophe; numbers stay."""

    def safe(cell: Any) -> Any:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell

    texts = [str(name) for name in frame if not is_numeric_dtype(frame[name])]
    return frame.assign(**{name: frame[name].map(safe) for name in texts})


def block_table(view: View, block: Block) -> Table:
    """The main columns of one model on one data set."""
    summary = view.summary_of(block)
    sizes = {c: _size(_known(view, summary, c, "mean")) for c in view.judged}
    rows = []
    for method in view.methods:
        found = [summary.get((method, c.metric, c.column)) for c in view.judged]
        used = [row["n"] for row in found if row]
        if not used:
            continue
        count = f"{min(used)}–{max(used)}" if min(used) < max(used) else str(used[0])
        shown = [_value(row, sizes[c]) for row, c in zip(found, view.judged, strict=True)]
        rows.append(Row(method, method in view.controls, [Value(count), *shown]))
    doubtful = any(value.doubtful for row in rows for value in row.values)
    few = few_samples(view.of(block, view.summary))
    notes = [f"{LEGEND}; {DOUBTFUL}." if doubtful else f"{LEGEND}.", *([few] if few else []), *_counts(view, summary)]
    return Table(block.stem, block.title, ["n", *(c.head for c in view.judged)], rows, notes)


def _known(view: View, summary: Mapping[Any, Mapping[str, Any]], column: Judged, what: str) -> list[float]:
    found = (summary.get((method, column.metric, column.column)) for method in view.methods)
    return [row[what] for row in found if row and math.isfinite(row[what])]


def _size(means: Sequence[float]) -> float:
    """The size of a column's numbers; it sets their decimals."""
    return median(abs(mean) for mean in means) if means else math.nan


def _value(row: Mapping[str, Any] | None, size: float) -> Value:
    if row is None or not row["n"]:
        return Value("–")
    mean, low, high = numbers(row["mean"], row["low"], row["high"], like=size)
    doubtful = math.isfinite(row["p"]) and not shown_better(row)
    interval = f"[{low}, {high}]" if math.isfinite(row["low"]) else ""
    return Value(mean, interval, bool(row["best"]), doubtful)


def _counts(view: View, summary: Mapping[Any, Mapping[str, Any]]) -> list[str]:
    """A line for each kind of sample without a plain value (`KINDS`); methods with equal counts stand together."""
    lines = []
    for kind, said in KINDS.items():
        groups: dict[tuple[int, tuple[str, ...]], list[str]] = {}
        for method in view.methods:
            found = [(summary.get((method, c.metric, c.column), {}).get(kind, 0), c.title) for c in view.judged]
            for count in sorted({count for count, _ in found if count}):
                groups.setdefault((count, tuple(title for n, title in found if n == count)), []).append(method)
        told = []
        for (count, where), methods in groups.items():
            left = [m for m in view.methods if m not in methods]
            who = ", ".join(methods)
            if len(methods) > max(1, 2 * len(left)):
                who = f"all methods{' but ' if left else ''}{', '.join(left)}"
            told.append(f"{who}: {count} in {'every column' if len(where) == len(view.judged) else ', '.join(where)}")
        if told:
            lines.append(f"{said}: {'; '.join(told)}.")
    return lines


def overall_table(view: View) -> Table:
    """Mean ranks over all blocks."""
    known = {(r["method"], r["metric"], r["column"]): r for r in view.ranks.to_dict("records")}
    first = {c: min((r["rank"] for k, r in known.items() if k[1:] == c[:2]), default=None) for c in view.ranked}
    rows = []
    for method in (m for m in view.methods if m not in view.controls):
        found = [known.get((method, c.metric, c.column)) for c in view.ranked]
        shown = [_rank(row, first[c], len(view.blocks)) for row, c in zip(found, view.ranked, strict=True)]
        rows.append(Row(method, False, shown))
    blocks = f"{len(view.blocks)} model × data set block{'' if len(view.blocks) == 1 else 's'}"
    notes = [
        f"Mean rank over {blocks} (1 = best; equal means share a rank; controls are not ranked); bold: the lowest.",
        "In brackets: in how many blocks the method has a rank, where not in all. Ranks say nothing of how far apart "
        "methods are, nor whether they beat the controls.",
    ]
    if few := few_samples(view.summary):
        notes.append(few)
    return Table(file_stem("over-all"), f"Mean ranks over {blocks}", [c.title for c in view.ranked], rows, notes)


def _rank(row: Mapping[Any, Any] | None, first: float | None, blocks: int) -> Value:
    if row is None:
        return Value("–")
    partial = f"({row['blocks']} of {blocks})" if row["blocks"] < blocks else ""
    return Value(f"{row['rank']:.1f}", partial, row["rank"] == first)


def ledger(view: View, block: Block, metric: str) -> Table | None:
    """How the maps' sums compare with the logits: residuals, the best scale, and what each display step adds."""
    scale = {row["method"]: row for row in view.of(block, view.scale).to_dict("records") if row["metric"] == metric}
    before, after = ("residual", "residual_corrected", "sensitivity"), ("relu", "upsampling", "normalisation")

    def values(found: Mapping[str, Mapping[str, Any]], method: str) -> list[Value]:
        means = {column: row["mean"] for column, row in found.items()}
        fit = [scale.get(method, {}).get(name, float("nan")) for name in ("beta", "residual")]
        first, last = ([means.get(name, float("nan")) for name in names] for names in (before, after))
        return [Value(number(value)) for value in (*first, *fit, *last)]

    heads = ["residual", "corrected", "sensitivity", "β", "residual after β", *(f"{name} adds" for name in after)]
    return _by_method(view, block, metric, heads, values)


def every_column(view: View, block: Block, metric: str) -> Table | None:
    """All columns of one metric, mean and interval."""
    heads = list(dict.fromkeys(column for _, m, column in view.summary_of(block) if m == metric))
    sizes = {c: _size(_known(view, view.summary_of(block), Judged(metric, c, None), "mean")) for c in heads}

    def values(found: Mapping[str, Mapping[str, Any]], method: str) -> list[Value]:  # noqa: ARG001
        shown = [_value(found.get(column), sizes[column]) for column in heads]
        return [Value(value.mean, value.interval) for value in shown]

    return _by_method(view, block, metric, heads, values)


def _by_method(
    view: View,
    block: Block,
    metric: str,
    heads: Sequence[str],
    values: Callable[[Mapping[str, Mapping[str, Any]], str], list[Value]],
) -> Table | None:
    rows = []
    summary = view.summary_of(block)
    for method in view.methods:
        found = {column: row for (m, of, column), row in summary.items() if m == method and of == metric and row["n"]}
        if found:
            rows.append(Row(method, method in view.controls, values(found, method)))
    return Table(file_stem(metric, *block), f"{metric}: {block.title}", heads, rows) if rows else None
