"""What a gate says: a verdict on each comparison, and on all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camfaith.benchmark.results.comparison import Comparison
from camfaith.benchmark.results.verdicts import EXIT_CODES, whole

_COLUMNS = ["model", "metric", "base", "candidate", "difference", "margin", "n", "verdict"]


@dataclass(frozen=True)
class Outcome:
    """What became of a method, by what it was compared with: `comparisons` are named "baseline FILE" and "like METHOD".

    `look` says what to look at first, `folder` is the run's, `written` the baseline that was written.
    """

    method: str
    comparisons: Mapping[str, Comparison]
    look: Sequence[str]
    folder: Path
    written: Path | None = None

    @property
    def verdict(self) -> str:
        """The worst of its comparisons' verdicts; "written" where a baseline was written and nothing compared."""
        found = [comparison.verdict for comparison in self.comparisons.values()]
        return whole(found) if found else "written"

    @property
    def exit_code(self) -> int:
        """0 passed, improved or written; 1 regressed; 2 inconclusive; 3 not comparable."""
        return EXIT_CODES.get(self.verdict, 0)

    @property
    def passed(self) -> bool:
        return self.exit_code == 0

    def __str__(self) -> str:
        """The verdict, what to look at first, and every comparison as a table."""
        told = [f"{self.method}: {self.verdict}"]
        told += [f"  {line}" for line in self.look]
        for name, comparison in self.comparisons.items():
            told += ["", f"against {name}: {comparison.verdict}", _table(comparison)]
            told += comparison.differing
        return "\n".join([*told, "", f"the run: {self.folder}"])


def _table(comparison: Comparison) -> str:
    rows = comparison.rows
    if rows.empty:
        return "nothing could be compared"
    shown = rows[["model", "metric", "n", "verdict"]].copy()
    for name in ("base", "candidate", "margin"):
        shown[name] = rows[name].map("{:.4g}".format)
    each = rows[["difference", "low", "high"]].itertuples(index=False)
    shown["difference"] = [f"{mean:+.3g} [{low:+.3g}, {high:+.3g}]" for mean, low, high in each]
    return shown[_COLUMNS].to_string(index=False)
