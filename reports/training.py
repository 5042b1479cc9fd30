"""The page of a trained network: its card, how the training went, and how well it does."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from camfaith.benchmark.results.evaluation import HEADLINES, Evaluation
from camfaith.benchmark.results.files import own_folder, write_whole
from camfaith.benchmark.results.showing import NONE
from camfaith.reports.decision import clean, safe
from camfaith.reports.markup import piped
from camfaith.reports.page import Facts, embedded, one_line, rendered
from camfaith.reports.style import save, settings
from camfaith.reports.tables import write_csv
from camfaith.reports.training_figures import confusion_maps, history_curves, reliability_curves

PARTS = ("val", "test")
_HISTORY = (
    "epoch", "train_loss", "val_loss", "val_accuracy", "val_balanced_accuracy", "val_kappa", "rate", "seconds"
)  # fmt: skip
_CARD = ("architecture", "data set", "head", "classes", "preprocessing", "layer", "weights")
_TITLES = {"kappa": "quadratic κ", "macro_f1": "macro-F1"}
_CAPTIONS = {
    "history": "how the training went; the dashed line marks the epoch whose weights were kept",
    "confusion": "which classes are taken for which: numbers of images, and in colour the share of their label's",
    "calibration": "accuracy of the images of each confidence; on the dashed line confidence is deserved",
}

Texts = pd.DataFrame
"""A table as it is shown: texts under heads, names in its first column."""


def write(folder: Path) -> Path:
    """Write `report.html`, `figures/` and `tables/` into the folder of a trained network; returns the page's path."""
    card, history, parts = _read(folder)
    facts, numbers = _facts(card), {"evaluation": _headlines(parts)}
    numbers |= {f"classes-{part}": _classes(found) for part, found in parts.items()}
    _write_tables(folder / "tables", parts, numbers)
    figures = _draw(folder / "figures", card, history, parts)
    page = rendered(
        "training.html",
        name=folder.resolve().name,
        facts=facts,
        headlines=numbers["evaluation"],
        classes=[(part, numbers[f"classes-{part}"]) for part in parts],
        clustered=[(part, found.units) for part, found in parts.items() if found.units < found.n],
        figures=[(name, _CAPTIONS[name], *embedded(stem)) for name, stem in figures.items()],
        seconds=history["seconds"].sum(),
        epochs=len(history),
    )
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def _read(folder: Path) -> tuple[Mapping[str, Any], pd.DataFrame, dict[str, Evaluation]]:
    """`FileNotFoundError` where a file is missing, `ValueError` where it is another one than `finetune` writes."""
    for name in ("model.json", "history.csv", "evaluation.json"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"no {name} in {folder}: it is not the folder of a training that is done")
    try:
        card, told = (json.loads((folder / name).read_text("utf-8")) for name in ("model.json", "evaluation.json"))
        history = pd.read_csv(folder / "history.csv")
        missing = [column for column in _HISTORY if column not in history]
        if missing or not len(history):
            raise ValueError(f"history.csv has no {missing[0] if missing else 'epoch'}")
        parts = {part: _shown(Evaluation.of_json(told[part])) for part in PARTS if part in told}
        if not isinstance(card, Mapping) or not parts:
            raise ValueError("model.json is no card" if parts else "evaluation.json has neither val nor test")
    except (ValueError, TypeError) as error:
        raise ValueError(f"the training in {folder} cannot be read: {error}") from error
    return card, history, parts


def _shown(found: Evaluation) -> Evaluation:
    return replace(found, class_names=tuple(map(clean, found.class_names)))


def _facts(card: Mapping[str, Any]) -> Facts:
    training = card.get("training") or {}
    geometry = {name: card.get(name) for name in ("pad", "resize", "crop", "interpolation", "mean", "std")}
    about = (
        card.get("architecture"),
        card.get("dataset"),
        card.get("head"),
        ", ".join(map(str, card.get("class_names") or ())),
        {name: value for name, value in geometry.items() if value not in (None, False)},
        card.get("layer"),
        f"{card.get('weights')}, SHA-256 {str(card.get('sha256'))[:16]}…",
    )
    found = [(name, one_line(value)) for name, value in zip(_CARD, about, strict=True) if value]
    rest = {name: value for name, value in training.items() if value is not None and name not in card}
    return found + [(name.replace("_", " "), one_line(value)) for name, value in rest.items()]


def _headlines(parts: Mapping[str, Evaluation]) -> Texts:
    """What each part comes to as a whole."""
    rows = {"images": [f"{found.n:,}" for found in parts.values()]}
    for name in HEADLINES:
        title = _TITLES.get(name, name.replace("_", " "))
        rows[title] = [_with_limits(getattr(found, name), found.intervals[name]) for found in parts.values()]
    rows["calibration error"] = [_share(found.ece) for found in parts.values()]
    rows["accuracy of the most frequent class alone"] = [_share(max(p.support) / p.n) for p in parts.values()]
    return Texts([[title, *values] for title, values in rows.items()], columns=["", *parts])


def _classes(found: Evaluation) -> Texts:
    columns = {"class": found.class_names, "images": [f"{count:,}" for count in found.support]}
    for title, values in (("precision", found.precision), ("recall", found.recall), ("F1", found.f1)):
        columns[title] = [_share(value) for value in values]
    return Texts(columns)


def _with_limits(value: float, limits: tuple[float, float]) -> str:
    return _share(value) + ("" if math.isnan(limits[0]) else f" [{', '.join(map(_share, limits))}]")


def _share(value: float) -> str:
    return NONE if math.isnan(value) else f"{value:.3f}"


def _write_tables(folder: Path, parts: Mapping[str, Evaluation], shown: Mapping[str, Texts]) -> None:
    """What is shown as Markdown, and all numbers as CSV."""
    own_folder(folder)
    for name, table in shown.items():
        rows = ([*map(safe, row)] for row in table.itertuples(index=False))
        write_whole(folder / f"{name}.md", "\n".join([*piped([safe(str(head)) for head in table], rows), ""]))
    totals = [
        {"part": part, "n": p.n, "units": p.units, "column": name, "value": getattr(p, name)}
        | dict(zip(("low", "high"), p.intervals.get(name, (math.nan, math.nan)), strict=True))
        for part, p in parts.items()
        for name in (*HEADLINES, "ece")
    ]
    frames = {"evaluation": pd.DataFrame(totals)}
    for part, p in parts.items():
        columns = {"class": p.class_names, "support": p.support, "precision": p.precision, "recall": p.recall}
        frames[f"classes-{part}"] = pd.DataFrame(columns | {"f1": p.f1})
        counts = pd.DataFrame(p.confusion, columns=[f"predicted {name}" for name in p.class_names])
        frames[f"confusion-{part}"] = pd.concat([pd.Series(p.class_names, name="label"), counts], axis=1)
        frames[f"calibration-{part}"] = pd.DataFrame(p.reliability)
    for name, frame in frames.items():
        write_csv(folder / f"{name}.csv", frame)


def _draw(
    folder: Path, card: Mapping[str, Any], history: pd.DataFrame, parts: Mapping[str, Evaluation]
) -> dict[str, Path]:
    own_folder(folder)
    best = (card.get("training") or {}).get("best_epoch")
    with settings():
        figures = {
            "history": history_curves(history, best if isinstance(best, int) else None),
            "confusion": confusion_maps(parts),
            "calibration": reliability_curves(parts),
        }
        for name, drawn in figures.items():
            save(drawn, folder / name)
    return {name: folder / name for name in figures}
