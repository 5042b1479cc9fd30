"""The reliability card of every metric, as a table beside the metric's own, and in words."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from camfaith.benchmark.results.cells import control_named
from camfaith.benchmark.results.reliability import BLIND, beside
from camfaith.benchmark.results.showing import NONE
from camfaith.reports.markup import Row, Table, Value
from camfaith.reports.view import Block, View, file_stem

SURE = 0.8
"""Less than this α, ρ or τ is said in words: what Krippendorff (2004) asks of data that are to be relied upon."""
OFTEN = 0.05
"""A share of maps above this is said in words."""
_HEADS = {
    **{"n": "n", "alpha": "α", "split_half": "halves ρ", **dict.fromkeys(BLIND, "")},
    **{"oracle": "oracle", "grain": "grain", "baselines": "baselines τ", "steps": "steps τ", "equal": "equal"},
    **{"degenerate": "constant maps", "undefined": "undefined", "ties": "ties"},
    **{"confidence": "confidence", "drift": "drift"},
}
_SHARES = ("oracle", "equal", "degenerate", "undefined", "ties")
_GRAIN = {
    "cells": "whole cells are taken out, and what a map shows within one is not judged",
    "superpixels": "whole superpixels are taken out, and what a map shows within one is not judged",
    "pixels": "single pixels are taken out, which say little of a coarse map",
}
_EXPLAINED = {
    "alpha": "α: Krippendorff's, how far single images agree on the order of the methods; 1 wholly, 0 by chance.",
    "split_half": "Halves ρ: Spearman's, between the orders of the methods in two halves of the images.",
    "controls": "Under a control's name: the share of methods shown to be better than it (sign-flip test, Holm over "
    "methods × metrics).",
    "oracle": "Oracle: the share of these controls than which the oracle is shown to be better.",
    "grain": "Grain: whether a random order of single pixels is shown to be better than one of cells, or the reverse.",
    "baselines": "Baselines τ: Kendall's, between the orders by every two of the metric's baselines, their mean.",
    "steps": "Steps τ: Kendall's, between the orders by all points of the curves and by every second.",
    "equal": "Equal: how often two methods have the same value on an image.",
    "degenerate": "Constant maps: the share of maps that are constant or zero. Undefined: of those without a value.",
    "ties": "Ties: the share of pixels whose order was drawn by lot.",
    "drift": "Confidence, drift: the mean probability of the likeliest class along the curve, and the mean distance of "
    "the network's features from the image's, of which 1 is their length.",
}


def reliability_table(view: View, block: Block) -> Table | None:
    """A row for every metric that says which way is better; a column for all that is known of one of them."""
    cards = view.of(block, view.reliability).dropna(axis=1, how="all")
    if cards.empty:
        return None
    heads = _HEADS | {name: label for name in BLIND if (label := control_named(name, view.info)) is not None}
    known = [
        name for name, head in heads.items() if head and (beside("above", name) if name in BLIND else name) in cards
    ]
    rows = [
        Row(f"{card['metric']} {card['column']}", False, [_value(card, name) for name in known])
        for card in cards.to_dict("records")
    ]
    told = {"controls" if name in BLIND else name for name in known}
    notes = [*to_mind(view, block), " ".join(said for name, said in _EXPLAINED.items() if name in told)]
    title = f"Reliability: {block.title}"
    return Table(file_stem("reliability", *block), title, [heads[name] for name in known], rows, notes, of="metric")


def to_mind(view: View, block: Block) -> list[str]:
    """What a reader should mind of the metrics, a line for all of which the same is to be said."""
    metrics, remarks = defaultdict[str, list[str]](list), defaultdict[tuple[str, ...], list[str]](list)
    for card in view.of(block, view.reliability).to_dict("records"):
        for said in _said(card, view):
            metrics[said].append(f"{card['metric']} {card['column']}")
    for said, of in metrics.items():
        remarks[*of].append(said)
    return [f"{', '.join(of)}: {'; '.join(said)}." for of, said in remarks.items()]


def _said(card: Mapping[Any, Any], view: View) -> Iterator[str]:
    if card["alpha"] < SURE:
        yield f"single images disagree about the order of the methods (α {card['alpha']:.2f})"
    if card["split_half"] < SURE:
        yield f"halves of the images put the methods in other orders (ρ {card['split_half']:.2f})"
    if beaten := [_beaten(card, name, view) for name in BLIND[1:] if card[beside("above", name)] == 0]:
        yield f"no method is shown to be better than {' or '.join(beaten)}"
    if card["oracle"] < 1:
        yield "the oracle is not shown to be better than every control"
    if card["grain"] in ("pixels", "cells"):
        better, worse = ("pixels", "cells") if card["grain"] == "pixels" else ("cells", "pixels")
        yield f"grain decides, random {better} are better than random {worse}: compare maps of one grain"
    if said := _GRAIN.get(card["features"]):
        yield said
    if card["baselines"] < SURE:
        yield f"another baseline gives another order (τ {card['baselines']:.2f})"
    if card["steps"] < SURE:
        yield f"half of the steps give another order (τ {card['steps']:.2f})"
    if card["equal"] > 0.5:
        yield f"two methods mostly have the same value on an image ({_percent(card['equal'])})"
    if card["degenerate"] > OFTEN:
        yield f"{_percent(card['degenerate'])} of the maps are constant or zero"
    if card["undefined"] > OFTEN:
        yield f"{_percent(card['undefined'])} of the maps have no value"


def _beaten(card: Mapping[Any, Any], name: str, view: View) -> str:
    """A control that no method beats, and how many it beats."""
    worse = card[beside("below", name)]
    return f"{control_named(name, view.info)}{f' ({_percent(worse)} are worse)' if worse else ''}"


def _value(card: Mapping[Any, Any], name: str) -> Value:
    if name in BLIND:
        worse = card[beside("below", name)]
        return Value(_percent(card[beside("above", name)]), f"({_percent(worse)} worse)" if worse > 0 else "")
    if name == "grain":
        return Value(card[name] if card[name] in ("pixels", "cells") else NONE)
    if name in _SHARES:
        return Value(_percent(card[name]))
    if name == "n":
        return Value(str(card[name]))
    return Value(NONE if math.isnan(card[name]) else f"{card[name]:.2f}")


def _percent(share: float) -> str:
    return NONE if math.isnan(share) else f"{100 * share:.0f} %"
