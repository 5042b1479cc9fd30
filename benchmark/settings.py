"""A name's settings: which there are, what they default to, and what is made with them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from camfaith.benchmark.suite import SuiteError, digest
from camfaith.models import UnknownName


def make(what: str, build: Callable[..., Any], settings: Mapping[str, Any], kind: Any = None) -> Any:
    """`build(**settings)`, with an error that names the settings there are."""
    allowed = _settings_of(kind or build)
    unknown = set(settings) - set(allowed) if allowed is not None else set()
    if unknown:
        raise SuiteError(
            f"{what}: unknown setting {sorted(unknown)[0]!r}; allowed: {', '.join(allowed or ()) or 'none'}"
        )
    try:
        return build(**settings)
    except (TypeError, ValueError, ImportError) as error:
        if isinstance(error, UnknownName):
            raise
        raise SuiteError(f"{what}: {error}") from error


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


def key_of(name: str, kind: Any, parameters: Mapping[str, Any]) -> str:
    """A hash of the name, its version and its settings."""
    return digest({"name": name, "version": getattr(kind, "version", 1), "parameters": parameters})
