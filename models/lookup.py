"""Finding things by name: shipped names, entry points, `module:attribute` and `file.py:attribute`."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, get_type_hints

from camfaith.models.errors import in_one_line, own_frame


class UnknownName(ValueError):
    """An unknown name; the message gives the nearest known ones: those that hold it as a word, else those spelt
    alike."""

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = [known for known in names if name.casefold() in re.split(r"[\W_]+", known.casefold())]
        near = sorted(near, key=lambda known: known.casefold() != name.casefold())[:8]
        near = near or difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        guess = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        listed = ", ".join(names) if len(names) <= 40 else f"{', '.join(names[:8])}, ... ({len(names)} in all)"
        super().__init__(f"unknown {what} {name!r}: {guess}known: {listed or 'none'}{'; ' + hint if hint else ''}")


def load_attribute(path: str) -> Any:
    """The object that `package.module:attribute` or `path/to/file.py:attribute` names."""
    where, _, attribute = path.rpartition(":")
    if not where or not attribute:
        raise ValueError(f"expected 'package.module:attribute' or 'path/to/file.py:attribute', got {path!r}")
    module = _load_file(Path(where), path) if where.endswith(".py") else _import(where, path)
    try:
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError:
        raise UnknownName(f"attribute of {where}", attribute, (n for n in vars(module) if n[0] != "_")) from None
    return found


def _import(module: str, path: str) -> Any:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"cannot import {path!r}: {error}; install the package, or start from the folder that holds it"
        ) from error
    except Exception as error:
        raise failed(f"cannot import {path!r}", error) from error


def _load_file(file: Path, path: str) -> Any:
    if not file.is_file():
        raise FileNotFoundError(f"no Python file at {file}")
    name = f"camfaith_user_{file.stem}_{abs(hash(str(file.resolve())))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ValueError(f"cannot load {file} as a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception):
            raise failed(f"cannot import {path!r}", error) from error
        raise
    return module


def failed(what: str, error: Exception) -> ValueError:
    """The error for somebody's own code: what it raised, and in which line of it."""
    last = own_frame(traceback.extract_tb(error.__traceback__)[1:])
    line = f" ({Path(last.filename).name}, line {last.lineno})" if last else ""
    return ValueError(f"{what}: {in_one_line(error)}{line}")


def resolve(what: str, name: str, shipped: Mapping[str, str], owes: Sequence[str] = ()) -> Any:
    """The object behind `name`: shipped (`{name: "module:attribute"}`), an entry point of the group
    `camfaith.<what>s`, or `module:attribute`.

    Raises `UnknownName` with the nearest known names, and `ValueError` for an object that is no class with all that a
    `what` owes ("this or that" is one of both), nor a function that says in its annotation that it returns one: what a
    suite names is called, and `os:system` is no metric.
    """
    if name in shipped:
        return load_attribute(shipped[name])
    plugins = {point.name: point for point in entry_points(group=f"camfaith.{what}s")}
    if name in plugins:
        try:
            found = plugins[name].load()
        except Exception as error:
            raise failed(
                f"cannot import {plugins[name].value!r}, the {what} {name!r} of an installed package", error
            ) from error
        return _owing(what, name, found, owes)
    if ":" in name:
        return _owing(what, name, load_attribute(name), owes)
    raise UnknownName(what, name, [*shipped, *plugins], "or name your own as 'package.module:Name' or 'file.py:Name'")


def _owing(what: str, name: str, found: Any, owes: Sequence[str]) -> Any:
    kind = found
    if inspect.isfunction(found):
        with suppress(NameError, TypeError):
            kind = get_type_hints(found).get("return", found)
    missing = [each for each in owes if not any(callable(getattr(kind, one, None)) for one in each.split(" or "))]
    if owes and (missing or not inspect.isclass(kind)):
        raise ValueError(f"{name!r} is no {what}: expected a class with {' and '.join(owes)}, got {found!r}")
    return found
