"""The page of all shipped methods, from the classes themselves."""

from __future__ import annotations

import inspect
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torchvision.models import VisionTransformer

from camfaith import methods
from camfaith.benchmark.cli.markdown import by_module, paragraphs
from camfaith.methods import Calls, Method
from camfaith.methods.superpixels import SuperpixelAttribution
from camfaith.models import Classifier, load

PEERS: Mapping[str, str] = {"pgc": "pytorch-grad-cam 1.5", "torchcam": "torchcam 0.5"}
"""The library that a variant of that name agrees with."""

_BLOCKS = 12
_HEAD = f"""\
# Methods

Every method that ships, from the classes themselves:
`python -m camfaith.benchmark.cli.pages methods > docs/methods.md`.
Inputs are images, B×3×H×W; volumes (3-D) are out of scope.

- **of**: a map holds a value for each of the image's `pixels`, each cell of a `layer`, or each cell of a grid of its
  `own` (patches, or a coarse one).
- **class**: whether the map depends on the class that is asked about.
- **ReLU**: whether the method's definition ends in one; raw maps are given before it, a method's call applies it.
- **forward**, **backward**: images through the network, and scores sent back, for one image with the settings as they
  are: what all methods share + what the method sends itself, for `fundus-vgg` at `features` (64 channels) on 96×96
  pixels with 50 superpixels, or for a vision transformer of {_BLOCKS} blocks. `camfaith plan` tells it for a suite.

Many methods have a `variant` for each other formula that goes by their name, so that a number published with a library
can be attributed; `"paper"` is taken unless another is named. A variant that is said to agree with a library gives that
library's maps to 1e-5 (of singular vectors, whose sign is arbitrary, it may turn with the last bit of an activation).
The libraries' own classes are methods too, as they are: `pgc:CLASS` and `torchcam:CLASS`; so are zennit's composites,
layer-wise relevance propagation as it is published: `zennit:EpsilonPlusFlat`. What every method owes its users, and
which keep to it, is in [`conformance.md`](conformance.md).
"""
_COLUMNS = "| method | of | class | ReLU | forward | backward |\n| :-- | :-- | :-- | :-- | --: | --: |"


def page() -> str:
    """Markdown: a table of all methods, and a section with each one's formula, source, settings and variants."""
    families = by_module(methods.find(name) for name in methods.SHIPPED)
    kinds = [kind for family in families.values() for kind in family]
    rows = [_row(explainer, link) for explainer, link in zip(_bound(kinds), _links(kinds), strict=True)]
    parts = [_HEAD, "\n".join([_COLUMNS, *rows])]
    for module, family in families.items():
        title, *text = paragraphs(sys.modules[module])
        shared = dict.fromkeys(base for kind in family for base in kind.__mro__ if base.__module__ == module)
        parts += [f"## {title.removesuffix('.')}", *text]
        parts += [part for base in shared if base not in kinds for part in paragraphs(base)]
        for kind in family:
            parts += [f"### `{kind.name}`", _signature(kind), *paragraphs(kind), *_agreement(kind)]
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def settings(kind: type[Method]) -> dict[str, Any]:
    """The settings and their defaults."""
    found = inspect.signature(kind).parameters.values()
    return {parameter.name: parameter.default for parameter in found if parameter.kind is parameter.KEYWORD_ONLY}


def choices(kind: type[Method], setting: str) -> Sequence[str]:
    """The words that a setting may be; none if it is no choice of words."""
    if setting == "variant" and hasattr(kind, "variants"):
        listed: Sequence[str] = kind.variants
        return listed
    owner = next(base for base in kind.__mro__ if "__init__" in vars(base))
    hint = get_type_hints(vars(owner)["__init__"])[setting]
    return next((get_args(option) for option in (hint, *get_args(hint)) if get_origin(option) is Literal), ())


def _signature(kind: type[Method]) -> str:
    told = []
    for name, value in settings(kind).items():
        others = [f'`"{choice}"`' for choice in choices(kind, name) if choice != value]
        shown = f'"{value}"' if isinstance(value, str) else repr(value)
        told.append(f"`{name}={shown}`" + (f" (or {', '.join(others)})" if others else ""))
    return f"`camfaith.methods.{kind.__name__}`" + (f"; settings: {', '.join(told)}" if told else "")


def _agreement(kind: type[Method]) -> list[str]:
    variants = choices(kind, "variant") if "variant" in settings(kind) else ()
    found = [f'`variant="{variant}"` with {PEERS[variant]}' for variant in variants if variant in PEERS]
    return [f"Agreement: {'; '.join(found)}."] if found else []


def _bound(kinds: Sequence[type[Method]]) -> Iterator[Method]:
    """The methods, each bound to a network to which it applies."""
    vgg = load("fundus-vgg")
    with torch.random.fork_rng(devices=[]):
        transformer = Classifier(VisionTransformer(96, 8, _BLOCKS, 2, 16, 32, num_classes=5).eval())
    for kind in kinds:
        on_attention = kind.__module__ == "camfaith.methods.transformer"
        yield kind(transformer) if on_attention else kind(vgg, "features")


def _links(kinds: Sequence[type[Method]]) -> Iterator[str]:
    """Links to the sections; anchors get numbers if names differ in signs alone."""
    seen: Counter[str] = Counter()
    for kind in kinds:
        anchor = "".join(letter for letter in kind.name if letter.isalnum() or letter == "-")
        yield f"[`{kind.name}`](#{anchor}{f'-{seen[anchor]}' if seen[anchor] else ''})"
        seen[anchor] += 1


def _row(explainer: Method, link: str) -> str:
    if isinstance(explainer, SuperpixelAttribution):
        own = Calls(explainer.calls(explainer.segments))
    else:
        own = explainer.cost(torch.zeros(1, 3, 96, 96))
    of = "pixels" if explainer.of_pixels else "layer" if explainer.needs_layer else "own"
    facts = ["yes" if fact else "no" for fact in (explainer.class_dependent, explainer.rectified)]
    sent = [_sum(1, own.forwards), _sum(int(explainer.needs_gradients), own.backwards)]
    return f"| {' | '.join([link, of, *facts, *sent])} |"


def _sum(shared: int, own: int) -> str:
    return " + ".join(str(count) for count in (shared, own) if count) or "0"
