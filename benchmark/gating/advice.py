"""What to look at first where a method became worse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from camfaith.benchmark.results.comparable import matched
from camfaith.benchmark.results.comparison import Comparison
from camfaith.benchmark.results.sides import Side

_SAMPLE = ["model", "dataset", "sample"]
_STATUSES = {"error": "could not be judged", "constant": "have a constant map", "undefined": "have no value"}


def look_first(compared: Mapping[str, Comparison], before: Mapping[str, Side], after: Side) -> list[str]:
    """For every comparison that did not pass a line for each thing that may say why: samples without a value or with a
    constant map, calls that rose, the metric that lost most and the sample on which it did, and what to do."""
    found: list[str] = []
    for name, comparison in compared.items():
        if comparison.exit_code:
            found += _statuses(name, before[name], after)
            found += _calls(comparison)
            found += _losses(name, comparison, before[name], after)
            found += _steps(comparison, before[name])
    return list(dict.fromkeys(found))


def _statuses(name: str, before: Side, after: Side) -> Iterator[str]:
    """Common samples that have no value now, or a constant map, and had none of that before."""
    common = _places(before.samples) & _places(after.samples)
    for status, text in _STATUSES.items():
        was, now = (side.values[side.values["status"] == status] for side in (before, after))
        fresh = (_places(now) - _places(was)) & common
        if fresh:
            why = next((error for error in now["error"] if error), "")
            yield f"{len(fresh)} of {len(common)} samples {text}, other than in {name}{': ' if why else ''}{why}"


def _places(rows: pd.DataFrame) -> set[tuple[str, ...]]:
    return set(rows[_SAMPLE].itertuples(index=False, name=None))


def _calls(comparison: Comparison) -> Iterator[str]:
    """Calls that rose by more than they may."""
    for row in comparison.calls[comparison.calls["verdict"] == "regressed"].to_dict("records"):
        yield f"{row['calls']} for a map on {row['model']} rose from {row['base']:.4g} to {row['candidate']:.4g}"


def _losses(name: str, comparison: Comparison, before: Side, after: Side) -> Iterator[str]:
    """The row that lost most, in margins, and the sample that lost most there."""
    rows: Any = comparison.rows.to_dict("records")
    lost = {row["difference"] / row["margin"]: row for row in rows if row["difference"] < 0 < row["margin"]}
    if not lost:
        return
    times, row = min(lost.items(), key=lambda found: found[0])
    yield (
        f"{row['metric']} {row['column']} on {row['model']} lost most against {name}: {-row['difference']:.3g}, "
        f"{-times:.1f} times its margin of {row['margin']:.3g}"
    )
    label = matched(before, after)[row["metric"]]  # one metric may have another label there
    was, now = _of(before, row), _of(after, {**row, "metric": label})
    loss = ((was - now) * (1 if row["better"] == "higher" else -1)).dropna()
    worst: Any = loss.idxmax()
    yield f"the sample {worst!r} of {row['dataset']} lost most there: {was[worst]:.3g} became {now[worst]:.3g}"


def _of(side: Side, row: dict[str, Any]) -> pd.Series:
    """The values of a comparison's row, by sample."""
    keys = ["model", "dataset", "metric", "column"]
    return side.values[(side.values[keys] == [row[key] for key in keys]).all(axis=1)].set_index("sample")["value"]


def _steps(comparison: Comparison, before: Side) -> Iterator[str]:
    """What decides where the numbers do not, or takes what has come."""
    if comparison.verdict == "inconclusive":
        yield f"about {comparison.rows['needed'].max():.0f} samples would decide: a larger limit, or a wider margin"
    if before.stored == "baseline":
        yield "if what came is meant, write the baseline anew: --update, in pytest --faithfulness-update"
