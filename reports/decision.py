"""What a comparison came to, for people: on a terminal, and as Markdown for the summary of a pull request."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from camfaith.benchmark.results.comparison import Comparison
from camfaith.benchmark.results.exact import Exactness
from camfaith.benchmark.results.showing import ARROWS
from camfaith.reports.markup import piped, plain
from camfaith.reports.view import numbers

HEADS = ("metric", "n", "base", "candidate", "difference", "margin", "verdict")
_STYLES = {"passed": "green", "improved": "bold green", "regressed": "bold red", "inconclusive": "yellow"}
_SIGNS = {"passed": "✅", "improved": "✅", "equal": "✅", "regressed": "❌", "different": "❌"}
_MEANS = {
    "passed": "no metric is worse by its margin or more",
    "improved": "no metric is worse by its margin or more, and some are better",
    "regressed": "something is worse",
    "inconclusive": "the samples do not tell whether something is worse by its margin",
    "not comparable": "what differs forbids to compare, or too little is there",
}


def show(found: Comparison | Exactness, console: Console) -> None:
    """Print the verdict, the tables, what differs and what to do."""
    console.print(Text(clean(headline(found)), _STYLES.get(found.verdict, "bold")))
    if isinstance(found, Comparison):
        for title, rows in tables(found):
            console.print(_table(title, rows))
    for head, lines in sections(found):
        console.print(Text(f"{head}:" if head else "", "bold" if head else ""), *_indented(lines), sep="\n")


def markdown(found: Comparison | Exactness) -> str:
    """The same as GitHub writes it. Names from outside cannot end a table, become a link, an image or a mention."""
    parts = [f"### {_SIGNS.get(found.verdict, '❔')} {safe(headline(found))}", ""]
    if isinstance(found, Comparison):
        for title, rows in tables(found):
            told = [[*map(safe, row[:-1]), f"**{safe(row[-1])}**"] for row in rows]
            parts += [f"**{safe(title)}**", "", *piped(HEADS, told, left=(0, 6)), ""]
    for head, lines in sections(found):
        parts += [f"**{head}**", ""] if head else []
        parts += [*(f"- {safe(line)}" for line in lines), ""]
    return "\n".join(parts)


def headline(found: Comparison | Exactness) -> str:
    """The verdict, of what, and what it means."""
    labels = [found.pairs[0][side] if len(found.pairs) == 1 else f"{len(found.pairs)} methods" for side in (0, 1)]
    of = f"{found.verdict}: {labels[1]} in {found.candidate} against {labels[0]} in {found.base}"
    if isinstance(found, Comparison) or found.verdict == "not comparable":
        return f"{of}: {_MEANS[found.verdict]}"
    within = f" by more than {found.tolerance:g}" if found.tolerance else ""
    counts = f"{found.differing_scores:,} of {found.scores:,} scores"
    counts += f" and {found.differing_maps:,} of {found.maps:,} maps" if found.maps else ""
    return f"{of}: {counts} differ{within}"


def tables(found: Comparison) -> Iterator[tuple[str, list[list[str]]]]:
    """For each method on each model and data set the title and the rows of a table, under `HEADS`."""
    rows, by = found.rows, ["method", "model", "dataset"]
    for method, model, dataset in rows[by].drop_duplicates().to_numpy():
        place = {"method": method, "model": model, "dataset": dataset}
        own, calls = (_where(table, place).to_dict("records") for table in (rows, found.calls))
        told = [[*_cells(row), row["verdict"] + (f", {row['why']}" if row["equal"] else "")] for row in own]
        told += [_calls(row) for row in calls if row["verdict"] != "not known"]
        yield f"{method}: {model} on {dataset}", told


def _where(table: pd.DataFrame, place: dict[str, str]) -> pd.DataFrame:
    return table[(table[list(place)] == list(place.values())).all(axis=1)]


def _cells(row: Any) -> list[str]:
    title = f"{row['metric']} {row['column']} {ARROWS[row['better']]}"
    n = f"{row['n']}" if row["units"] == row["n"] else f"{row['n']} in {row['units']} clusters"
    values = numbers(row["base"], row["candidate"])
    like = max((abs(row[name]) for name in ("base", "candidate") if math.isfinite(row[name])), default=math.nan)
    delta, low, high, margin = numbers(row["difference"], row["low"], row["high"], row["margin"], like=like)
    signed = delta if delta.startswith(("-", "–")) or not float(delta) else f"+{delta}"
    interval = f" [{low}, {high}]" if math.isfinite(row["low"]) else ""
    return [title, n, *values, f"{signed}{interval}", margin]


def _calls(row: Any) -> list[str]:
    values = [f"{row[side]:.4g}" for side in ("base", "candidate")]
    times = f"× {row['times']:.3g}" if math.isfinite(row["times"]) else "from none"
    return [f"{row['calls']} per map", "", *values, times, "", row["verdict"]]


def sections(found: Comparison | Exactness) -> Iterator[tuple[str, Sequence[str]]]:
    """What stands beneath, under heads."""
    if found.differing:
        yield "What differs, and what to do", found.differing
    if isinstance(found, Exactness):
        firsts = [found.first_map and found.first_map.first, found.first_score]
        if lines := [first.line for first in firsts if first]:
            yield "The first that differs", lines
    else:
        if lines := list(_todo(found)):
            yield "What stands behind", lines
    if found.notes:
        yield "Notes", found.notes
    if isinstance(found, Comparison) and len(found.rows):
        yield "", [_rule(found)]


def _todo(found: Comparison) -> Iterator[str]:
    """Why rows are what they are, where their numbers do not show it, and what would help."""
    told: dict[str, list[str]] = {}
    lost = found.rows[found.rows["verdict"] == "regressed"]
    if len(lost):
        first = lost.iloc[(lost["difference"] / lost["margin"]).fillna(0).argmin()]
        size = -first["difference"] / first["margin"]
        loss = f": its loss is {size:.3g} times the margin" if size > 0 else ""
        yield f"Look first at {_name(first, found)}{loss}. Of two runs, --exact draws the first map that differs."
    for row in found.rows.to_dict("records"):
        if row["verdict"] == "inconclusive":
            what = "samples" if row["units"] == row["n"] else "clusters"
            why = f"about {row['needed']:,.0f} {what} would decide ({row['units']:,} now), if mean and spread stay"
            (seen,) = numbers(row["detectable"], like=row["margin"])
            why += f"; these could have shown a loss of {seen}"
            told.setdefault(why, []).append(_name(row, found))
        elif row["why"] and not row["equal"] and row["why"] not in found.differing:
            told.setdefault(f"{row['verdict']}: {row['why']}", []).append(_name(row, found))
    for row in found.calls.to_dict("records"):
        what = f"{row['calls']} per map"
        if row["verdict"] == "regressed":
            rise = f"they rise from {row['base']:.4g} to {row['candidate']:.4g}"
            why = f"{rise}; if that is meant, say by how many times they may: --margin calls=2"
            told.setdefault(why, []).append(_name(row, found, what))
        elif row["verdict"] == "not known":
            told.setdefault("not known, in the run of an earlier version", []).append(_name(row, found, what))
    yield from (f"{', '.join(names)}: {why}." for why, names in told.items())


def _name(row: Any, found: Comparison, what: str = "") -> str:
    """What a row is of; method, model and data set where there are several."""
    by = {"method": "", "model": " in ", "dataset": " on "}
    parts = [f"{before}{row[name]}" for name, before in by.items() if len(found.rows[name].unique()) > 1]
    judged = what or f"{row['metric']} {row['column']}"
    return f"{judged} ({''.join(parts).strip()})" if parts else judged


def _rule(found: Comparison) -> str:
    level, rows = f"{100 * found.level:g} %", len(found.rows)
    return (
        "Difference: mean over common samples [95 % interval], + where the candidate is better. Margin: "
        f"{found.margins}. Passed: a loss of the margin or more is refuted; improved: so is any loss; regressed: any "
        f"gain is refuted, and it has not passed. One-sided sign-flip tests at {level}, each corrected for {rows} "
        f"row{'s' * (rows != 1)} (Holm)."
    )


def _table(title: str, rows: Sequence[Sequence[str]]) -> RenderableType:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    least = [0] * len(HEADS)  # what a narrow terminal must leave: most of the name, all of the verdict
    least[0] = min(16, max(len(row[0]) for row in rows))
    least[-1] = 1 + max(len(row[-1].partition(",")[0]) for row in rows)
    for place, head in enumerate(HEADS):
        side: Any = "right" if 0 < place < len(HEADS) - 1 else "left"
        table.add_column(head, justify=side, overflow="fold", min_width=least[place])
    for row in rows:
        table.add_row(
            *(Text(clean(text)) for text in row[:-1]),
            Text(clean(row[-1]), _STYLES.get(row[-1].partition(",")[0], "")),
        )
    return Group(Text(clean(title), "bold"), table)


def _indented(lines: Sequence[str]) -> list[Text]:
    return [Text(f"  {clean(line)}") for line in lines]


def clean(text: str) -> str:
    """Text in one line, without signs that steer a terminal or turn the direction of writing."""
    return "".join(sign if sign.isprintable() else "�" for sign in " ".join(text.split()))


def safe(text: str) -> str:
    """Text in one line for Markdown; a word joiner keeps GitHub from making links and mentions."""
    return re.sub(r"(@|(?<=:)/(?=/)|(?<=www)\.)", "\\1\u2060", plain(clean(text)))
