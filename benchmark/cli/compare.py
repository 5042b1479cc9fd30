"""The commands that compare, and that keep what is compared with."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Abort, Exit
from typer.core import TyperCommand

from camfaith.benchmark.cli.errors import errors_in_one_line

MISUSED = 4
"""The exit code of what could not be asked: 2 is a verdict here."""


UsageError: Any = typer.BadParameter.__base__  # of click, or of typer's own copy of it


class Deciding(TyperCommand):
    """A command whose exit codes 0 to 3 are verdicts, so that a crash, which Python ends with 1, is none of them."""

    def make_context(self, *given: Any, **settings: Any) -> Any:
        try:
            return super().make_context(*given, **settings)
        except UsageError as error:
            error.exit_code = MISUSED
            raise

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except (UsageError.__base__, Exit, Abort):
            raise
        except Exception:
            traceback.print_exc()
            raise Exit(MISUSED) from None


def compare(
    base: Annotated[str, typer.Argument(help="A run's folder, or a baseline's file.")],
    candidate: Annotated[
        str | None, typer.Argument(help="The same; left out: two methods of the base, with --method A=B.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A: this method of both; A=B: the base's A with the candidate's B. Repeat.")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="deletion, or deletion:auc_relative; left out: all with a direction. Repeat."),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(
            help="The greatest loss that passes: 0.02, or 5% of the distance from random to the best known map; "
            "deletion=0.02 for one metric; calls=2 for twice the network's calls. Repeat.  [default: 5%]"
        ),
    ] = None,
    level: Annotated[float, typer.Option(help="The share of false claims, over all rows.")] = 0.05,
    exact: Annotated[bool, typer.Option("--exact", help="Ask for equal scores and maps: for a refactoring.")] = False,
    tolerance: Annotated[float | None, typer.Option(help="With --exact: the greatest difference that is none.")] = None,
    picture: Annotated[
        Path | None, typer.Option(help="With --exact: where the first map that differs is drawn (.png, .pdf, .svg).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="A file for the summary of a pull request.")] = None,
) -> None:
    """Tell whether a method got worse.

    Exit code: 0 passed or improved, 1 regressed, 2 inconclusive, 3 not comparable, 4 asked wrongly.
    """
    from rich.console import Console

    with errors_in_one_line(MISUSED):
        from camfaith.benchmark.results.files import write_whole
        from camfaith.reports import decision

        found: Any
        if exact:
            from camfaith.benchmark.results.exact import exact as compare_exactly

            if margin or metric:
                raise ValueError("--exact compares all metrics, without margins: leave out --margin and --metric")
            if picture is not None:
                from camfaith.reports.panels import destination

                destination(picture)
            found = compare_exactly(base, candidate, methods=method or (), tolerance=tolerance or 0.0)
        else:
            from camfaith.benchmark.results.comparison import compare as compare_sides
            from camfaith.benchmark.results.margins import Margins

            if tolerance is not None or picture is not None:
                raise ValueError("--tolerance and --picture need --exact")
            margins = Margins.read(margin or ())
            found = compare_sides(base, candidate, margins, methods=method or (), metrics=metric or None, level=level)
        if as_json:
            typer.echo(found.to_json())
        else:
            decision.show(found, Console(emoji=False))
        if markdown is not None:
            write_whole(markdown, decision.markdown(found))
        if exact and found.first_map is not None:
            _draw(found.first_map, picture, Path(candidate or base).resolve())
    raise typer.Exit(found.exit_code)


def _draw(first: Any, picture: Path | None, run: Path) -> None:
    """Draw the first map that differs; a place that nobody asked for may be closed to writing."""
    from camfaith.reports.before_after import save

    try:
        where = save(first, picture or run.with_name(f"{run.name}-first-difference.png"))
        typer.echo(f"picture: {where}", err=True)
    except OSError as error:
        if picture is not None:
            raise
        typer.echo(f"no picture: {error}; give a place with --picture", err=True)


def baseline(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    file: Annotated[Path, typer.Argument(help="The Parquet file to write, for your repository.")],
    method: Annotated[str | None, typer.Option(help="Which method; left out: the only one that is no control.")] = None,
) -> None:
    """Keep what a method got in a run, to compare with later: camfaith compare FILE RUN."""
    with errors_in_one_line():
        from camfaith.benchmark.results.baseline import read_baseline, write_baseline

        written = read_baseline(write_baseline(run, file, method))
        size, samples = file.stat().st_size / 1000, len(written.samples)
        typer.echo(
            f"baseline: {file} ({written.label}, {samples:,} samples, {len(written.metrics)} metrics, {size:.0f} kB)"
        )
