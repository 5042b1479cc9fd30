"""One hash of the source that a class or function depends on, without comments and docstrings.

The hash covers a definition's syntax tree and that of every definition that it names, in its own module and in modules
of this package or the user's files that it imports. `identity` adds the versions of libraries.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

_ELSEWHERE = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platlib", "purelib"))
_REGISTRIES = ("camfaith.methods", "camfaith.metrics")
"""Rooms that list every method or metric: code that looks a name up there depends on that one alone."""
_NUMBERLESS = tuple(f"camfaith.models.{name}" for name in ("display", "settings", "errors", "speed.pace"))
"""Modules that draw, check or tell, and so change no number; and one that no run uses."""


@lru_cache(maxsize=1024)
def source_hash(thing: Any) -> str:
    """A hash of the source that a class or function depends on; of its compiled code if there is no source. The name of
    its own module is left out: that of a file differs from process to process."""
    found: dict[tuple[str, str], str] = {}
    name = getattr(thing, "__qualname__", "").partition(".")[0]
    module = _module(getattr(thing, "__module__", "") or "")
    if module is None or name not in module.definitions:
        found["", name] = _text_of(thing)
    else:
        _follow(module.name, name, found)
    told = sorted((name, text) for (_, name), text in found.items())  # a file's module has another name elsewhere
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


@lru_cache(maxsize=64)
def module_hash(name: str) -> str:
    """A hash of one module's own source."""
    module = _module(name)
    trees = [] if module is None else [_said(_bare(node)) for node in module.tree.body]
    return hashlib.sha256(repr(trees).encode()).hexdigest()[:16]


@dataclass
class _Module:
    name: str
    package: str
    """What its relative imports start from."""
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    """Functions, classes and constants by name."""
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The origin of each imported name: a module, and the name there; "" for the module, "*" for all of its names."""
    loose: list[ast.stmt] = field(default_factory=list)
    """Statements that run whenever the module is imported."""


def _module(name: str) -> _Module | None:
    """A module of this package or of its user; None for any other. A user's file may change meanwhile, so it is read
    anew."""
    return (_parsed if name.startswith("camfaith.") else _parsed.__wrapped__)(name)


@lru_cache(maxsize=1024)
def _parsed(name: str) -> _Module | None:
    path = _file(name)
    if path is None:
        return None
    try:
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        found = _Module(name, package, ast.parse(path.read_text("utf-8")))
    except (OSError, SyntaxError, ValueError):
        return None
    for outer in found.tree.body:
        compound = isinstance(outer, ast.If | ast.Try | ast.With | ast.For | ast.While)
        names: list[str] = []
        for node in ast.walk(outer) if compound else [outer]:
            if isinstance(node, ast.Import | ast.ImportFrom):
                found.imports |= _imported(node, found.package)
            names += _defined(node)
        for each in dict.fromkeys(names):
            found.definitions.setdefault(each, []).append(outer)
        if not names and not isinstance(outer, ast.If | ast.Import | ast.ImportFrom) and not _is_text(outer):
            found.loose.append(outer)
    return found


def _defined(node: ast.AST) -> list[str]:
    """The names that a statement gives a meaning to, other than by importing."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if not isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return []
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [inner.id for target in targets for inner in ast.walk(target) if isinstance(inner, ast.Name)]


def _file(name: str) -> Path | None:
    known = sys.modules.get(name)
    try:
        spec = getattr(known, "__spec__", None) or (importlib.util.find_spec(name) if known is None else None)
    except (ImportError, ValueError, AttributeError):
        return None
    origin = getattr(spec, "origin", None) or getattr(known, "__file__", None)
    if not origin or not str(origin).endswith(".py"):
        return None
    path = Path(origin).resolve()
    ours = name.startswith("camfaith.")
    return path if ours or not str(path).startswith(_ELSEWHERE) else None


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, tuple[str, str]]:
    if isinstance(node, ast.Import):
        return {a.asname or a.name: (a.name, "") for a in node.names}
    source = node.module or ""
    if node.level:
        base = package.split(".")
        source = ".".join([*base[: len(base) + 1 - node.level], *([node.module] if node.module else [])])
    return {(f"* {source}" if a.name == "*" else a.asname or a.name): (source, a.name) for a in node.names}


