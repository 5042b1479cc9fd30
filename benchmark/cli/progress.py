"""How a command tells of a run as it goes on, and the memory it keeps meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

KeepMemory = Annotated[
    bool, typer.Option(help="Keep freed memory for the next batch (glibc): faster on a CPU, the same numbers.")
]


def prepare_memory(keep: bool) -> None:
    """The process belongs to the run, so it may keep its memory."""
    if keep:
        from camfaith.models.speed.allocator import keep_memory

        keep_memory()


@contextmanager
def progress_shown(advice: str, unit: str = "forwards") -> Iterator[Any]:
    """Shows `progress` as a bar on the terminal, as a line now and then elsewhere; on Ctrl-C the advice."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    try:
        if not console.is_terminal:
            lines = _Lines(unit)
            yield lines.tell
            if lines.told is None:
                typer.echo("nothing is missing", err=True)
            return
        with Progress(console=console) as bar:
            task = bar.add_task("loading", total=None)
            try:
                yield lambda done, total, what: bar.update(task, completed=done, total=total, description=escape(what))
            except Exception:
                bar.remove_task(task)  # the error alone is shown
                raise
            if bar.tasks[0].total is None:
                bar.update(task, completed=1, total=1, description="nothing is missing")
    except KeyboardInterrupt:
        typer.echo(f"stopped; {advice}", err=True)
        raise typer.Exit(130) from None


class _Lines:
    """Says how far a run is, at its beginning and whenever 20 seconds have passed."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self.told: float | None = None

    def tell(self, done: int, total: int, what: str) -> None:
        if self.told is None or time.monotonic() - self.told >= 20:
            self.told = time.monotonic()
            typer.echo(f"{what}: {done:,} of {total:,} {self._unit} ({done / total:.0%})", err=True)
