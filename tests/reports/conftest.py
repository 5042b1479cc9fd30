"""Run folders with made-up but plausible results, so that reports are tried without a model."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camfaith.benchmark.results.folder import block_name
from camfaith.benchmark.results.store import Result, RunFolder
from camfaith.reports import report

CONTROLS = ("random", "constant", "sobel")
METRICS: dict[str, dict[str, str]] = {
    "deletion": {"auc": "lower", "ties": ""},
    "insertion": {"auc": "higher", "ties": ""},
    "conservation": {"residual": "lower", "map_sum": "", "logit": ""},
    "corner-artifact": {"unsupported": "lower", "share": "", "excess": "", "peak": "", "support": ""},
    "energy-pointing-game": {"mass": "higher", "excess": "higher"},
    "sparseness": {"gini": "", "entropy": ""},
}
"""Columns, the main one first, and which of their values are better."""
SIDE = 32

Fabricate = Callable[..., Result]


def describe(
    models: Sequence[str], datasets: Sequence[str], methods: Sequence[str], samples: int, metrics: Sequence[str]
) -> dict[str, Any]:
    return {
        "run": "0123abcd",
        "status": "complete",
        "created": "2025-01-01T00:00:00+00:00",
        "suite": {"name": "made-up", "seed": 0, "target": "predicted"},
        "versions": {"python": "3.12", "camfaith": "0.1.0", "torch": "2.6.0"},
        "device": {"type": "cpu", "name": "x86_64", "threads": 2},
        "git": None,
        "models": [
            {"name": model, "layer": "features.8", "weights_sha256": "ab" * 32}
            | {"layers": {m: None if m in CONTROLS else "features.8" for m in methods}}
            | {"classes": ["healthy", "mild", "severe"]}
            for model in models
        ],
        "datasets": [
            {"name": name, "samples": samples, "ids": [f"{name}/{i:03d}" for i in range(samples)]} for name in datasets
        ],
        "blocks": [
            {"model": m, "dataset": d, "folder": block_name(m, d), "context": "context"}
            for m in models
            for d in datasets
        ],
        "methods": [{"label": m, "name": m, "key": m, "parameters": {}, "control": m in CONTROLS} for m in methods],
        "metrics": [
            {"label": name, "name": name, "key": name, "parameters": {}, "main": next(iter(METRICS[name]))}
            | {"better": {column: way for column, way in METRICS[name].items() if way}}
            | {"undefined": "not defined for this image"}
            for name in metrics
        ],
        "plan": {"forwards": 1200, "backwards": 60, "tails": 300, "unshared": 4000, "cells": []},
        "cost": {"wall_seconds": 30.0, "model_seconds": 24.0, "forwards": 1100, "backwards": 60, "tails": 300},
    }


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class _Fabric:
    """Draws the rows of one model and data set."""

    def __init__(self, info: dict[str, Any], dataset: str, samples: int, seed: int) -> None:
        self.info, self.random = info, np.random.default_rng(seed)
        ids = [f"{dataset}/{i:03d}" for i in range(samples)]
        self.samples = pd.DataFrame({"sample": ids, "label": np.arange(samples) % 3, "target": 0})

    def scores(self) -> pd.DataFrame:
        parts = [self.samples.iloc[:0].assign(method="", metric="", column="", value=0.0, status="", error="")]
        ease = self.random.uniform(0.3, 0.9, len(self.samples))
        for place, method in enumerate(self.info["methods"]):
            skill = 0.0 if method["control"] else 0.4 - 0.02 * place
            for metric in self.info["metrics"]:
                for column in METRICS[metric["label"]]:
                    values = self._values(metric["label"], column, skill, ease)
                    there = np.isfinite(values)
                    status = np.where(there, "constant" if method["name"] == "constant" else "ok", "undefined")
                    told = {"value": values, "status": status, "error": np.where(there, "", metric["undefined"])}
                    of = {"method": method["label"], "metric": metric["label"], "column": column}
                    parts.append(self.samples.assign(policy="predicted", preset="", seconds=0.01, **of, **told))
        return pd.concat(parts, ignore_index=True)

    def _values(self, metric: str, column: str, skill: float, ease: Any) -> Any:
        noise = self.random.normal(0, 0.06, len(ease))
        if column in ("residual", "map_sum", "logit"):
            return np.exp(self.random.normal(1 - 4 * skill, 1.0, len(ease))) + (column == "logit") * 4
        if column in ("ties", "peak", "support", "excess"):
            return np.clip(self.random.uniform(0, 0.2, len(ease)), 0, 1)
        if metric in ("deletion", "corner-artifact"):
            return np.clip((0.6 - skill) * ease + noise, 0, 1) * (0.4 if column == "unsupported" else 1)
        values = np.clip((0.5 + skill) * ease + noise, 0, 1)
        if metric == "energy-pointing-game":
            values[::4] = np.nan
        return values

    def lines(self) -> pd.DataFrame:
        x, rows = np.linspace(0, 1, 17), []
        for metric in [each["name"] for each in self.info["metrics"] if each["name"] in ("deletion", "insertion")]:
            for place, method in enumerate(self.info["methods"]):
                fall = np.exp(-x * (1.0 if method["control"] else 4.0 - 0.15 * place))
                fall = fall if metric == "deletion" else 1 - fall
                for sample in self.samples["sample"]:
                    y = self.random.uniform(0.4, 1) * fall + self.random.normal(0, 0.02, len(x))
                    rows.append((sample, method["label"], metric, x, y))
        frame = pd.DataFrame(rows, columns=["sample", "method", "metric", "x", "y"])
        changed = frame["metric"].map({"deletion": "removed", "insertion": "inserted"})
        return frame.assign(x_label="fraction of pixels " + changed.astype(str), y_label="probability")

    def maps(self) -> pd.DataFrame:
        parts = [self.samples[["sample"]].iloc[:0].assign(method="")]
        for place, method in enumerate(self.info["methods"]):
            values = []
            for index in range(len(self.samples)):
                y, x = np.mgrid[:7, :7] - np.array([index % 7, place % 7])[:, None, None]
                drawn = np.exp(-(x**2 + y**2) / 6) - 0.1 if method["name"] != "constant" else np.ones((7, 7))
                values.append(drawn.astype("<f4").tobytes())
            of = {"method": method["label"], "rectified": not method["control"], "control": method["control"]}
            parts.append(self.samples[["sample"]].assign(**of, values=values))
        shape = {"height": 7, "width": 7, "precision": "<f4"}
        return pd.concat(parts, ignore_index=True).assign(
            **shape, status="ok", error="", seconds=0.01, forwards=1.0, backwards=1.0
        )

    def pictures(self) -> pd.DataFrame:
        (y, x), images, masks = np.mgrid[:SIDE, :SIDE], [], []
        round_ = (x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2 < (SIDE / 2) ** 2
        image = np.stack([round_ * (180 - 2 * y), round_ * (90 + x), round_ * 30 + 0 * x], 2).astype(np.uint8)
        for index in range(len(self.samples)):
            images.append(_png(image))
            masks.append(_png(((x - 8 - index % 9) ** 2 + (y - 12) ** 2 < 20).astype(np.uint8) * 255))
        told = {"logits": [[0.0] * 3] * len(images), "logit": 0.0, "log_probability": -1.1, "digest": "digest"}
        return self.samples.assign(precision="float32", image=images, mask=masks, **told)


def fabricated(
    write_part: Callable[..., None],
    folder: Path,
    *,
    models: Sequence[str] = ("resnet", "vgg"),
    datasets: Sequence[str] = ("fundus",),
    methods: Sequence[str] = ("gradcam", "xgradcam", "hirescam", *CONTROLS),
    metrics: Sequence[str] = tuple(METRICS),
    samples: int = 8,
    without: Sequence[str] = (),
    change: Callable[[dict[str, pd.DataFrame]], None] | None = None,
    info: dict[str, Any] | None = None,
) -> Result:
    """A run folder; `without` names tables that stay empty, `change` edits the tables of each part in place."""
    run = RunFolder(folder)
    described = describe(models, datasets, methods, samples, metrics) | (info or {})
    run.write_info(described)
    for seed, (model, dataset) in enumerate((m, d) for m in models for d in datasets):
        fabric = _Fabric(described, dataset, samples, seed)
        drawn = {name: getattr(fabric, name)() for name in ("scores", "lines", "maps", "pictures")}
        tables = {name: table.assign(model=model, dataset=dataset) for name, table in drawn.items()}
        tables |= {name: tables[name].iloc[:0] for name in without}
        if change:
            change(tables)
        for data in described["datasets"]:
            data["ids"] = list(dict.fromkeys([*data.get("ids", ()), *tables["scores"]["sample"]]))
        run.write_info(described)
        write_part(run, described, model, dataset, tables)
    return Result(folder)


@pytest.fixture
def fabricate(tmp_path: Path, write_part: Callable[..., None]) -> Fabricate:
    return lambda **options: fabricated(write_part, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", **options)


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory, write_part: Callable[..., None]) -> Result:
    """Two models on one data set, six methods; nothing about it is odd."""
    return fabricated(write_part, tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="session")
def plain_report(plain_run: Result) -> Path:
    """The folder of that run's report."""
    return report(plain_run).parent
