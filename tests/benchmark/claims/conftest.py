"""Run folders whose values are planted, so that what a claim must come to is known."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camfaith.benchmark.results.folder import block_name
from camfaith.benchmark.results.store import Result, RunFolder

CLASSES = ["nv", "mel", "bcc"]
SIDE = 24

Plant = Callable[..., Result]


def planted(
    write_part: Callable[..., None],
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
            {"model": m, "dataset": "skin", "folder": block_name(m, "skin"), "context": "context"} for m in models
        ],
        "methods": [{"label": m, "name": m, "key": m, "control": False} for m in methods],
        "metrics": [
            {"label": m, "name": m, "key": m, "main": c, "better": {c: "higher"}, "undefined": ""}
            for m, c in reversed(metrics.items())
        ],
    }
    run = RunFolder(folder)
    about |= info
    run.write_info(about)
    labels = np.where(np.full(n, True) if right is None else right, 1, 0)
    p = np.full(n, 0.8) if confidence is None else np.array(confidence)
    odds = np.log(2 * p / (1 - p))  # against the two other logits, which are 0
    picture = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE)).save(picture, "PNG")
    samples = pd.DataFrame({"sample": ids, "cluster": clusters, "label": labels})
    pictures = samples.assign(target=target, precision="float32", image=picture.getvalue(), digest="digest")
    pictures = pictures.assign(logits=[[0.0, each, 0.0] for each in odds])
    for model in models:
        found, drawn = [], []
        for (own, method, metric, column), values in scores.items():
            if own == model:
                of = {"method": method, "metric": metric, "column": column, "policy": "predicted", "preset": ""}
                found.append(samples.assign(target=1, **of, value=values, status="ok", error="", seconds=0.0))
        for method in methods:
            raw = np.asarray(maps[model, method] if maps else np.broadcast_to(np.eye(4), (n, 4, 4)), "<f4")
            of = {"method": method, "rectified": method in rectified, "control": False, "precision": "<f4"}
            of |= {"height": raw.shape[1], "width": raw.shape[2], "values": [each.tobytes() for each in raw]}
            of |= {"forwards": (costs or {}).get((model, method), 1.0), "backwards": 1.0, "status": "ok", "error": ""}
            drawn.append(samples.assign(**of, seconds=(seconds or {}).get((model, method), 0.1)))
        tables = {"scores": pd.concat(found), "maps": pd.concat(drawn), "pictures": pictures}
        write_part(run, about, model, "skin", tables)
    return Result(folder)


@pytest.fixture
def plant(tmp_path: Path, write_part: Callable[..., None]) -> Plant:
    return lambda scores, **options: planted(
        write_part, tmp_path / f"run-{len([*tmp_path.iterdir()])}", scores, **options
    )


@pytest.fixture
def one_claim() -> Callable[..., dict[str, Any]]:
    """A file of one claim, with these keys."""

    def make(**keys: Any) -> dict[str, Any]:
        of = {"sentence": "A is B.", "reading": "as measured", "measure": {"metric": "mass", "method": "a"}}
        return {"claims": {"title": "Claims"}, "claim": [of | keys]}

    return make
