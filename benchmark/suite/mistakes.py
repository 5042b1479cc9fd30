"""What is wrong with a suite, each mistake in one line."""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ValidationError

from camfaith.models.lookup import UnknownName
from camfaith.models.settings import described


class SuiteError(ValueError):
    """A suite that cannot be run; the message names the key and what may stand there."""


def explained(error: ValidationError, where: str, kind: type[BaseModel], whole: str = "the suite") -> str:
    """One line for each key that is wrong: what may stand there, and what was got. `whole` is what the keys make up."""
    lines: dict[str, str] = {}
    for problem in sorted(error.errors(), key=lambda problem: (-len(problem["loc"]), problem["type"] == "missing")):
        key, owner = _place(problem["loc"], kind)
        name = key.rpartition(".")[2]
        if any(known.startswith(f"{key}.") for known in lines):
            continue  # a list is too short because its entries are wrong
        if problem["type"] == "extra_forbidden":
            line = str(UnknownName(f"key in {_table(key) or whole}", name, owner.model_fields))
        elif problem["type"] == "missing":
            if any(_table(known) == _table(key) and f"did you mean {name!r}" in line for known, line in lines.items()):
                continue  # it stands there, misspelt
            line = f"key {key!r} is missing"
        elif "error" in problem.get("ctx", {}):
            line = f"key {key!r}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
        else:
            line = f"key {key!r} must be {_may_be(owner, name)}; got {reprlib.repr(problem['input'])}"
        lines.setdefault(key, f"{where}: {line}")
    return "\n".join(lines.values())


def read_text(path: Path, what: str, mistake: type[ValueError] = SuiteError) -> str:
    """A text file, with or without a byte-order mark; a `mistake` where it is missing, or not in UTF-8."""
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise mistake(f"{what} in {path} are not in UTF-8: save the file in that encoding") from None
    except OSError as error:
        raise mistake(f"{what} in {path} cannot be read: {error.strerror or error}") from None


def read_toml(path: Path, what: str, mistake: type[ValueError] = SuiteError) -> dict[str, Any]:
    """A TOML file; a `mistake` where it is none."""
    try:
        return tomllib.loads(read_text(path, what, mistake))
    except tomllib.TOMLDecodeError as error:
        raise mistake(f"{path} is not valid TOML: {error}") from None


def read_named(
    source: str | Path, shipped: Mapping[str, Path], what: str, mistake: type[ValueError] = SuiteError
) -> dict[str, Any]:
    """A TOML file that ships, by its name, or any other, by its path. Raises `UnknownName` for a name that none has, a
    `mistake` for a file that is missing or is no TOML."""
    path = shipped.get(str(source), Path(source))
    if not path.is_file():
        if path.suffix == ".toml":
            raise mistake(f"no {what} file at {path}")
        raise UnknownName(what, str(source), shipped, "or give a .toml file")
    return read_toml(path, f"the {what}", mistake)


def _place(loc: tuple[int | str, ...], kind: type[BaseModel]) -> tuple[str, type[BaseModel]]:
    """The key that a problem is about, as far as models tell keys, and the model that has it."""
    path: list[str] = []
    owner = kind
    for part in loc:
        path.append(str(part))
        if isinstance(part, str):
            inner = _model_in(kind.model_fields[part].annotation) if part in kind.model_fields else None
            if inner is None:
                break
            owner, kind = kind, inner
        if len(path) == len(loc):
            return ".".join(path), owner
    return ".".join(path), kind


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or lists."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


def _table(key: str) -> str:
    above = key.rpartition(".")[0]
    return f"[{above}]" if above else ""


def _may_be(owner: type[BaseModel], name: str) -> str:
    field = owner.model_fields.get(name)
    if field is None:
        return "a table"
    if field.examples:
        return f"a text such as {', '.join(field.examples)}"
    told: Any = field.annotation
    for limit in field.metadata:
        told = Annotated[told, limit]
    return described(told)
