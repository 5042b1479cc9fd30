"""Settings: what a constructor may be told, as the annotations of its parameters say it."""

from __future__ import annotations

import inspect
import json
import os
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, ParamSpec, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from camfaith.models.lookup import UnknownName

Count = Annotated[int, Ge(1)]
Few = Annotated[int, Ge(1), Le(10_000)]
"""As many as are held in memory together."""
Seed = Annotated[int, Ge(0), Lt(2**63)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Text = Annotated[str, MinLen(1)]


def _not_empty(value: Any) -> Any:
    if value == "":
        raise ValueError("an empty text is no path")  # though Python takes it for the current folder
    return value


Location = Annotated[str | os.PathLike[str], BeforeValidator(_not_empty)]

P = ParamSpec("P")
_BOUND = ("self", "model", "classifier", "target_layer", "layer")
"""What a suite gives a constructor otherwise."""
_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)
_WORDS: Mapping[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_LIMITS = {"ge": ", {} or more", "gt": " above {}", "le": " up to {}", "lt": " below {}", "min_length": " (not empty)"}


class SettingError(ValueError):
    """A setting that cannot be; the message names it, what may stand there, and what was got."""


@lru_cache(maxsize=1024)
def settings_of(kind: Any) -> Mapping[str, Any] | None:
    """The settings that a class or function takes and their defaults; None if it takes any."""
    found = inspect.signature(kind).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()):
        return None
    return {
        name: None if p.default is inspect.Parameter.empty else p.default
        for name, p in found.items()
        if name not in _BOUND
    }


def settled(kind: Any, given: Mapping[str, Any], beside: Collection[str] = _BOUND) -> dict[str, Any]:
    """The settings that are given, as the annotations of `kind` want them: a list for a tuple, a text for a path.

    Raises `UnknownName` for one that `kind` does not take, nor `beside` names, `SettingError` for a value that its
    annotation does not allow: a float is no int, True is no number, and numbers are finite.
    """
    allowed, hints = settings_of(kind), _hints(kind)
    for name in given:
        if allowed is not None and name not in allowed and name not in beside:
            raise UnknownName("setting", str(name), allowed)
    return {name: _fitting(name, hints[name], value) if name in hints else value for name, value in given.items()}


def checked(build: Callable[P, None]) -> Callable[P, None]:
    """The constructor, which takes no setting by name that its annotation does not allow."""

    @wraps(build)
    def checking(*args: P.args, **given: P.kwargs) -> None:
        build(*args, **settled(build, given))

    return checking


def settle_fields(made: Any) -> None:
    """The same for a frozen dataclass, from its `__post_init__`."""
    given = {each.name: getattr(made, each.name) for each in fields(made) if each.init}
    for name, value in settled(type(made), given).items():
        object.__setattr__(made, name, value)


def from_table(what: str, given: Mapping[str, Any], shipped: Mapping[str, Any], hint: str = "") -> Any:
    """The value that a table's `name` stands for, made with the table's other settings. `UnknownName` says which are
    shipped, `ValueError` which setting cannot be."""
    settings = dict(given)
    name = settings.pop("name")
    if not isinstance(name, str) or name not in shipped:
        raise UnknownName(what, str(name), shipped, hint)
    kind = shipped[name]
    for each in fields(kind):
        if each.init and each.default is MISSING and each.default_factory is MISSING and each.name not in settings:
            raise ValueError(f"{what} {name!r} needs {each.name}: give it beside the name")
    try:
        return kind(**settled(kind, settings))
    except ValueError as error:
        raise ValueError(f"{what} {name!r}: {error}") from None


@lru_cache(maxsize=1024)
def _hints(kind: Any) -> dict[str, tuple[Any, TypeAdapter[Any]]]:
    """The annotations of the settings; none where they name what is not there, or what pydantic cannot check."""
    owner = kind
    if inspect.isclass(kind) and not is_dataclass(kind):
        owner = next(vars(base)["__init__"] for base in kind.__mro__ if "__init__" in vars(base))
    found = {}
    with suppress(NameError, TypeError, AttributeError):
        for name, annotation in get_type_hints(inspect.unwrap(owner), include_extras=True).items():
            if name not in _BOUND and get_origin(annotation) is not ClassVar:
                with suppress(PydanticUserError):
                    found[name] = annotation, TypeAdapter(annotation, config=_STRICT)
    return found


def _fitting(name: str, hint: tuple[Any, TypeAdapter[Any]], value: Any) -> Any:
    annotation, adapter = hint
    if isinstance(value, Real) and not isinstance(value, bool):  # numpy's too
        value = int(value) if isinstance(value, Integral) else float(value)
    with suppress(ValidationError):
        return adapter.validate_python(value)
    try:
        return adapter.validate_json(json.dumps(value))  # as a file has it: a list for a tuple, a text for a path
    except (ValidationError, TypeError, ValueError):
        raise SettingError(f"{name} must be {described(annotation)}; got {reprlib.repr(value)}") from None


def described(annotation: Any) -> str:
    """What may stand where the annotation does, in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        limits = [limit for each in inner[1:] for limit in getattr(each, "metadata", [each])]  # of a pydantic Field
        said = [text.format(getattr(n, key)) for n in limits for key, text in _LIMITS.items() if hasattr(n, key)]
        return described(inner[0]) + " and".join(said)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(described(each) for each in inner if each is not NoneType))
    if inspect.isclass(origin) and issubclass(origin, Mapping):
        return "a table"
    if inspect.isclass(origin) and issubclass(origin, Sequence):
        return f"a list, each entry {described(inner[0])}"
    if hasattr(annotation, "model_fields"):
        return "a table"
    return _WORDS.get(annotation) or f"a {getattr(annotation, '__name__', annotation)}"
