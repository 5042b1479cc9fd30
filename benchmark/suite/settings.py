"""The settings of a name: which exist, their defaults, and what is built with them."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models import LayerError, UnknownName


def make(what: str, build: Callable[..., Any], settings: Mapping[str, Any], kind: Any = None) -> Any:
    """Calls `build(**settings)`; an error names the settings that exist."""
    require_known(what, kind or build, settings)
    try:
        return build(**settings)
    except (TypeError, ValueError, ImportError) as error:
        if isinstance(error, UnknownName | LayerError):
            raise
        raise SuiteError(f"{what}: {error}") from error


def require_known(what: str, kind: Any, settings: Iterable[str]) -> None:
    """Raises `SuiteError`, with the settings that `kind` takes, for one that it does not."""
    allowed = _settings_of(kind)
    unknown = set(settings) - set(allowed) if allowed is not None else set()
    if unknown:
        raise SuiteError(
            f"{what}: unknown setting {sorted(unknown)[0]!r}; allowed: {', '.join(allowed or ()) or 'none'}"
        )


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


_BOUND = ("self", "model", "classifier", "target_layer", "layer")


def _settings_of(kind: Any) -> dict[str, Any] | None:
    """The settings that `kind` takes and their defaults; None if it takes any."""
    found = inspect.signature(kind).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()):
        return None
    return {
        name: None if p.default is inspect.Parameter.empty else p.default
        for name, p in found.items()
        if name not in _BOUND
    }


def parameters_of(kind: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All settings, given or default."""
    return {**(_settings_of(kind) or {}), **settings}
