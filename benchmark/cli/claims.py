"""The command that checks sentences against a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from camfaith.benchmark.cli.errors import errors_in_one_line


def claims(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    file: Annotated[str, typer.Argument(help="The name of claims that ship, or a TOML file.", metavar="CLAIMS")],
    called: Annotated[
        list[str] | None,
        typer.Option("--as", help="vgg19=fundus-vgg: what a name in the claims is called in the run. Repeat."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where to write, instead of RUN/report/claims.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check sentences about explanations against a run: each is supported, contradicted or undecided, by a test."""
    with errors_in_one_line():
        from camfaith.benchmark.claims.checking import check_claims
        from camfaith.reports import claims_page

        found = check_claims(run, file, _names(called or ()))
        page = claims_page(found, out)
        if as_json:
            typer.echo(found.to_json())
        else:
            _show(found)
            typer.echo(f"claims: {page}")


def _names(pairs: Sequence[str]) -> dict[str, str]:
    """What names in the claims are called in the run, which may hold "=" itself."""
    found = {}
    for pair in pairs:
        name, sign, label = pair.partition("=")
        if not (name.strip() and sign and label.strip()):
            raise ValueError(f"--as takes NAME=LABEL, as vgg19=fundus-vgg; got {pair!r}")
        found[name.strip()] = label.strip()
    return found


def _show(found: Any) -> None:
    """Print each sentence with its rows."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from camfaith.reports.claims import HEADS, headline, rule, sentences
    from camfaith.reports.decision import clean

    styles = {"supported": "green", "contradicted": "bold red", "undecided": "yellow"}
    console = Console(emoji=False)
    for sentence in sentences(found):
        console.print(Text(f"\n{sentence.text}", "bold"), Text(sentence.summary, styles.get(sentence.verdict, "")))
        for reading in sentence.readings:
            console.print(Text(f"  {reading.text}"), Text(f"  {clean(reading.compared)}", "dim"), sep="\n")
            table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
            for head in ("model on data set", *HEADS[2:8]):
                side: Any = "right" if head in HEADS[2:7] else "left"
                table.add_column(head, overflow="fold", justify=side, no_wrap=head in ("n", "p", "verdict"))
            for model, dataset, *others, verdict, _ in reading.rows:
                told = [Text(clean(text)) for text in (f"{model} on {dataset}", *others)]
                table.add_row(*told, Text(verdict, styles[verdict]))
            console.print(table)
            for model, dataset, *_, reason in reading.rows:
                if reason:
                    console.print(Text(clean(f"  {model} on {dataset}: {reason}."), "dim"))
    console.print(*(Text(clean(line), "dim") for line in rule(found)), sep="\n")
    console.print(Text(clean(headline(found)), "bold"))
