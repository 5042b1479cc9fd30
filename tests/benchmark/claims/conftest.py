"""Run folders whose values are planted, so that what a claim must come to is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from camfaith.benchmark.results.folder import Note, block_name
from camfaith.benchmark.results.store import Result, RunFolder
from camfaith.benchmark.results.tables import SCHEMAS

CLASSES = ["nv", "mel", "bcc"]
CONTEXT = "context"
SIDE = 24

Plant = Callable[..., Result]


def planted(
    folder: Path,
    scores: Mapping[tuple[str, str, str, str], Any],
    *,
    maps: Mapping[tuple[str, str], Any] | None = None,
    costs: Mapping[tuple[str, str], Any] | None = None,
    seconds: Mapping[tuple[str, str], Any] | None = None,
    rectified: Sequence[str] = (),
    right: Any = None,
    confidence: Any = None,
    target: Any = 0,
    clusters: Sequence[str | None] | None = None,
    **info: Any,
) -> Result:
    """A run of these `scores`: a value for each sample by (model, method, metric, column). `maps`, `costs` (images
    forward) and `seconds` are by (model, method). `right` says of each sample whether all models take it for what its
    label says, `confidence` how probable the class seems to them."""
    n = len(next(iter(scores.values())))
    models, methods = (list(dict.fromkeys(key[at] for key in scores)) for at in (0, 1))
    metrics = {metric: column for *_, metric, column in reversed(scores) if metric != "diagnostics"}
    ids = [f"s{i:03d}" for i in range(n)]
    about = {
        "run": "planted",
        "status": "complete",
        "suite": {"name": "planted", "seed": 0, "target": "predicted"},
        "versions": {},
        "models": [{"name": m, "classes": CLASSES, "head": "softmax", "mean": [0.5]} for m in models],
        "datasets": [{"name": "skin", "samples": n, "ids": ids}],
        "blocks": [
            {"model": m, "dataset": "skin", "folder": block_name(m, "skin"), "context": CONTEXT} for m in models
        ],
        "methods": [{"label": m, "name": m, "key": m, "control": False} for m in methods],
        "metrics": [
            {"label": m, "name": m, "key": m, "main": c, "better": {c: "higher"}, "undefined": ""}
            for m, c in reversed(metrics.items())
        ],
    }
    run = RunFolder(folder)
    run.write_info(about | info)
    labels = np.where(np.full(n, True) if right is None else right, 1, 0)
    p = np.full(n, 0.8) if confidence is None else np.array(confidence)
    odds = np.log(2 * p / (1 - p))  # against the two other logits, which are 0
    picture = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(picture, "PNG")
    for model in models:
        place = [(CONTEXT, model, "skin", sample) for sample in ids]
        rows: dict[str, list[tuple[Any, ...]]] = {"scores": [], "maps": [], "pictures": []}
        for (own, method, metric, column), values in scores.items():
            if own == model:
                keys = (method, method, metric, "" if metric == "diagnostics" else metric, "", column)
                rows["scores"] += [
                    ("planted", *at, _of(clusters, i), labels[i], 1, "predicted", *keys, value, "ok", "", 0.0, 1)
                    for i, (at, value) in enumerate(zip(place, values, strict=True))
                ]
        for method in methods:
            for i, at in enumerate(place):
                raw = np.asarray(maps[model, method][i] if maps else np.eye(4), "<f4")
                cost = float((costs or {}).get((model, method), np.ones(n))[i])
                took = float((seconds or {}).get((model, method), np.full(n, 0.1))[i])
                drawn = (method in rectified, *raw.shape, "<f4", raw.tobytes(), None)
                rows["maps"].append((*at, method, method, *drawn, "ok", "", took, cost, 1.0))
        for i, at in enumerate(place):
            known = (_of(clusters, i), labels[i], np.broadcast_to(target, n)[i], "float32", picture.getvalue())
            rows["pictures"].append((*at, *known, None, None, None, [0.0, odds[i], 0.0], 0.0, 0.0, "digest"))
        tables = {
            name: pa.Table.from_pandas(
                pd.DataFrame(rows.get(name, []), columns=schema.names), schema, preserve_index=False
            )
            for name, schema in SCHEMAS.items()
            if name in rows
        }
        cells = {m: [*metrics] for m in methods}
        note = Note(CONTEXT, model, "skin", dict.fromkeys(ids, ""), {}, cells, {}, [], "all", 0, {}, {}, {}, {}, {})
        run.write_part(block_name(model, "skin"), 0, note, tables)
    return Result(folder)


def _of(clusters: Sequence[str | None] | None, place: int) -> str | None:
    return None if clusters is None else clusters[place]


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    def make(scores: Any, **options: Any) -> Result:
        return planted(tmp_path / f"run-{len([*tmp_path.iterdir()])}", scores, **options)

    return make


@pytest.fixture
def one_claim() -> Callable[..., dict[str, Any]]:
    """A file of one claim, with these keys."""

    def make(**keys: Any) -> dict[str, Any]:
        of = {"sentence": "A is B.", "reading": "as measured", "measure": {"metric": "mass", "method": "a"}}
        return {"claims": {"title": "Claims"}, "claim": [of | keys]}

    return make
