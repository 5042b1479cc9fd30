"""What stands in tables for the entries of a suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from camfaith.benchmark.suite.declaration import Entry, MethodEntry, MetricEntry, SuiteError


def labels(entries: Iterable[Entry], find: Callable[[str], Any] | None = None) -> list[str]:
    """One label for each entry: its own, else its name and preset, with its settings if these stand more than once.

    With `find`, which gives the class of a name, a class of somebody's own goes by its `name`, where it has one that
    nothing else goes by.
    """
    entries = list(entries)
    names = [entry.name if find is None else _own_name(entry.name, find) for entry in entries]
    of = {name: {entry.name for entry, each in zip(entries, names, strict=True) if each == name} for name in names}
    names = [name if len(of[name]) == 1 else entry.name for entry, name in zip(entries, names, strict=True)]
    names = [_with_preset(name, entry) for name, entry in zip(names, entries, strict=True)]
    times = Counter(names)
    found = []
    for entry, name in zip(entries, names, strict=True):
        shown = dict(entry.settings)
        if isinstance(entry, MethodEntry) and entry.layer:
            shown["layer"] = entry.layer
        told = ", ".join(f"{key}={value}" for key, value in shown.items())
        found.append(entry.label or (f"{name}({told})" if times[name] > 1 and told else name))
    twice = [label for label, count in Counter(found).items() if count > 1]
    if twice:
        raise SuiteError(f"{twice[0]!r} stands twice: remove one, or give each a label of its own")
    return found


def _with_preset(name: str, entry: Entry) -> str:
    return f"{name}-{entry.preset}" if isinstance(entry, MetricEntry) and entry.preset else name


def _own_name(name: str, find: Callable[[str], Any]) -> str:
    """What a class that is named by its place, as `file.py:Class`, calls itself; else the name."""
    own = getattr(find(name), "__dict__", {}).get("name") if ":" in name else None
    return own if isinstance(own, str) and own else name
