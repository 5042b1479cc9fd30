"""What a gate says: a verdict on each comparison, and on all of them together."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from camfaith.benchmark.results.comparison import Comparison
from camfaith.benchmark.results.verdicts import EXIT_CODES, whole

_WIDTH = 100
"""What is left of a wide terminal beside the margin of a failure in pytest."""


@dataclass(frozen=True)
class Outcome:
    """What became of a method, by what it was compared with: `comparisons` are named by file and method.

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
        """What `show` prints, the end of it first: of a failed test the first line is seen everywhere."""
        text = io.StringIO()
        console = Console(file=text, width=_WIDTH, emoji=False, force_terminal=False)
        self._conclude(console)
        self._tell(console)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def show(self, console: Console) -> None:
        """Print every comparison as `camfaith compare` has it (one that passed in one line, with its notes), then the
        verdict and what to look at first."""
        self._tell(console)
        self._conclude(console)

    def _tell(self, console: Console) -> None:
        from camfaith.reports import decision

        for comparison in self.comparisons.values():
            if comparison.verdict == "passed":
                _print(console, decision.headline(comparison), *(f"  {note}" for note in comparison.notes))
            else:
                decision.show(comparison, console)
            console.print()

    def _conclude(self, console: Console) -> None:
        console.print(f"{self.method}: {self.verdict}", style="bold", markup=False, highlight=False)
        _print(console, *(f"  {line}" for line in self._first))
        _print(console, f"  the run: {self.folder}; camfaith report {self.folder} draws its maps", "")

    def markdown(self) -> str:
        """The same as GitHub writes it, all of it."""
        from camfaith.reports import decision

        told = [decision.markdown(comparison) for comparison in self.comparisons.values()]
        first = "".join(f"- {decision.safe(line)}\n" for line in self._first)
        return "\n".join([f"## {decision.safe(self.method)}: {self.verdict}\n", first, *told])

    def to_json(self) -> str:
        """All of it as JSON."""
        told = {name: json.loads(comparison.to_json()) for name, comparison in self.comparisons.items()}
        written = None if self.written is None else str(self.written)
        about = {"method": self.method, "verdict": self.verdict, "exit_code": self.exit_code, "written": written}
        about |= {"look": list(self.look), "folder": str(self.folder), "comparisons": told}
        return json.dumps(about, indent=2, ensure_ascii=False)

    @property
    def _first(self) -> list[str]:
        written = [] if self.written is None else [f"baseline written: {self.written}; commit it"]
        return [*written, *self.look]


def _print(console: Console, *lines: str) -> None:
    from camfaith.reports import decision

    for line in lines:
        indent = " " * (len(line) - len(line.lstrip()))
        console.print(indent + decision.clean(line), markup=False, highlight=False, soft_wrap=True)
