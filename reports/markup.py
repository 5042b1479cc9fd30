"""A table: its rows, and how it is written as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from camfaith.benchmark.results.showing import DOUBT


@dataclass(frozen=True)
class Value:
    """What a table says of one method under one head; `doubtful` where it is not shown to be better than the random
    control."""

    mean: str
    interval: str = ""
    best: bool = False
    doubtful: bool = False

    @property
    def text(self) -> str:
        return f"{self.mean}{DOUBT if self.doubtful else ''}{f' {self.interval}' if self.interval else ''}"


@dataclass(frozen=True)
class Row:
    method: str
    control: bool
    values: Sequence[Value]


@dataclass(frozen=True)
class Table:
    """A table as it is shown anywhere: what to know before its numbers, a row per method (or what `of` names), controls
    last, and notes beneath."""

    stem: str
    title: str
    heads: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    cautions: Sequence[str] = ()
    of: str = "method"


def markdown(table: Table) -> str:
    """A title, what to know first, the table as GitHub writes it, and its notes."""
    rows = []
    for row in table.rows:
        values = [f"**{plain(value.text)}**" if value.best else plain(value.text) for value in row.values]
        rows.append([f"*{plain(row.method)}*" if row.control else plain(row.method), *values])
    lines = [f"### {plain(table.title)}", ""]
    for caution in table.cautions:
        lines += [f"**{plain(caution)}**", ""]
    lines += piped([table.of, *map(plain, table.heads)], rows)
    return "\n".join([*lines, "", *(f"- {plain(note)}" for note in table.notes), ""])


def piped(heads: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (0,)) -> list[str]:
    """The lines of a table as GitHub writes it; the columns `left` hold words, the others numbers."""
    sides = [":--" if place in left else "--:" for place in range(len(heads))]
    return [f"| {' | '.join(texts)} |" for texts in (heads, sides, *rows)]


def plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#~$&])", r"\\\1", " ".join(text.split()))


def latex(table: Table) -> str:
    """A floating table with booktabs rules, no wider than the text; needs the packages booktabs and graphicx."""
    notes = "\\par\n".join(_tex(note) for note in table.notes)
    text = "\n".join(
        [
            r"% needs \usepackage{booktabs} and \usepackage{graphicx}",
            r"\begin{table}[tbp]",
            r"\centering",
            rf"\caption{{{_tex(table.title)}.}}",
            rf"\label{{tab:{table.stem}}}",
            *(rf"\parbox{{\linewidth}}{{\footnotesize\textbf{{{_tex(text)}}}}}\par" for text in table.cautions),
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"{_tabular(table)}}}",
            r"\par\medskip",
            r"\begin{minipage}{\linewidth}\footnotesize",
            notes,
            r"\end{minipage}",
            r"\end{table}",
            "",
        ]
    )
    for symbol, command in _SYMBOLS.items():
        text = text.replace(symbol, command)
    return text


def _tabular(table: Table) -> str:
    """Rows, with the controls below a line of their own."""
    frame = pd.DataFrame([[value.text for value in row.values] for row in table.rows], columns=list(table.heads))
    frame.index = pd.Index([" ".join(row.method.split()) for row in table.rows], dtype=object)
    bold = [["textbf:--rwrap" if value.best else "" for value in row.values] for row in table.rows]
    slanted = ["textit:--rwrap" if row.control else "" for row in table.rows]
    # Styler wants unique labels; positions stand in for them until they are shown.
    methods, heads = [_tex(str(name)) for name in frame.index], [_tex(head) for head in table.heads]
    frame.index, frame.columns = pd.RangeIndex(len(frame)), pd.RangeIndex(len(heads))
    style = frame.style.format(escape="latex")
    style = style.format_index(_named(methods), axis=0).format_index(_named(heads), axis=1)
    style = style.apply(lambda _: pd.DataFrame(bold, frame.index, frame.columns), axis=None)
    style = style.apply_index(lambda _: slanted, axis=0)
    lines = style.to_latex(hrules=True, column_format="l" + "r" * len(heads)).rstrip().split("\n")
    ranked = sum(not row.control for row in table.rows)
    if 0 < ranked < len(table.rows):
        lines.insert(lines.index(r"\midrule") + 1 + ranked, r"\midrule")
    return "\n".join(lines)


def _named(names: Sequence[str]) -> Callable[[Any], str]:
    return lambda place: names[place]


_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    # In LaTeX's default encoding these would print as other signs.
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_SYMBOLS = {
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    DOUBT: r"$^{\circ}$",
    "×": r"$\times$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "ρ": r"$\rho$",
    "τ": r"$\tau$",
    "…": r"\ldots{}",
}


def _tex(text: str) -> str:
    escaped = "".join(_ESCAPES.get(sign, sign) for sign in " ".join(text.split()))
    # At the start of a row LaTeX would take [ or * for an argument of the line break before it.
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped
