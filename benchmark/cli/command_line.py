"""The command `camfaith`: every verb is one function of the package."""

from __future__ import annotations

import atexit
import gc
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from camfaith.benchmark.cli.arguments import entries, listed, number

app = typer.Typer(
    help="Tells whether a class activation map shows what an image classifier really used.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SuiteName = Annotated[str, typer.Argument(help="The name of a shipped suite (quick), or a TOML file.")]
Data = Annotated[str | None, typer.Option(help="The folder that ${data} stands for in the suite.")]
Methods = Annotated[str | None, typer.Option(help="Methods instead of the suite's: gradcam,gradcam++(variant=pgc).")]
Metrics = Annotated[str | None, typer.Option(help="Metrics instead of the suite's: deletion(steps=32),road.")]
Models = Annotated[str | None, typer.Option(help="Comma-separated models instead of the suite's.")]
Allow = Annotated[
    str | None, typer.Option(help="Comma-separated: fold, tf32, bf16, compile. Faster; they change numbers.")
]
KeepMemory = Annotated[
    bool, typer.Option(help="Keep freed memory for the next batch (glibc): faster on a CPU, the same numbers.")
]
Limit = Annotated[int | None, typer.Option(help="At most so many samples of each data set.", min=1)]
Workers = Annotated[int, typer.Option(help="So many processes share the work.", min=1)]
Report = Annotated[bool, typer.Option(help="Write the report when the run is done.")]


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
    report: Report = True,
) -> None:
    """Run a suite: scores, curves, maps and a report into one folder. What the folder holds is not computed again."""
    with _errors():
        from camfaith.benchmark.running.runner import new_folder
        from camfaith.benchmark.running.runner import run as run_suite

        _prepare_memory(keep_memory)
        folder = out or new_folder(Path(suite).stem)
        with _progress(f"the same command with --out {folder} goes on where this one stopped") as told:
            result = run_suite(
                suite,
                out=folder,
                data=data,
                limit=limit,
                methods=entries(methods),
                metrics=entries(metrics),
                models=listed(models),
                seed=seed,
                target=None if target is None else number(target),
                device=device,
                allow=listed(allow),
                until=until,
                overwrite=overwrite,
                workers=workers,
                progress=told,
            )
        _show(result, report)


@app.command()
def add(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    methods: Annotated[str | None, typer.Option(help="More methods: mycam.py:MyCAM,gradcam++(variant=pgc).")] = None,
    metrics: Annotated[str | None, typer.Option(help="More metrics: road,aopc(steps=8).")] = None,
    models: Annotated[str | None, typer.Option(help="More models, comma-separated.")] = None,
    limit: Annotated[int | None, typer.Option(help="The new limit of every data set.", min=1)] = None,
    keep_memory: KeepMemory = True,
    workers: Workers = 1,
    report: Report = True,
) -> None:
    """Add methods, metrics, models or samples to a run: only what is missing is computed."""
    with _errors():
        from camfaith.benchmark.running.adding import add as add_to

        _prepare_memory(keep_memory)
        with _progress("the same command goes on where this one stopped") as told:
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


@contextmanager
def _progress(advice: str) -> Iterator[Any]:
    """A bar on the terminal, as `progress` of a run; on Ctrl-C the advice."""
    from rich.console import Console
    from rich.progress import Progress

    try:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("loading", total=None)
            yield lambda done, total, what: bar.update(task, completed=done, total=total, description=what)
    except KeyboardInterrupt:
        typer.echo(f"stopped; {advice}", err=True)
        raise typer.Exit(130) from None


def _show(result: Any, report: bool) -> None:
    from camfaith.benchmark.cli.terminal import show_result

    show_result(result)
    typer.echo(f"results: {result.path}")
    if report:
        _report(result)


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
    with _errors():
        from camfaith.benchmark.cli.terminal import show_plan
        from camfaith.benchmark.running.planning import plan as plan_suite

        _prepare_memory(keep_memory)
        planned = plan_suite(
            suite,
            data=data,
            limit=limit,
            methods=entries(methods),
            metrics=entries(metrics),
            models=listed(models),
            allow=listed(allow),
            out=out,
        )
        show_plan(suite, planned)


