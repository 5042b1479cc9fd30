"""The page of all keys of a suite, from the models that check them."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from camfaith.benchmark.suite.declaration import DatasetEntry, General, MethodEntry, MetricEntry, ModelEntry

_HEAD = """\
# The keys of a suite

A suite is a TOML file, or a mapping like one, with a table `[suite]`, a table `[[model]]` for each model and a table
`[[dataset]]` for each data set. These are all keys, from the models that check them:
`python -m camfaith.benchmark.cli.pages suite > docs/suite.md`. An unknown key, or a value of another kind, is refused
before anything runs. A suite is a program: it names code that is run, so run those alone whose source you trust.
"""
_TABLES: Mapping[str, tuple[type[BaseModel], str]] = {
    "`[suite]`": (General, ""),
    "`[[model]]`": (ModelEntry, ""),
    "`[[dataset]]`": (DatasetEntry, "Other keys are settings of the data set."),
    "A method": (
        MethodEntry,
        'In the list `methods`: a name, or a table as `{ name = "gradcam", layer = "features.5" }`. Other keys are '
        "settings of the method ([`methods.md`](methods.md)).",
    ),
    "A metric": (
        MetricEntry,
        'In the list `metrics`: a name, or a table as `{ name = "deletion", steps = 64 }`. Other keys are settings of '
        "the metric ([`metrics.md`](metrics.md), [`presets.md`](presets.md)).",
    ),
}
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def page() -> str:
    """Markdown: a table for each table of a suite, with every key's kind, default and meaning."""
    parts = [_HEAD]
    for title, (model, text) in _TABLES.items():
        parts += [f"## {title}", text] if text else [f"## {title}"]
        schema = model.model_json_schema()
        told = docstrings(model)
        rows = [_row(name, schema, told[name]) for name in schema["properties"]]
        parts.append("\n".join(["| key | takes | default | meaning |", "| :-- | :-- | :-- | :-- |", *rows]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field, its bases' fields first."""
    found: dict[str, str] = {}
    for kind in reversed([k for k in model.__mro__ if issubclass(k, BaseModel) and k is not BaseModel]):
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def _row(name: str, schema: Mapping[str, Any], meaning: str) -> str:
    found = schema["properties"][name]
    default = "required" if name in schema.get("required", ()) else f"`{_toml(found.get('default'))}`"
    cells = (f"`{name}`", _kind(found), "–" if default == "`none`" else default, meaning)
    return f"| {' | '.join(cell.replace('|', '∣') for cell in cells)} |"


def _toml(value: Any) -> str:
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _kind(found: Mapping[str, Any]) -> str:
    if "anyOf" in found:
        return " or ".join(dict.fromkeys(_kind(one) for one in found["anyOf"] if one.get("type") != "null"))
    if "enum" in found or "const" in found:
        return ", ".join(f'`"{word}"`' for word in found.get("enum", [found.get("const")]))
    if found.get("type") == "array":
        return f"a list of {_kind(found['items'])}" if found.get("items") else "a list"
    if "$ref" in found:
        return "names or tables"
    kind = {"string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}
    limits = " and ".join(f"{sign} {found[key]}" for key, sign in _SIGNS.items() if key in found)
    return " ".join(part for part in (kind.get(str(found.get("type")), "anything"), limits) if part)
