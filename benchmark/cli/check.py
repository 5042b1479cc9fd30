"""The command that checks methods."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camfaith.benchmark.cli.errors import errors_in_one_line


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Methods: package.module:Class, file.py:Class, gradcam (shipped), pgc:..., torchcam:..., zennit:..."
        ),
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of theirs, as variant=pgc; may be said again.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="The method whose maps they must equal.")] = None,
    like_given: Annotated[
        list[str] | None, typer.Option("--like-set", help="A setting of the method that --like names.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All shipped methods, and those of grad-cam and torchcam.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A Markdown page to write the results to.")] = None,
) -> None:
    """Check what a CAM of your own owes its users; exit code 1 where it fails."""
    from rich.console import Console

    console = Console(emoji=False)
    with errors_in_one_line():
        from camfaith.benchmark.conformance import report as conformance
        from camfaith.benchmark.results.files import write_whole
        from camfaith.benchmark.suite.settings import read_settings

        asked = [*(names or []), *(conformance.everything() if every else [])]
        if not asked:
            raise ValueError("name a method to check, as package.module:Class, or say --all")
        if like_given and like is None:
            raise ValueError("--like-set needs --like")
        equal = None if like is None else {"name": like, **read_settings(like_given or ())}
        reports = []
        for name in asked:
            reports.append(conformance.check_method(name, like=equal, **read_settings(given or ())))
            conformance.show(reports[-1], console, briefly=len(asked) > 1)
        if out is not None:
            write_whole(out, conformance.page(reports))
    if not all(report.passed for report in reports):
        raise typer.Exit(1)
