"""Claims and what came of them, for people: an HTML page, Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from camfaith.benchmark.results.checked import VERDICTS, Checked
from camfaith.benchmark.results.files import own_folder, write_whole
from camfaith.benchmark.results.showing import MISSING, NONE
from camfaith.reports.decision import clean, safe
from camfaith.reports.figures import Drawing
from camfaith.reports.forest import forests
from camfaith.reports.markup import piped
from camfaith.reports.page import embedded, rendered
from camfaith.reports.style import save, settings
from camfaith.reports.tables import write_csv
from camfaith.reports.view import file_stem, numbers

HEADS = ("model", "data set", "n", "measured", "compared with", "difference", "p", "verdict", "why")
WORDS = (0, 1, 7, 8)
"""Which of these columns hold words; the others hold numbers."""
SIGNS = {"supported": "✅", "contradicted": "❌", "undecided": "❔"}
_SAYS = {
    "greater": "more than",
    "less": "less than",
    "equal": "as much as",
    "not less": "no less than",
    "not greater": "no more than",
    "predicts": "more than",
}


@dataclass(frozen=True)
class Reading:
    """One way to measure a sentence: its number in the file, what it says in words and as a comparison, and a row of
    texts under `HEADS` for each model and data set."""

    number: int
    text: str
    compared: str
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Sentence:
    """A sentence, its readings, and how many of their rows have which verdict."""

    text: str
    readings: Sequence[Reading]
    counts: dict[str, int]

    @property
    def verdict(self) -> str:
        """That of all its rows; "" where they have several."""
        found = [verdict for verdict, count in self.counts.items() if count]
        return found[0] if len(found) == 1 else ""

    @property
    def summary(self) -> str:
        """ "supported", or "supported 2, undecided 1"."""
        return self.verdict or ", ".join(f"{verdict} {count}" for verdict, count in self.counts.items() if count)


def write(checked: Checked, folder: Path) -> Path:
    """Write NAME.html, NAME.md, NAME.csv and the figure (PDF, SVG, PNG); returns the page."""
    own_folder(folder)
    stem = folder / file_stem(checked.name)
    drawings = []
    with settings():
        for place, drawn in enumerate(forests(checked), 1):
            path = Path(f"{stem}-{place}")
            save(drawn, path)
            drawings.append(Drawing("claims", f"sheet {place}", None, path))
    page = rendered(
        "claims.html",
        checked=checked,
        sentences=sentences(checked),
        heads=HEADS,
        words=WORDS,
        headline=headline(checked),
        rule=rule(checked),
        drawings=[(drawing, *embedded(drawing.path)) for drawing in drawings],
    )
    write_csv(f"{stem}.csv", checked.rows)
    write_whole(f"{stem}.md", markdown(checked))
    write_whole(f"{stem}.html", page)
    return Path(f"{stem}.html")


def markdown(checked: Checked) -> str:
    """The page as GitHub writes it. Names from outside cannot end a table, become a link, an image or a mention."""
    parts = [f"### {safe(checked.title)}", "", safe(headline(checked)), ""]
    for sentence in sentences(checked):
        sign = SIGNS.get(sentence.verdict, "")
        parts += [f"#### {safe(sentence.text)}", "", f"{sign} **{safe(sentence.summary)}**".strip(), ""]
        for reading in sentence.readings:
            rows = [[*map(safe, row)] for row in reading.rows]
            parts += [f"{safe(reading.text)}  ", f"{safe(reading.compared)}", "", *piped(HEADS, rows, WORDS), ""]
    return "\n".join([*parts, *(f"- {safe(line)}" for line in rule(checked)), ""])


def sentences(checked: Checked) -> list[Sentence]:
    """The sentences in the order of the file, each with all its readings."""
    found = []
    by_sentence: Any = checked.rows.groupby("sentence", sort=False)
    for text, own in by_sentence:
        readings = []
        for number, rows in own.groupby("claim", sort=False):
            first = rows.iloc[0]
            told = [_cells(row) for row in rows.to_dict("records")]
            readings.append(Reading(int(number), clean(first["reading"]), comparison(first), told))
        counts = {verdict: int((own["verdict"] == verdict).sum()) for verdict in VERDICTS}
        found.append(Sentence(clean(text), readings, counts))
    return found


def comparison(row: Any) -> str:
    """What a claim says of its quantities."""
    margin = f"{row['margin']:g}"
    if row["says"] == "explains":
        effect = f"at least {margin} of the effect is explained" if row["margin"] else "a share above 0 is explained"
        return f"{effect}: {row['measure']}; {row['compared']}"
    beyond = {"equal": f", to within {margin}", "not less": f", but for {margin}", "not greater": f", but for {margin}"}
    more = beyond.get(row["says"], f", by more than {margin}") if row["margin"] else ""
    return f"{row['measure']} is {_SAYS[row['says']]} {row['compared']}{more}"


def _cells(row: Any) -> list[str]:
    n = f"{row['n']}" if row["units"] == row["n"] else f"{row['n']} in {row['units']} clusters"
    if row["lost"]:
        n += f" ({row['lost']} without)"
    if math.isnan(row["difference"]):
        place = row["model"] or "any model", row["dataset"] or "any data set"
        return [*place, n if row["n"] else NONE, *[NONE] * 4, row["verdict"], row["why"]]
    measured, against = numbers(row["measured"], row["against"])
    delta, low, high = numbers(row["difference"], row["low"], row["high"])
    signed = delta if delta.startswith(("-", NONE)) or row["says"] == "explains" else f"+{delta}"
    interval = f"[{low}, {high}]" if math.isfinite(row["low"]) else MISSING
    p = min(row["p"], row["p_against"])
    told = NONE if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"
    return [row["model"], row["dataset"], n, measured, against, f"{signed} {interval}", told, row["verdict"], why(row)]


def why(row: Any) -> str:
    """The reason of a row that is undecided, and what would decide."""
    if row["verdict"] != "undecided":
        return ""
    if row["needed"] is None or row["needed"] != row["needed"]:
        return str(row["why"])
    what = "samples" if row["units"] == row["n"] else "clusters"
    return f"{row['why']}; about {row['needed']:,.0f} {what} would decide, if mean and spread stay"


def headline(checked: Checked) -> str:
    """How many rows of how many claims came out how."""
    counts, claims = checked.counts(), checked.rows["claim"].nunique()
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{claims} claim{'s' * (claims != 1)} in {len(checked.rows)} rows: {told}; checked against {checked.run}"


def rule(checked: Checked) -> list[str]:
    """How rows are decided, line by line."""
    level, tests = f"{100 * checked.level:g} %", int(checked.rows["p"].notna().sum())
    return [
        "Every row is about the samples that have all its quantities, each sample's values paired; samples of one "
        "cluster count as one; of seconds, a cluster is what was explained in one batch.",
        "Supported: tests refute the opposite of the claim. Contradicted: tests refute the claim. Undecided: neither. "
        "Two tests must agree: the sign-flip test, and the one that intervals are made of.",
        "More than, less than: the mean difference lies beyond the margin. No less than, no more than: it does not lie "
        "beyond the margin on the other side. As much as: it lies within the margin on both sides. An AUROC is the "
        "chance that a sample with the outcome has the higher value. A share is explained where the effect is above 0, "
        "and goes away by that share.",
        f"What would support a claim is corrected for all {tests} rows that were tested (Holm), and so is what would "
        f"contradict it: at most {level} is the chance that any row is said to be supported and is not, and the same "
        "holds for contradicted. p is the smaller of both, corrected.",
        f"Intervals are of 95 % for each row alone. {MISSING}: n is too small, or nearly all values are one.",
    ]
