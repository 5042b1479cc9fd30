"""Reads the words of a command line: lists, names with settings, numbers."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

Data = Annotated[str | None, typer.Option(help="The folder that ${data} stands for in the suite.")]


def listed(text: str | None) -> list[str] | None:
    """The texts between commas."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def number(text: str) -> str | int:
    """A whole number, or the text."""
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else text


def entries(text: str | None) -> list[str | dict[str, Any]] | None:
    """Names between commas, each with its settings, if any, in parentheses: `gradcam, gradcam++(variant=pgc),
    fused(layers=["layer3", "layer4"])`; settings alone are a table without a name: `(preset=rise)`."""
    from camfaith.benchmark.suite.settings import read_settings

    if text is None:
        return None
    found: list[str | dict[str, Any]] = []
    for part in _parts(text):
        name, opened, given = part.partition("(")
        if opened and part.endswith(")"):
            named = {"name": name.strip()} if name.strip() else {}
            found.append({**named, **read_settings(_parts(given[:-1]))})
        else:
            found.append(part)
    return found


def _parts(text: str) -> list[str]:
    """The texts between commas, except commas in brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]
