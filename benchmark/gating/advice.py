"""What to look at first where a method became worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from camfaith.benchmark.results.comparison import Comparison
from camfaith.benchmark.results.sides import Side

_CELL = ["model", "dataset", "metric", "column"]
_STATUSES = {"error": "could not be judged", "constant": "have a constant map", "undefined": "have no value"}


def look_first(compared: Mapping[str, Comparison], before: Mapping[str, Side], after: Side) -> list[str]:
    """One line for each thing that says why: errors, maps that show nothing, and for every comparison that did not pass
    the metric that lost most and the sample on which it did. A rise in calls is told in any case."""
    found: list[str] = []
    for name, comparison in compared.items():
        if comparison.exit_code:
            found += _statuses(name, before[name], after)
            found += _losses(name, comparison, before[name], after)
    return list(dict.fromkeys(found))


def _statuses(name: str, before: Side, after: Side) -> Iterator[str]:
    """More samples than before that have no value, or a constant map."""
    for status, text in _STATUSES.items():
        was, now = (_places(side.values, status) for side in (before, after))
        if len(now) > len(was):
            of = f"{len(now)} of {len(after.samples)} samples {text}, {len(was)} in {name}"
            first = after.values.loc[after.values["status"] == status, "error"].iloc[0]
            yield f"{of}: {first}" if first else of


def _places(values: pd.DataFrame, status: str) -> pd.DataFrame:
    return values.loc[values["status"] == status, ["model", "dataset", "sample"]].drop_duplicates()


def _losses(name: str, comparison: Comparison, before: Side, after: Side) -> Iterator[str]:
    """The row that lost most, in margins, and the sample that lost most there."""
    rows = comparison.rows
    lost = rows[(rows["difference"] < 0) & rows["margin"].notna()]
    if lost.empty:
        return
    row = lost.loc[(lost["difference"] / lost["margin"]).idxmin()]
    metric, column, model, dataset = (row[key] for key in ("metric", "column", "model", "dataset"))
    yield (
        f"{metric} {column} on {model} lost most against {name}: {-row['difference']:.3g}, "
        f"{-row['difference'] / row['margin']:.1f} times its margin of {row['margin']:.3g}"
    )
    was, now = (
        side.values[(side.values[_CELL] == [model, dataset, metric, column]).all(axis=1)].set_index("sample")["value"]
        for side in (before, after)
    )
    loss = ((was - now) * (1 if row["better"] == "higher" else -1)).dropna()
    if len(loss):
        worst = loss.idxmax()
        yield f"the sample {worst!r} of {dataset} lost most there: {was[worst]:.3g} became {now[worst]:.3g}"
