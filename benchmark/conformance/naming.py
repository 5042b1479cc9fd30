"""Whether a name is that of a method or of a metric."""

from __future__ import annotations

from typing import Any, Literal

from camfaith import methods, metrics
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.methods.adapters import LIBRARIES
from camfaith.models.lookup import UnknownName

Sort = Literal["method", "metric"]


def sort_of(name: str) -> Sort:
    """A method explains, a metric judges. Raises `SuiteError` where the name is that of both or of neither, and
    `UnknownName`, with the nearest known names, where nothing has it."""
    if name.partition(":")[0] in LIBRARIES:
        return "method"
    rooms: dict[Sort, Any] = {"method": methods, "metric": metrics}
    errors: dict[Sort, ValueError] = {}
    for sort, room in rooms.items():
        try:
            room.find(name)
        except ValueError as error:
            errors[sort] = error
    found = [sort for sort in rooms if sort not in errors]
    if len(found) == 2:
        raise SuiteError(f"{name!r} is a method and a metric: name the class that is meant, as package.module:Class")
    if found:
        return found[0]
    if all(isinstance(error, UnknownName) for error in errors.values()) and ":" not in name:
        known = [shipped for room in rooms.values() for shipped in room.SHIPPED]
        raise UnknownName(
            "method or metric", name, known, "or name your own as 'package.module:Name' or 'file.py:Name'"
        )
    raise SuiteError("; ".join(dict.fromkeys(map(str, errors.values()))))