def _prepare_memory(keep: bool) -> None:
    """This process is the run's own, so it may be told to keep its memory."""
    if keep:
        from camfaith.models.speed.allocator import keep_memory

        keep_memory()


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="Where to write, instead of the run's own folder.")] = None,
) -> None:
    """Write the HTML page, the tables (CSV, Markdown, LaTeX) and the figures (PDF, SVG, PNG) of a run."""
    with _errors():
        from camfaith.benchmark.results.store import load

        _report(load(run), out)


@app.command()
def explain(
    image: Annotated[str, typer.Argument(help="A picture file, or a sample that ships with the package (fundus:3).")],
    out: Annotated[Path, typer.Option(help="The file to write: .png, .pdf or .svg.")],
    model: Annotated[
        str | None,
        typer.Option(
            help="A name, package.module:function, file.py:function, or a suite with one model (TOML); left out: the "
            "model that ships for a sample, else torchvision's most accurate with weights on this disk."
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(help="Methods, as gradcam,gradcam++(variant=pgc); left out: five that share a pass.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="Comma-separated class names or indices; predicted is the predicted class.")
    ] = "predicted",
    weights: Annotated[
        str | None, typer.Option(help="The model's weights: a file, a torchvision name, or none.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="The target layer; left out: the last with a spatial output.")
    ] = None,
    signed: Annotated[
        bool, typer.Option("--signed", help="Show both signs of the raw maps: red for the class, blue against it.")
    ] = False,
    data: Data = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...; auto takes a GPU where there is one.")] = "auto",
) -> None:
    """Explain one picture: the maps of several methods for several classes, side by side in one file."""
    with _errors():
        from camfaith.benchmark.picture.side_by_side import METHODS, NoModel
        from camfaith.benchmark.picture.side_by_side import explain as explain_picture
        from camfaith.reports.panels import destination, draw, write

        if destination(out).exists() and Path(image).exists() and out.samefile(image):
            raise ValueError(f"{out} is the picture itself; give another file to write")
        named = entries(methods)
        try:
            found = explain_picture(
                image,
                model=model,
                methods=METHODS if named is None else named,
                classes=[number(name) for name in listed(classes) or ()],
                weights=weights,
                layer=layer,
                signed=signed,
                data=data,
                device=device,
            )
        except NoModel as error:
            asked = {"--model": "resnet50", "--weights": "DEFAULT", "--methods": methods, "--classes": classes}
            asked |= {"--layer": layer, "--out": str(out)}
            words = [word for option, value in asked.items() if value is not None for word in (option, value)]
            command = shlex.join(["camfaith", "explain", image, *words, *["--signed"] * signed])
            raise ValueError(f"{error}, as in\n\n    {command}\n") from error
        if model is None:
            typer.echo(f"model: {found.model}, as none is named", err=True)
        for method, why in found.missing:
            typer.echo(f"{method}: {why}", err=True)
        typer.echo(f"picture: {write(draw(found), out)}")


@app.command()
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
    with _errors():
        from camfaith.benchmark.conformance import report as conformance
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
            out.write_text(conformance.page(reports), "utf-8")
    if not all(report.passed for report in reports):
        raise typer.Exit(1)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="methods, metrics, models, datasets or suites.")] = "",
) -> None:
    """List the names that may stand in a suite."""
    with _errors():
        from camfaith.benchmark.suite.catalogue import known_names
        from camfaith.methods.adapters import missing

        names = known_names()
        if what and what not in names:
            from camfaith.models.lookup import UnknownName

            raise UnknownName("list", what, names)
        for kind in [what] if what else names:
            typer.echo(f"{kind}: {', '.join(names[kind])}")
            if kind == "methods":
                for advice in missing():
                    typer.echo(advice)


def _report(result: Any, out: Path | None = None) -> None:
    from camfaith.reports import report as write_report

    typer.echo(f"report: {write_report(result, out=out)}")


class _errors:
    """Turns the package's own errors into one line and an exit code; anything else keeps its traceback."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ValueError | OSError):
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None


def main() -> None:
    """The console command. Its process seldom searches for garbage, least of all while torch is imported or at its own
    end: a second of a run's wall time, and nothing for it to find."""
    gc.set_threshold(100_000, 20, 20)
    atexit.register(gc.freeze)
    app()
