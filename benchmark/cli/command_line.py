"""The command `camfaith`: every verb is one function of the package."""

from __future__ import annotations

import atexit
import gc
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any

import typer

from camfaith.benchmark.cli.arguments import Data, entries, listed, number
from camfaith.benchmark.cli.check import check
from camfaith.benchmark.cli.claims import claims
from camfaith.benchmark.cli.compare import Deciding, baseline, compare
from camfaith.benchmark.cli.errors import errors_in_one_line
from camfaith.benchmark.cli.explain import explain
from camfaith.benchmark.cli.finetune import finetune
from camfaith.benchmark.cli.gate import gate
from camfaith.benchmark.cli.progress import KeepMemory, prepare_memory, progress_shown

app = typer.Typer(
    help="Tells whether a class activation map shows what an image classifier really used.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SuiteName = Annotated[str, typer.Argument(help="The name of a shipped suite (quick), or a TOML file.")]
Methods = Annotated[str | None, typer.Option(help="Methods instead of the suite's: gradcam,gradcam++(variant=pgc).")]
Metrics = Annotated[str | None, typer.Option(help="Metrics instead of the suite's: deletion(steps=32),road.")]
Models = Annotated[str | None, typer.Option(help="Comma-separated models instead of the suite's.")]
Allow = Annotated[
    str | None, typer.Option(help="Comma-separated: fold, tf32, bf16, compile. Faster; they change numbers.")
]
Limit = Annotated[int | None, typer.Option(help="At most so many samples of each data set.", min=1)]
Workers = Annotated[int, typer.Option(help="So many processes share the work.", min=1)]
WriteReport = Annotated[bool, typer.Option(help="Write the report when the run is done.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"camfaith {installed('camfaith')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    suite: SuiteName,
    out: Annotated[Path | None, typer.Option(help="The run's folder; what it holds is not computed again.")] = None,
    data: Data = None,
    limit: Limit = None,
    methods: Methods = None,
    metrics: Metrics = None,
    models: Models = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    target: Annotated[str | None, typer.Option(help="predicted, label, second, or a class index or name.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; auto takes a GPU where there is one.")] = None,
    allow: Allow = None,
    until: Annotated[str | None, typer.Option(help="all; separated stops a cell when its place is settled.")] = None,
    keep_memory: KeepMemory = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew, whatever run the folder holds.")] = False,
    workers: Workers = 1,
    report: WriteReport = True,
) -> None:
    """Run a suite: scores, curves, maps and a report into one folder. What the folder holds is not computed again."""
    with errors_in_one_line():
        asked, changes = _suite(suite, data), _changes(methods, metrics, models)
        from camfaith.benchmark.running.runner import new_folder
        from camfaith.benchmark.running.runner import run as run_suite

        prepare_memory(keep_memory)
        folder = out or new_folder(Path(suite).stem)
        with progress_shown(f"the same command with --out {folder} goes on where this one stopped") as told:
            result = run_suite(
                asked,
                out=folder,
                limit=limit,
                seed=seed,
                target=None if target is None else number(target),
                device=device,
                allow=listed(allow),
                until=until,
                overwrite=overwrite,
                workers=workers,
                progress=told,
                **changes,
            )
        _show(result, report)


def _suite(name: str, data: str | None) -> Any:
    """The suite, read and checked before torch is imported."""
    from camfaith.benchmark.suite.declaration import Suite

    return Suite.of(name, data=data)


def _changes(methods: str | None, metrics: str | None, models: str | None) -> dict[str, Any]:
    return {"methods": entries(methods), "metrics": entries(metrics), "models": listed(models)}


@app.command()
def add(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    methods: Annotated[str | None, typer.Option(help="More methods: mycam.py:MyCAM,gradcam++(variant=pgc).")] = None,
    metrics: Annotated[str | None, typer.Option(help="More metrics: road,aopc(steps=8).")] = None,
    models: Annotated[str | None, typer.Option(help="More models, comma-separated.")] = None,
    limit: Annotated[int | None, typer.Option(help="The new limit of every data set.", min=1)] = None,
    keep_memory: KeepMemory = True,
    workers: Workers = 1,
    report: WriteReport = True,
) -> None:
    """Add methods, metrics, models or samples to a run: only what is missing is computed."""
    with errors_in_one_line():
        from camfaith.benchmark.running.adding import add as add_to

        prepare_memory(keep_memory)
        with progress_shown("the same command goes on where this one stopped") as told:
            result = add_to(
                run,
                methods=entries(methods) or (),
                metrics=entries(metrics) or (),
                models=listed(models) or (),
                limit=limit,
                workers=workers,
                progress=told,
            )
        _show(result, report)


def _show(result: Any, report: bool) -> None:
    from camfaith.benchmark.cli.terminal import show_result

    show_result(result)
    typer.echo(f"results: {result.path}")
    if report:
        _report(result)
    for who, why in result.failing.items():
        typer.echo(f"error: {who} failed on every sample: {why}", err=True)
    if not result.has_values:
        typer.echo("error: the run yields no value at all", err=True)
    if result.failing or not result.has_values:
        raise typer.Exit(1)


@app.command()
def plan(
    suite: SuiteName,
    data: Data = None,
    limit: Limit = None,
    methods: Methods = None,
    metrics: Metrics = None,
    models: Models = None,
    allow: Allow = None,
    out: Annotated[Path | None, typer.Option(help="The folder of a run: what it lacks.")] = None,
    keep_memory: KeepMemory = True,
) -> None:
    """Show what a suite would cost, or what a run lacks of it, without running it: calls, time, memory and disk."""
    with errors_in_one_line():
        asked, changes = _suite(suite, data), _changes(methods, metrics, models)
        from camfaith.benchmark.cli.terminal import show_plan
        from camfaith.benchmark.running.planning import plan as plan_suite

        prepare_memory(keep_memory)
        planned = plan_suite(asked, limit=limit, allow=listed(allow), out=out, **changes)
        show_plan(suite, planned)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="Where to write, instead of the run's own folder.")] = None,
) -> None:
    """Write the HTML page, the tables (CSV, Markdown, LaTeX) and the figures (PDF, SVG, PNG) of a run."""
    with errors_in_one_line():
        from camfaith.benchmark.results.store import load

        _report(load(run), out)


app.command()(explain)
app.command()(check)
app.command()(finetune)
app.command(cls=Deciding)(compare)
app.command()(baseline)
app.command()(claims)
app.command(cls=Deciding)(gate)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="methods, metrics, presets, models, datasets, suites or claims.")] = "",
) -> None:
    """List the names that may stand in a suite, the claims that ship, and which metrics to report."""
    with errors_in_one_line():
        from camfaith.benchmark.claims.declaration import shipped_claims
        from camfaith.benchmark.suite.catalogue import known_names
        from camfaith.benchmark.validity.choosing import which_to_report
        from camfaith.methods.adapters import missing

        names = known_names() | {"claims": list(shipped_claims())}
        if what and what not in names:
            from camfaith.models.lookup import UnknownName

            raise UnknownName("list", what, names)
        for kind in [what] if what else names:
            typer.echo(f"{kind}: {', '.join(names[kind])}")
            if kind == "methods":
                for advice in missing():
                    typer.echo(advice)
            if kind == "metrics":
                for advice in which_to_report():
                    typer.echo(advice)


def _report(result: Any, out: Path | None = None) -> None:
    from camfaith.reports import report as write_report

    typer.echo(f"report: {write_report(result, out=out)}")


def main() -> None:
    """The console command. Its process seldom collects garbage, and never at its end: while torch is imported there is
    none to find, and the searches would take a second."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    app()
