"""What all checks said of one method or metric: a table for the terminal, and for pandas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from camfaith.benchmark.conformance.examination import Finding


@dataclass(frozen=True)
class Report:
    """The findings of all checks of one method or metric. `ground` is the kind of network on which a method is
    examined, the first on which it gives a map; "" if there is none."""

    name: str
    findings: tuple[Finding, ...]
    ground: str = ""

    @property
    def passed(self) -> bool:
        """Whether at least one check passed and none failed."""
        return not self.failures and bool(self.names("passed"))

    @property
    def failures(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.outcome == "failed"]

    def names(self, outcome: str) -> list[str]:
        """The checks with that outcome."""
        return [finding.check for finding in self.findings if finding.outcome == outcome]

    @property
    def table(self) -> pd.DataFrame:
        """One row per check: check, outcome, seen, smallest, means."""
        return pd.DataFrame([asdict(finding) for finding in self.findings])


def show(report: Report, console: Console, *, briefly: bool = False) -> None:
    """Print what every check said, or `briefly` only failures; what several checks say alike is printed once."""
    passed, failed = report.names("passed"), report.failures
    lacking = len(report.names("does not apply"))
    ground = f" on a {report.ground} network" if report.ground else ""
    title = f"{report.name}{ground}: {len(passed)} passed, {len(failed)} failed, {lacking} do not apply"
    nothing = not passed and not failed
    if nothing:
        title += ": nothing could be asked of it, so it does not pass"
    console.print(title, style="bold", markup=False, highlight=False)
    rows = []
    for first, *others in _alike(report, "failed"):
        head, also = (f"{1 + len(others)} checks", f": {_named([first, *others])}") if others else (first.check, "")
        rows.append((head, f"{first.smallest}: {first.seen}; so {first.means}{also}"))
    if nothing or not briefly:
        rows += [("does not apply", f"{alike[0].seen}: {_named(alike)}") for alike in _alike(report, "does not apply")]
    if passed and not briefly:
        rows.append(("passed", ", ".join(passed)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for head, text in rows:
        table.add_row(head, escape(text))
    console.print(table)


def _alike(report: Report, outcome: str) -> list[list[Finding]]:
    """The findings with that outcome, those that saw the same and mean the same together."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in report.findings:
        if finding.outcome == outcome:
            found.setdefault((finding.seen, finding.means), []).append(finding)
    return list(found.values())


def _named(alike: Sequence[Finding]) -> str:
    return ", ".join(finding.check for finding in alike)
