"""The tables of the page, in Markdown; ↓ and ↑ stand where a share is not what it should be, by more than chance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Any

from decisions import EFFECTS, FAMILIES
from gate import VERDICTS

Results = list[tuple[tuple[Any, ...], dict[str, float]]]


def coverage(found: Results) -> str:
    head = ["values", "n", "n too small", "covers", "shown and misses", "Student's t", "BCa"]
    lines = []
    for (name, n, rows), r in found:
        peers = [least(r[peer], 0.95, rows) for peer in ("student", "bca")]
        lines.append([name, n, share(r["refused"]), least(r["covered"], 0.95, r["shown"]), share(r["missed"]), *peers])
    return table(head, lines)


def tests(found: Results) -> str:
    sides = {"greater": "better", "less": "worse", "two": "either"}
    lines = ([name, n, *(most(r[side], 0.05, rows) for side in sides)] for (name, n, rows), r in found)
    return table(["differences", "n", *sides.values()], lines)


def tables(found: Results) -> str:
    claims = {"unmarked": "some cell without °", "shown": "some cell better or worse", "bold": "some bold"}
    lines = ([draw, n, *(most(r[claim], 0.05, count) for claim in claims)] for (draw, n, count), r in found)
    return table(["nine methods and random", "n", *claims.values()], lines)


def power(found: Results) -> str:
    names = [f"{effect:g}" for effect in EFFECTS]
    return table(["n", *names], ([n, *(share(r[name]) for name in names)] for (n, _), r in found))


def planted(found: Results) -> str:
    head = ["better by", "n", "without °", "alone bold", "tables with a wrong claim"]
    lines = (
        [f"{effect:g}", n, share(r["better"]), share(r["alone"]), most(r["wrong"], 0.1, count)]
        for (effect, n, count), r in found
    )
    return table(head, lines)


def detectable(found: Results) -> str:
    head = ["differences", "claims in the family", "n", "told", "found of that size", "found in 80 %"]
    lines = (
        [name, FAMILIES[family], n, number(r["told"]), share(r["found"]), number(r["real"])]
        for (name, n, family, _), r in found
    )
    return table(head, lines)


def leads(found: Results) -> str:
    head = ["nine methods and random", "pairs decided", "runs with a lead", "wrong of these", "intervals that miss"]
    lines = (
        [name, share(r["decided"]), share(r["any"]), *(most(r[what], 0.05, runs) for what in ("wrong", "missed"))]
        for (name, _, runs), r in found
    )
    return table(head, lines)


def gate(found: Results) -> str:
    lines = []
    for (loss, losing, spread, n, count), r in found:
        regressed = share(r["regressed"]) if loss else most(r["regressed"], 0.05, count)
        others = [share(r[verdict]) for verdict in VERDICTS[:3]]
        where = f"{losing} of 8 metrics" if loss else "–"
        lines.append([margins(loss), where, margins(spread), n, *others, regressed, share(r["cells"])])
    return table(["lost", "under", "noise", "n", *VERDICTS, "losing cells told"], lines)


def claims(found: Results) -> str:
    head = ["claim", "values", "n", "supported", "contradicted", "interval covers"]
    lines = []
    for (kind, values, n, rows), r in found:
        wrong = [most(r[verdict], 0.05, rows) for verdict in ("supported", "contradicted")]
        lines.append([kind, values, n, *wrong, least(r["covered"], 0.95, r["shown"])])
    return table(head, lines)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def least(found: float, nominal: float, count: float) -> str:
    """A share that should be no less."""
    return share(found) + " ↓" * (found < nominal - 2 * sqrt(nominal * (1 - nominal) / max(count, 1)))


def most(found: float, nominal: float, count: float) -> str:
    """A share that should be no more."""
    return share(found) + " ↑" * (found > nominal + 2 * sqrt(nominal * (1 - nominal) / max(count, 1)))


def share(found: float) -> str:
    return f"{found:.3f}" if found == found else "–"


def number(found: float) -> str:
    return f"{found:.2f}" if found == found else "–"


def margins(count: int) -> str:
    return f"{count} margin{'s' * (count > 1)}" if count else "nothing"
