"""What the checks said of one method, or of many: tables for the terminal, for pandas and for a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from camfaith import methods
from camfaith.benchmark.conformance.checks import CHECKS, Finding, examined
from camfaith.benchmark.conformance.defects import KNOWN_DEFECTS
from camfaith.methods.adapters import LIBRARIES, installed
from camfaith.models.errors import NotApplicable


@dataclass(frozen=True)
class Report:
    """The findings of all checks of one method, on the first kind of network on which it gives a map. `ground` is the
    network's name, "" if there is none."""

    method: str
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


def check_method(method: Any, /, *, like: Any = None, **settings: Any) -> Report:
    """All checks of a method: a class, or a name (shipped, `package.module:Class`, `pgc:Class`, `zennit:Composite`).

    `like` is the method whose maps it must equal, by name or as a table of a suite, {"name": "gradcam++", "variant":
    "pgc"}; another library's method is compared with the shipped one of its name. `settings` go to its constructor;
    `SuiteError` names those that exist.
    """
    candidate = examined(method, like=like, **settings)
    findings, ground = tuple(check.of(candidate) for check in CHECKS), ""
    with suppress(NotApplicable):
        ground = candidate.ground.name
    return Report(candidate.name, findings, ground)


def show(report: Report, console: Console, *, briefly: bool = False) -> None:
    """Print what every check said, or `briefly` only failures; a reason that several checks share is printed once."""
    passed, failed, unasked = report.names("passed"), report.failures, _reasons(report)
    lacking = len(report.names("does not apply"))
    ground = f" on a {report.ground} network" if report.ground else ""
    title = f"{report.method}{ground}: {len(passed)} passed, {len(failed)} failed, {lacking} do not apply"
    nothing = not passed and not failed
    if nothing:
        title += ": nothing could be asked of it, so it does not pass"
    console.print(title, style="bold", markup=False, highlight=False)
    rows = [(f.check, f"{f.smallest}: {f.seen}; so {f.means}") for f in failed]
    if nothing or not briefly:
        rows += [("does not apply", f"{reason}: {', '.join(checks)}") for reason, checks in unasked.items()]
    if passed and not briefly:
        rows.append(("passed", ", ".join(passed)))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for head, text in rows:
        table.add_row(head, escape(text))
    console.print(table)


def _reasons(report: Report) -> dict[str, list[str]]:
    """The reasons why checks do not apply, each with its checks."""
    found: dict[str, list[str]] = {}
    for finding in report.findings:
        if finding.outcome == "does not apply":
            found.setdefault(finding.seen, []).append(finding.check)
    return found


def everything() -> list[str]:
    """The names of all shipped methods, and of those of other installed libraries."""
    return [*methods.SHIPPED, *installed()]


def page(reports: Sequence[Report]) -> str:
    """The reports as a page of documentation in Markdown."""
    parts = ["# What the methods keep to", "", _made(), "", "## The checks", ""]
    parts += _rows(("check", "what must hold", "where it does not"), [(c.name, c.says, c.means) for c in CHECKS])
    for title, chosen in _groups(reports):
        parts += ["", f"## {title}", ""]
        parts += _rows(("method", "passed", "failed", "does not apply"), [_summary(report) for report in chosen])
        failures = [(r.method, f.check, f.smallest, f.seen) for r in chosen for f in r.failures]
        if failures:
            parts += ["", *_rows(("method", "fails", "smallest input that breaks it", "what is seen"), failures)]
    if defects := _known_defects(reports):
        parts += ["", "## Known defects, and the checks that show them", ""]
        parts += _rows(("defect", "check", "shown of"), defects)
    return "\n".join([*parts, ""])


def _known_defects(reports: Sequence[Report]) -> list[tuple[str, str, str]]:
    """The known defects that these reports show, each with its check and the methods that fail it."""
    failing = {(report.method, failure.check) for report in reports for failure in report.failures}
    rows = [(d.what, d.check, ", ".join(m for m in d.methods if (m, d.check) in failing)) for d in KNOWN_DEFECTS]
    return [row for row in rows if row[2]]


def _made() -> str:
    packages = ["camfaith", "torch", *(adapter.package for adapter in LIBRARIES.values())]
    made = f"Written by `camfaith check --all --out docs/conformance.md` with {', '.join(map(_version, packages))}."
    asks = "Each check runs on small networks, and shrinks an input that breaks a method."
    tried = "" if torch.cuda.is_available() else " There was no CUDA device: `device` was not tried."
    return f"{made} {asks}{tried}"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _groups(reports: Sequence[Report]) -> list[tuple[str, list[Report]]]:
    of: Callable[[Report], str] = lambda report: report.method.partition(":")[0]  # noqa: E731
    titles = {library: f"{adapter.package} as it is" for library, adapter in LIBRARIES.items()}
    own = [report for report in reports if of(report) not in LIBRARIES]
    others = [(title, [report for report in reports if of(report) == library]) for library, title in titles.items()]
    return [(title, chosen) for title, chosen in [("camfaith's methods", own), *others] if chosen]


def _summary(report: Report) -> tuple[str, ...]:
    failed, unasked = report.names("failed"), report.names("does not apply")
    if len(unasked) == len(report.findings):
        return report.method, "0", "–", f"all: {report.findings[0].seen}"
    return report.method, str(len(report.names("passed"))), ", ".join(failed) or "–", ", ".join(unasked) or "–"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, [":--"] * len(heads), *rows]
    return [f"| {' | '.join(' '.join(cell.split()).replace('|', '∣') for cell in line)} |" for line in lines]
