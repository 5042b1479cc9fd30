"""What the numbers of a summary are called wherever they are shown, and the summary as a notebook shows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import pandas as pd

from camfaith.benchmark.results.cells import random_control, until_separated
from camfaith.benchmark.results.families import LEVEL
from camfaith.benchmark.results.statistics import few_samples

ARROWS = {"higher": "↑", "lower": "↓"}
"""Which way a column is better."""
DOUBT, NONE, MISSING = "°", "–", "[–]"


def doubtful(row: Mapping[Any, Any], info: Mapping[str, Any]) -> bool:
    """Whether a row of the summary is to be marked as not shown to be better than the run's random control."""
    judged = row["main"] and isinstance(row["better"], str) and not row["control"] and row["n"] > 0
    return bool(judged and random_control(info) is not None and not row["above_random"])


def usual(counts: Iterable[int]) -> int:
    """The n that most means of a row have, the larger of several; means with another n say theirs."""
    return max(Counter(n for n in counts if n).items(), key=lambda found: found[::-1], default=(0, 0))[0]


def legend(rows: pd.DataFrame, info: Mapping[str, Any]) -> list[str]:
    """What a table of these rows of the summary, the main columns of one model and data set, claims: line by line."""
    lines = [
        "Mean over n images [95 % interval], with its own n behind it where that is another; ↑ higher is better, "
        "↓ lower is better; in italics: controls, which are not ranked."
    ]
    judged = rows["better"].notna()
    if not judged.all():
        lines.append("A column without an arrow describes: no value of it is better, and nothing is claimed of it.")
    if judged.any():
        lines += _claims(rows, info)
    clustered = rows[rows["units"] < rows["n"]]
    if len(clustered):
        lines.append(f"Images of one cluster count as one: there are {clustered['units'].max()} clusters.")
    return lines + few_samples(rows)


def cautions(rows: pd.DataFrame, info: Mapping[str, Any]) -> list[str]:
    """What to know before the numbers of these rows of the summary, the main columns of one model and data set: under
    which of them the methods do no better than random maps."""
    if random_control(info) is None:
        return []
    asked = rows[rows["better"].notna() & ~rows["control"] & rows["above_random"].notna()]
    blind: list[str] = []
    reverse: list[str] = []
    for (metric, column), own in asked.groupby(["metric", "column"], sort=False):
        if not own["above_random"].any():
            behind = ((own["p"] <= LEVEL) & (own["difference"] < 0)).any()
            (reverse if behind else blind).append(f"{metric} {column}")
    said = {
        "random maps cannot be told from the methods on these images: no method is shown to be better or worse than "
        "the random control.": blind,
        "no method is shown to be better than random maps on these images, and some are shown to be worse.": reverse,
    }
    return [f"By {', '.join(names)} {text}" for text, names in said.items() if names]


def _claims(rows: pd.DataFrame, info: Mapping[str, Any]) -> list[str]:
    """What bold and the mark of doubt say, and by which test."""
    until = until_separated(info)
    decided, behind = ("ahead of", "behind") if until else ("better than", "worse than")
    bold = f"Bold: not shown to be {behind} any other method, in columns where some is."
    marks = bold if rows["best"].any() else f"No method is shown to be {decided} another."
    if random_control(info) is not None:
        marks += f" {DOUBT}: not shown to be {decided} the random control."
    if until:
        return [
            marks,
            "Ahead is who is better on more images, by the sequential test of separations.csv: on average at most "
            f"{100 * info['suite']['level']:g} % of all leads that are told are wrong. Means are over different "
            "images.",
        ]
    return [
        marks,
        "Shown is what the sign-flip test of paired differences on common images shows at "
        f"{100 * LEVEL:g} %, corrected (Holm) for all methods × metrics ({DOUBT}), or pairs of methods × metrics "
        "(bold), of this table. It holds for images like these, on this model and data set.",
    ]


def html_of(summary: pd.DataFrame, title: str, info: Mapping[str, Any]) -> str:
    """The main columns of a summary: a table for each model on each data set, a row a method, means with intervals."""
    parts = [f"<p><b>{escape(title)}</b></p>"]
    for (model, dataset), block in summary[summary["main"].astype(bool)].groupby(["model", "dataset"], sort=False):
        own = block.groupby("method", sort=False)["n"].agg(usual)
        cells = block.assign(
            shown=[_cell(row, own[row["method"]], info) for row in block.to_dict("records")],
            head=[
                escape(f"{m} {c} {ARROWS.get(b, '')}") for m, c, b in block[["metric", "column", "better"]].to_numpy()
            ],
        )
        wide = cells.pivot_table(index="method", columns="head", values="shown", aggfunc="first", sort=False)
        wide = wide.rename_axis(index=None, columns=None).rename(index=escape).fillna(NONE)
        wide.insert(0, "n", own.rename(index=escape))
        parts.append(f"<p>{escape(f'{model} on {dataset}')}</p>")
        parts += [f"<p><b>{escape(line)}</b></p>" for line in cautions(block, info)]
        parts.append(wide.to_html(escape=False))
        parts += [f"<p>{escape(line)}</p>" for line in legend(block, info)]
    return "\n".join(parts)


def _cell(row: Mapping[Any, Any], own: int, info: Mapping[str, Any]) -> str:
    mean, low, high = (float(row[name]) for name in ("mean", "low", "high"))
    if mean != mean:
        return NONE
    interval = f"[{low:.3f}, {high:.3f}]" if low == low else MISSING
    count = f" ({row['n']})" if row["n"] != own else ""
    text = f"{mean:.3f}{DOUBT if doubtful(row, info) else ''} {interval}{count}"
    return f"<b>{text}</b>" if row["best"] else text
