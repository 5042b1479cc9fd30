"""The command that checks methods and metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camfaith.benchmark.cli.errors import errors_in_one_line


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Methods and metrics: package.module:Class, file.py:Class, gradcam and deletion (shipped), pgc:..., "
            "torchcam:..., zennit:..."
        ),
    ] = None,
    given: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of theirs, as variant=pgc; may be said again.")
    ] = None,
    like: Annotated[str | None, typer.Option(help="The method whose maps a method must equal.")] = None,
    like_given: Annotated[
        list[str] | None, typer.Option("--like-set", help="A setting of the method that --like names.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All shipped methods and metrics, and the methods of grad-cam and torchcam.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="A Markdown page to write the results to.")] = None,
) -> None:
    """Check what a CAM, or a metric, of your own owes its users; exit code 1 where it fails."""
    from rich.console import Console

    console = Console(emoji=False)
    with errors_in_one_line():
        from camfaith.benchmark.conformance import Report, check_method, check_metric
        from camfaith.benchmark.conformance.naming import sort_of
        from camfaith.benchmark.conformance.page import everything, page
        from camfaith.benchmark.conformance.report import show
        from camfaith.benchmark.results.files import write_whole
        from camfaith.benchmark.suite.settings import read_settings

        asked = {name: sort_of(name) for name in [*(names or []), *(everything() if every else [])]}
        if not asked:
            raise ValueError("name a method or metric to check, as package.module:Class, or say --all")
        if like_given and like is None:
            raise ValueError("--like-set needs --like")
        if like is not None and "metric" in asked.values():
            raise ValueError("--like is for methods: a metric has no maps to compare")
        settings = read_settings(given or ())
        equal = None if like is None else {"name": like, **read_settings(like_given or ())}
        reports: dict[str, list[Report]] = {"method": [], "metric": []}
        for name, sort in asked.items():
            of_method = sort == "method"
            found = check_method(name, like=equal, **settings) if of_method else check_metric(name, **settings)
            reports[sort].append(found)
            show(found, console, briefly=len(asked) > 1)
        if out is not None:
            write_whole(out, page(reports["method"], reports["metric"]))
    if not all(report.passed for found in reports.values() for report in found):
        raise typer.Exit(1)