def _follow(module: str, name: str, found: dict[tuple[str, str], str]) -> None:
    """Adds a module's definition of that name, and all that it depends on."""
    waiting = [(module, name)]
    while waiting:
        place = waiting.pop()
        if place not in found and (known := _definition(*place)) is not None:
            found[place] = known[0]
            waiting += known[1]


def _definition(module: str, name: str) -> tuple[str, list[tuple[str, str]]] | None:
    """The definition of a module's name as text, and the names in it; None if it is not from here."""
    return (_looked_up if module.startswith("camfaith.") else _looked_up.__wrapped__)(module, name)


@lru_cache(maxsize=8192)
def _looked_up(module_name: str, name: str) -> tuple[str, list[tuple[str, str]]] | None:
    module = None if module_name in _NUMBERLESS else _module(module_name)
    if module is None:
        return None
    stars = [source for source, what in module.imports.values() if what == "*"]
    if name not in module.definitions and name not in module.imports:
        return ("", [(source, name) for source in stars]) if stars else None
    text, places = "", _places(*module.imports[name], "") if name in module.imports else []
    if name not in module.definitions:
        return text, places
    for node in [*module.definitions[name], *module.loose]:
        bare = _bare(node)
        text += _said(bare)
        inside = (n for n in ast.walk(bare) if isinstance(n, ast.ImportFrom | ast.Import))
        local = {k: v for n in inside for k, v in _imported(n, module.package).items() if v[0] not in _REGISTRIES}
        for used, attribute in _names(bare):
            if used in module.definitions:
                places.append((module_name, used))
            elif used in local or used in module.imports:
                places += _places(*(local.get(used) or module.imports[used]), attribute)
            else:
                places += [(source, used) for source in stars]
    return text, list(dict.fromkeys(places))


def _places(source: str, name: str, attribute: str) -> list[tuple[str, str]]:
    """Where an imported name is defined; for a module without a name, all that it defines."""
    inner = f"{source}.{name}" if name else source
    module = None if inner in _NUMBERLESS else _module(inner)
    owner = _module(source) if name else None
    if owner is not None and (name in owner.definitions or module is None):
        return [(source, name)]
    if module is None:
        return []
    return [(inner, each) for each in ([attribute] if attribute else module.definitions)]


def _names(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that are used, dotted ones too, each with the attribute that is read from it, if any."""
    owners = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and (owner := _dotted(inner.value)):
            owners.add(id(inner.value))
            yield owner, inner.attr
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and id(inner) not in owners:
            yield inner.id, ""


def _dotted(node: ast.AST) -> str:
    """`a.b` as it stands in the source; "" for what is no plain name."""
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return owner and f"{owner}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _bare(node: ast.stmt) -> ast.stmt:
    """Drops docstrings and the annotations of functions."""
    copied = copy.deepcopy(node)
    for inner in ast.walk(copied):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            inner.returns = None
        if isinstance(inner, ast.arg):
            inner.annotation = None
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.body = [n for n in inner.body if not _is_text(n)] or [ast.Pass()]
    return copied


def _said(node: Any) -> str:
    """A syntax tree as text that every version of Python gives alike: they differ in which empty fields there are."""
    if isinstance(node, list):
        return f"[{', '.join(map(_said, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(name, value) for name, value in ast.iter_fields(node) if value is not None and value != []]
    return f"{type(node).__name__}({', '.join(f'{name}={_said(value)}' for name, value in fields)})"


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _text_of(thing: Any) -> str:
    """The source of code that was typed at a prompt, else its compiled code."""
    try:
        return _said(_bare(ast.parse(inspect.cleandoc(inspect.getsource(thing))).body[0]))
    except (TypeError, OSError, SyntaxError, IndexError):
        members = map(inspect.unwrap, filter(callable, vars(thing).values())) if hasattr(thing, "__dict__") else ()
        code = [getattr(member, "__code__", None) for member in members]
        return repr([(c.co_code, c.co_consts, c.co_names) for c in code if c is not None])
