"""The command that gates a method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from camfaith.benchmark.cli.arguments import Data, entries, listed
from camfaith.benchmark.cli.compare import MISUSED
from camfaith.benchmark.cli.errors import errors_in_one_line
from camfaith.benchmark.cli.progress import KeepMemory, prepare_memory, progress_shown


def gate(
    method: Annotated[str | None, typer.Argument(help="file.py:Class, package.module:Class, or a name.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="The file of the method's earlier values.")] = None,
    like: Annotated[str | None, typer.Option(help="A method behind which it must not fall.")] = None,
    suite: Annotated[str | None, typer.Option(help="A shipped suite (quick, if left out), or a TOML file.")] = None,
    data: Data = None,
    metrics: Annotated[
        str | None, typer.Option(help="Metrics instead of the suite's: deletion(steps=32),road.")
    ] = None,
    models: Annotated[str | None, typer.Option(help="Comma-separated models instead of the suite's.")] = None,
    margin: Annotated[
        list[str] | None, typer.Option(help="What it may lose: 5%, 0.02, deletion=0.02; may be said again.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many samples of each data set.", min=1)] = None,
    update: Annotated[bool, typer.Option("--update", help="Write the baseline instead of comparing with it.")] = False,
    out: Annotated[Path | None, typer.Option(help="The run's folder, which stays and grows (runs/gate).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="A Markdown file to write, as for a pull request.")] = None,
    keep_memory: KeepMemory = True,
) -> None:
    """Ask whether a CAM of yours became worse than its baseline, than another method, or than both.

    What is not said is read from the table [tool.camfaith.gate] of pyproject.toml. Exit code: 0 passed or improved, 1
    regressed, 2 inconclusive, 3 not comparable, 4 asked wrongly.
    """
    with errors_in_one_line(MISUSED):
        from camfaith.benchmark.gating.settings import declared

        said: dict[str, Any] = {"suite": suite, "data": data, "limit": limit, "margin": margin, "baseline": baseline}
        said |= {"metrics": entries(metrics), "models": listed(models)}
        said |= {"method": _one(method), "like": _one(like)}
        asked = declared().given() | {name: value for name, value in said.items() if value is not None}
        if "method" not in asked:
            raise ValueError(
                "name a method, as file.py:Class, here or as `method` in [tool.camfaith.gate] of pyproject.toml"
            )
        from camfaith.benchmark.gating.loop import NoBaseline
        from camfaith.benchmark.gating.loop import gate as ask

        prepare_memory(keep_memory)
        try:
            with progress_shown("the same command goes on where this one stopped") as told:
                found = ask(asked.pop("method"), update=update, out=out, progress=told, **asked)
        except NoBaseline as error:
            raise ValueError(f"{error}: the same command with --update writes it; commit it") from None
        from rich.console import Console

        from camfaith.benchmark.results.files import write_whole

        if as_json:
            typer.echo(found.to_json())
        else:
            found.show(Console(emoji=False))
        if markdown is not None:
            write_whole(markdown, found.markdown())
    raise typer.Exit(found.exit_code)


def _one(text: str | None) -> Any:
    """A name with its settings, as `gradcam++(variant=pgc)`."""
    found = entries(text)
    if found is not None and len(found) != 1:
        raise ValueError(f"expected one method, got {text!r}")
    return None if found is None else found[0]
