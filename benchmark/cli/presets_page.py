"""The page of all presets, from the modules and classes that make them."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from camfaith.benchmark.cli.markdown import paragraphs
from camfaith.benchmark.cli.metrics_page import settings_told
from camfaith.benchmark.results.showing import ARROWS
from camfaith.metrics.presets import PRESETS, Protocol

_HEAD = """\
# Presets

Published protocols to the letter, so that a number can be compared with one that was made elsewhere; from the classes
themselves: `python -m camfaith.benchmark.cli.pages presets > docs/presets.md`.

In a suite, `{ name = "deletion", preset = "rise" }` is one metric as RISE runs it, and `{ preset = "rise" }` all that
the preset has; on the command line, `--metrics "deletion(preset=rise)"` and `--metrics "(preset=rise)"`. In Python,
`camfaith.metrics.preset("rise", "deletion")` is to be called as any metric. The column `preset` of the scores says
which protocol a row follows. To judge maps, take the metrics of [`metrics.md`](metrics.md): a preset keeps what a
protocol does, also where it is wrong.

All presets alter images as the network takes them, after its normalisation: what is set to 0 there gets the network's
mean colour. The maps are the method's own, after its ReLU where it has one, whatever the library would have made.
"""
_COLUMNS = "| preset | metric | main | better |\n| :-- | :-- | :-- | :-- |"


def page() -> str:
    """Markdown: a table of all metrics of all presets, and for each preset what it follows, and how it differs."""
    rows = [_row(name, kind) for name, kinds in PRESETS.items() for kind in kinds.values()]
    parts = [_HEAD, "\n".join([_COLUMNS, *rows])]
    for name, kinds in PRESETS.items():
        parts += [f"## {name}", *paragraphs(sys.modules[next(iter(kinds.values())).__module__])]
        shared = dict.fromkeys(base for kind in kinds.values() for base in _shared(kind))
        parts += [part for base in shared for part in paragraphs(base)]
        for kind in kinds.values():
            told = ", ".join(settings_told(kind()))
            parts += [f"### {name}: {kind.name}", *([f"Settings: {told}."] if told else []), *paragraphs(kind)]
            parts += [f"Undefined: {kind.undefined}."] if kind.undefined != Protocol.undefined else []
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _shared(kind: type[Protocol]) -> Iterator[type]:
    """What a metric shares with others of its preset."""
    yield from (base for base in kind.__mro__[1:] if base.__module__ == kind.__module__)


def _row(name: str, kind: type[Protocol]) -> str:
    better = ", ".join(f"`{column}` {ARROWS[way]}" for column, way in kind.better.items())
    return f"| [`{name}`](#{name}) | [`{kind.name}`](#{name}-{kind.name}) | `{kind.main}` | {better} |"
