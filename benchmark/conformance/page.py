"""The reports of many methods and metrics as a page of documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from camfaith import methods, metrics
from camfaith.benchmark.conformance.examination import Check
from camfaith.benchmark.conformance.of_methods.checks import CHECKS
from camfaith.benchmark.conformance.of_methods.defects import KNOWN_DEFECTS
from camfaith.benchmark.conformance.of_metrics.checks import CHECKS as OF_METRICS
from camfaith.benchmark.conformance.report import Report
from camfaith.methods.adapters import LIBRARIES, installed


def everything() -> list[str]:
    """The names of all shipped methods, of those of other installed libraries, and of all shipped metrics."""
    return [*methods.SHIPPED, *installed(), *metrics.SHIPPED]


def page(of_methods: Sequence[Report], of_metrics: Sequence[Report]) -> str:
    """Markdown: the checks, and what they said of each method and metric."""
    parts = ["# What the methods and the metrics keep to", "", _made(), "", "## The checks", ""]
    parts += _checks(CHECKS)
    for title, chosen in _groups(of_methods):
        parts += _section(title, "method", chosen)
    parts += ["", "## The checks of metrics", "", *_checks(OF_METRICS)]
    if of_metrics:
        parts += _section("camfaith's metrics", "metric", of_metrics)
    if defects := _known_defects(of_methods):
        parts += ["", "## Known defects, and the checks that show them", ""]
        parts += _rows(("defect", "check", "shown of"), defects)
    return "\n".join([*parts, ""])


def _checks(checks: Sequence[Check[Any]]) -> list[str]:
    return _rows(("check", "what must hold", "where it does not"), [(c.name, c.says, c.means) for c in checks])


def _section(title: str, what: str, reports: Sequence[Report]) -> list[str]:
    parts = ["", f"## {title}", ""]
    parts += _rows((what, "passed", "failed", "does not apply"), [_summary(report) for report in reports])
    failures = [(r.name, f.check, f.smallest, f.seen) for r in reports for f in r.failures]
    if failures:
        parts += ["", *_rows((what, "fails", "smallest input that breaks it", "what is seen"), failures)]
    return parts


def _known_defects(reports: Sequence[Report]) -> list[tuple[str, str, str]]:
    """The known defects that these reports show, each with its check and the methods that fail it."""
    failing = {(report.name, failure.check) for report in reports for failure in report.failures}
    rows = [(d.what, d.check, ", ".join(m for m in d.methods if (m, d.check) in failing)) for d in KNOWN_DEFECTS]
    return [row for row in rows if row[2]]


def _made() -> str:
    packages = ["camfaith", "torch", *(adapter.package for adapter in LIBRARIES.values())]
    made = f"Written by `camfaith check --all --out docs/conformance.md` with {', '.join(map(_version, packages))}."
    asks = "Each check runs on small networks, and shrinks an input that breaks one."
    tried = "" if torch.cuda.is_available() else " There was no CUDA device: `device` was not tried."
    return f"{made} {asks}{tried}"


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


def _groups(reports: Sequence[Report]) -> list[tuple[str, list[Report]]]:
    of: Callable[[Report], str] = lambda report: report.name.partition(":")[0]  # noqa: E731
    titles = {library: f"{adapter.package} as it is" for library, adapter in LIBRARIES.items()}
    own = [report for report in reports if of(report) not in LIBRARIES]
    others = [(title, [report for report in reports if of(report) == library]) for library, title in titles.items()]
    return [(title, chosen) for title, chosen in [("camfaith's methods", own), *others] if chosen]


def _summary(report: Report) -> tuple[str, ...]:
    failed, unasked = report.names("failed"), report.names("does not apply")
    if len(unasked) == len(report.findings):
        return report.name, "0", "–", f"all: {report.findings[0].seen}"
    return report.name, str(len(report.names("passed"))), ", ".join(failed) or "–", ", ".join(unasked) or "–"


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [heads, [":--"] * len(heads), *rows]
    return [f"| {' | '.join(' '.join(cell.split()).replace('|', '∣') for cell in line)} |" for line in lines]
