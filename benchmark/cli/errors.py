"""How a command reports errors and warnings."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer


@contextmanager
def errors_in_one_line(code: int = 2) -> Iterator[None]:
    """Turns the package's own errors into one line and this exit code, Ctrl-C into exit code 130, and warnings into one
    line each; any other error keeps its traceback."""
    with warnings.catch_warnings():
        warnings.showwarning = _show
        try:
            yield
        except (ValueError, OSError) as error:
            typer.echo(_safe(f"error: {error}"), err=True)
            raise typer.Exit(code) from None
        except KeyboardInterrupt:
            typer.echo("stopped", err=True)
            raise typer.Exit(130) from None


def _show(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(_safe(f"warning: {message}"), err=True)


def _safe(text: str) -> str:
    """Text without what steers a terminal: names of samples and classes come from elsewhere."""
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "�" for sign in text)
