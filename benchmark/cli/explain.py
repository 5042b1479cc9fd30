"""The command that explains one picture."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from camfaith.benchmark.cli.arguments import Data, entries, listed, number
from camfaith.benchmark.cli.errors import errors_in_one_line


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
    with errors_in_one_line():
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
