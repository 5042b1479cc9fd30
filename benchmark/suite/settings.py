"""The settings of a name: which exist, their defaults, and what is built with them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models.errors import LayerError, in_one_line
from camfaith.models.lookup import UnknownName
from camfaith.models.settings import SettingError, settings_of, settled


def make(what: str, build: Callable[..., Any], settings: Mapping[str, Any], kind: Any = None) -> Any:
    """Calls `build` with the settings, as the annotations of `kind` (None: its own) want them; whatever goes wrong is a
    `SuiteError` in one line, but for names and layers that are not there."""
    right = checked_settings(what, kind or build, settings)
    try:
        inspect.signature(build).bind(**right)
    except TypeError as error:  # one that must be given is not
        raise SuiteError(f"{what}: {error}") from None
    with one_line(what, known=(UnknownName, LayerError)):
        return build(**right)


@contextmanager
def one_line(what: str, known: tuple[type[Exception], ...] = (ValueError, OSError)) -> Iterator[None]:
    """Whatever somebody's own code raises inside becomes a `SuiteError`, but for what is `known` to be one line."""
    try:
        yield
    except known:
        raise
    except Exception as error:
        raise SuiteError(f"{what}: {in_one_line(error)}") from error


def checked_settings(what: str, kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the annotations of `kind` want them; `SuiteError` for one that it does not take, or a value that
    cannot be."""
    try:
        return settled(kind, settings, beside=())
    except (UnknownName, SettingError) as error:
        raise SuiteError(f"{what}: {error}") from None


def read_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Settings from `name=value`: the values are TOML, as in a suite, or texts without quotes."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, _, text = pair.partition("=")
        if not name or not text:
            raise SuiteError(f"expected a setting as name=value, got {pair!r}")
        try:
            found[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            found[name] = text
    return found


def parameters_of(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, given or default."""
    return {**(settings_of(kind) or {}), **settings}
