"""What a gate judges, as entries of a suite: methods in memory by their names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from camfaith import methods
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models.contract import said
from camfaith.models.lookup import load_attribute


def entry_of(method: Any) -> dict[str, Any]:
    """The entry of a method: a class, a name (shipped, `module:Class`, `file.py:Class`, `pgc:Class`), or a table of one
    of these as `name` with settings. `SuiteError` for a class that no name leads to."""
    if isinstance(method, Mapping):
        if "name" not in method:
            raise SuiteError(f"expected a table with the name of a method, got {dict(method)!r}")
        return {**method, **entry_of(method["name"])}
    if isinstance(method, str):
        return {"name": method}
    if not inspect.isclass(method):
        raise SuiteError(f"expected a method's class, its name, or a table of name and settings, got {method!r}")
    return {"name": _name_of(method)}


def entries_of(method: Any, like: Any = None) -> list[dict[str, Any]]:
    """The method first, then the one that it is like, and what margins are shares of: the random control, and a map of
    the same kind that is known to be good, so that there is a distance though the method may be no better than chance.
    """
    found = [entry_of(each) for each in (method, like) if each is not None]
    first = found[0]
    good = {"name": "input-x-gradient"}
    if said(methods.find(first["name"]), "needs_layer"):
        good = {"name": "hirescam", **{key: first[key] for key in ("layer",) if key in first}}
    there = [_thing(entry) for entry in found]
    return [*found, *(entry for entry in ({"name": "random"}, good) if _thing(entry) not in there)]


def _thing(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry stands for, whatever it is called."""
    return {**entry, "name": methods.find(entry["name"]), "label": None}


def _name_of(kind: type) -> str:
    place = f"{kind.__module__}:{kind.__qualname__}"
    if "<locals>" in place:
        raise SuiteError(f"{kind.__qualname__} is defined in a function; define it in a module, where its name leads")
    if load_attribute(place) is not kind:
        raise SuiteError(f"{place} names another class by now; give that one, or import it anew")
    return next((name for name, path in methods.SHIPPED.items() if path == place), place)
