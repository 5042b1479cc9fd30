"""The command that trains a network for the classes of a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from camfaith.benchmark.cli.arguments import entries
from camfaith.benchmark.cli.errors import errors_in_one_line
from camfaith.benchmark.cli.progress import KeepMemory, prepare_memory, progress_shown


def finetune(
    model: Annotated[
        str, typer.Option(help="A network: efficientnet_b0, timm:NAME, or file.py:function(mean=[...], std=[...]).")
    ],
    dataset: Annotated[str, typer.Option(help='A data set with its settings: aptos2019, csv(path="table.csv").')],
    root: Annotated[Path | None, typer.Option(help="The data set's folder.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The network's folder, then a model's name; else networks/DATASET/MODEL.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(help="DEFAULT (downloads), a file, or none; left out: what is on this disk, else none."),
    ] = None,
    head: Annotated[str, typer.Option(help="softmax, or ordinal for classes in an order, as grades.")] = "softmax",
    size: Annotated[
        int | None, typer.Option(help="Pixels of each side; left out: 224, 96 for a network that ships.", min=1)
    ] = None,
    split: Annotated[
        Path | None, typer.Option(help="The file of train, val and test; left out: split.csv beside the folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many samples.", min=1)] = None,
    epochs: Annotated[int | None, typer.Option(help="Left out: 20, 10 for ham10000 and skin.", min=1)] = None,
    patience: Annotated[int | None, typer.Option(help="Epochs without progress; left out: 3.", min=1)] = None,
    batch: Annotated[int | None, typer.Option(help="Pictures a step; left out: 32.", min=3)] = None,
    rate: Annotated[float | None, typer.Option(help="Adam's learning rate; left out: 0.001.")] = None,
    balance: Annotated[
        str | None, typer.Option(help="How classes come to count alike: weights, sampler, none; left out: weights.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0)] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda; auto takes a GPU where there is one.")] = "auto",
    keep_memory: KeepMemory = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew, whatever the folder holds.")] = False,
    report: Annotated[bool, typer.Option(help="Write the page when the network is trained.")] = True,
) -> None:
    """Train a network for the classes of a data set, and judge it. What was stopped goes on by the same command."""
    with errors_in_one_line():
        from camfaith.benchmark.training.finetune import finetune as train

        prepare_memory(keep_memory)
        with progress_shown("the same command goes on after the last whole epoch", "pictures") as told:
            found = train(
                _one("--model", model),
                _one("--dataset", dataset),
                root=root,
                out=out,
                weights=weights,
                head=head,
                size=size,
                split=split,
                limit=limit,
                epochs=epochs,
                patience=patience,
                batch=batch,
                rate=rate,
                balance=balance,  # type: ignore[arg-type]
                seed=seed,
                device=device,
                overwrite=overwrite,
                progress=told,
            )
        _show(found)
        if report:
            from camfaith.reports import training_report

            typer.echo(f"report: {training_report(found.path)}")


def _one(option: str, text: str) -> str | dict[str, Any]:
    found = entries(text) or []
    if len(found) != 1:
        raise ValueError(f"{option} takes one name, with its settings in parentheses; got {text!r}")
    return found[0]


def _show(found: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from camfaith.benchmark.training.recipe import best_epoch

    best = best_epoch(found.history.to_dict("records")) + 1
    typer.echo(f"epochs: {len(found.history)}, the best is number {best}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("part", "pictures", "accuracy", "balanced accuracy", "quadratic kappa", "macro F1", "ECE"):
        table.add_column(name, justify="left" if name == "part" else "right")
    for part, each in found.evaluation.items():
        shares = (each.accuracy, each.balanced_accuracy, each.kappa, each.macro_f1, each.ece)
        table.add_row(part, f"{each.n:,}", *(f"{share:.3f}" for share in shares))
    Console().print(table)
    typer.echo(f"network: {found.path}; explain it with --models {found.path}")
