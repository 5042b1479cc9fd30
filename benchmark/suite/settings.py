"""A name's settings: which there are, what they default to, and what is made with them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models import LayerError, UnknownName


def make(what: str, build: Callable[..., Any], settings: Mapping[str, Any], kind: Any = None) -> Any:
    """`build(**settings)`, with an error that names the settings there are."""
    require_known(what, kind or build, settings)
    try:
        return build(**settings)
    except (TypeError, ValueError, ImportError) as error:
        if isinstance(error, UnknownName | LayerError):
            raise
        raise SuiteError(f"{what}: {error}") from error


def require_known(what: str, kind: Any, settings: Iterable[str]) -> None:
    """`SuiteError` for a setting that `kind` does not take, with those that it does."""
    allowed = _settings_of(kind)
    unknown = set(settings) - set(allowed) if allowed is not None else set()
    if unknown:
        raise SuiteError(
            f"{what}: unknown setting {sorted(unknown)[0]!r}; allowed: {', '.join(allowed or ()) or 'none'}"
        )


def read_settings(pairs: Iterable[str]) -> dict[str, Any]:
    """Settings from `name=value`: values as a suite has them (TOML), and texts without quotes too."""
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


_BOUND = ("self", "model", "classifier", "target_layer", "layer")


def _settings_of(kind: Any) -> dict[str, Any] | None:
    """The settings that `kind` takes and their defaults; None where it takes any."""
    found = inspect.signature(kind).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()):
        return None
    return {
        name: None if p.default is inspect.Parameter.empty else p.default
        for name, p in found.items()
        if name not in _BOUND
    }


def parameters_of(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, given or by default."""
    return {**(_settings_of(kind) or {}), **settings}
