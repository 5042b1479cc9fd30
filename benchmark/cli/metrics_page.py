"""The page of all shipped metrics, from the classes themselves."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import takewhile
from typing import Any

from camfaith import metrics
from camfaith.benchmark.cli import validity_page
from camfaith.benchmark.cli.markdown import by_module, paragraphs
from camfaith.benchmark.results.showing import ARROWS
from camfaith.metrics import Channels, Explained, Metric, functional

_PIXELS = 96 * 96
_HEAD = """\
# Metrics

Every metric that ships, from the classes themselves:
`python -m camfaith.benchmark.cli.pages metrics > docs/metrics.md`.

- **main**: the column that tables show, and that ranks go by; **better**: which way it, and the other columns that
  judge, are better. The columns that are not named there describe.
- **an image**, **a map**: altered images that are sent forward once an image for all methods, and once for each map,
  with the settings as they are, for 96×96 pixels; an order of pixels that several maps share is asked once. The image
  as it is costs no metric anything. `camfaith plan` tells it for a suite.

A setting stands beside the name: `{ name = "deletion", steps = 64, baseline = "blur" }`. A `score` is the target's
`"probability"` or its `"logit"`; a `baseline` stands where pixels are taken away. An undefined value is NaN, a row with
the status `undefined`, and counted under every table.

The formulas alone, on tensors, are functions of `camfaith.metrics.functional`; each has an example in its docstring.
"""
_COLUMNS = "| metric | main | better | an image | a map |\n| :-- | :-- | :-- | --: | --: |"


def page() -> str:
    """Markdown: a table of all metrics, and for each family its formulas, and each metric's settings and columns."""
    families = by_module(metrics.find(name) for name in metrics.SHIPPED)
    formulas = by_module(each for each in vars(functional).values() if inspect.isfunction(each))
    parts = [_HEAD, "\n".join([_COLUMNS, *(_row(kind()) for family in families.values() for kind in family)])]
    parts += validity_page.part()
    for module in dict.fromkeys([*families, *formulas]):
        family = families.get(module, [])
        title, *text = paragraphs(sys.modules[module])
        parts += [f"## {title.removesuffix('.')}", *text]
        shared = dict.fromkeys(base for kind in family for base in kind.__mro__ if base.__module__ == module)
        parts += [
            part for base in shared if base not in family and issubclass(base, Metric) for part in paragraphs(base)
        ]
        for kind in family:
            parts += [f"### `{kind.name}`", _signature(kind()), *paragraphs(kind)]
            parts += [f"Undefined: {kind.undefined}."] if kind.undefined != Metric.undefined else []
            parts += validity_page.standing_of(kind.name)
        parts += [part for formula in formulas.get(module, []) for part in _formula(formula)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _formula(formula: Callable[..., Any]) -> list[str]:
    """A function's parameters, and its docstring without the example."""
    told = list(takewhile(lambda part: not part.startswith(">>>"), paragraphs(formula)))
    parameters = ", ".join(inspect.signature(formula).parameters)
    return [f"`functional.{formula.__name__}({parameters})`. {told[0]}", *told[1:]]


def _row(metric: Metric) -> str:
    better = ", ".join(f"`{column}` {ARROWS[way]}" for column, way in metric.better.items()) or "–"
    an_image, a_map = (" + ".join(_asked(metric, of_image=of_image)) or "0" for of_image in (True, False))
    return f"| [`{metric.name}`](#{metric.name}) | `{metric.main}` | {better} | {an_image} | {a_map} |"


def _asked(metric: Metric, *, of_image: bool) -> Iterator[str]:
    """What it asks of the network, a kind of probe each."""
    probes = [p for p in dict.fromkeys(metric.probes("features", _PIXELS)) if (p.reads == "image") == of_image]
    if plain := sum(p.count(_PIXELS) for p in probes if not isinstance(p, Channels | Explained)):
        yield str(plain)
    if again := sum(p.count(_PIXELS) for p in probes if isinstance(p, Explained)):
        yield f"{again}, and back, for new maps"
    if any(isinstance(p, Channels) for p in probes):
        yield "the network behind the layer, once a channel"


def _signature(metric: Metric) -> str:
    told = ", ".join(settings_told(metric))
    return f"`camfaith.metrics.{type(metric).__name__}`" + (f"; settings: {told}" if told else "")


def settings_told(metric: Metric) -> list[str]:
    """Each setting with its default."""
    told = []
    for field in fields(metric):
        value = getattr(metric, field.name)
        shown = f'"{field.default}"' if isinstance(field.default, str) else repr(value)
        told.append(f"`{field.name}={shown}`")
    return told
