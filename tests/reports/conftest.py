"""Run folders with made-up but plausible results, so that reports are tried without a model."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
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
from camfaith.reports import report

CONTROLS = ("random", "constant", "sobel")
METRICS: dict[str, dict[str, Any]] = {
    "deletion": {"main": "auc", "better": {"auc": "lower"}, "rest": ("ties",)},
    "insertion": {"main": "auc", "better": {"auc": "higher"}, "rest": ("ties",)},
    "conservation": {"main": "residual", "better": {"residual": "lower"}, "rest": ("map_sum", "logit")},
    "corner-artifact": {
        "main": "unsupported",
        "better": {"unsupported": "lower"},
        "rest": ("share", "excess", "peak", "support"),
    },
    "energy-pointing-game": {"main": "mass", "better": {"mass": "higher", "excess": "higher"}, "rest": ()},
    "sparseness": {"main": "gini", "better": {}, "rest": ("gini", "entropy")},
}
SIDE = 32
CONTEXT = "context"

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
            {
                "name": model,
                "layer": "features.8",
                "layers": {m: None if m in CONTROLS else "features.8" for m in methods},
                "weights_sha256": "ab" * 32,
                "classes": ["healthy", "mild", "severe"],
            }
            for model in models
        ],
        "datasets": [
            {"name": name, "samples": samples, "ids": [f"{name}/{i:03d}" for i in range(samples)]} for name in datasets
        ],
        "blocks": [
            {"model": m, "dataset": d, "folder": block_name(m, d), "context": CONTEXT} for m in models for d in datasets
        ],
        "methods": [{"label": m, "name": m, "key": m, "parameters": {}, "control": m in CONTROLS} for m in methods],
        "metrics": [
            {
                "label": name,
                "name": name,
                "key": name,
                "parameters": {},
                "main": METRICS[name]["main"],
                "better": METRICS[name]["better"],
                "undefined": "not defined for this image",
            }
            for name in metrics
        ],
        "plan": {"forwards": 1200, "backwards": 60, "tails": 300, "unshared": 4000, "cells": []},
        "cost": {"wall_seconds": 30.0, "model_seconds": 24.0, "forwards": 1100, "backwards": 60, "tails": 300},
    }


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _table(name: str, rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=SCHEMAS[name].names)


class _Fabric:
    """Draws the rows of one model and data set."""

    def __init__(self, info: dict[str, Any], model: str, dataset: str, samples: int, seed: int) -> None:
        self.info, self.model, self.dataset = info, model, dataset
        self.random = np.random.default_rng(seed)
        self.samples = [f"{dataset}/{i:03d}" for i in range(samples)]

    def scores(self) -> pd.DataFrame:
        rows: list[tuple[Any, ...]] = []
        ease = self.random.uniform(0.3, 0.9, len(self.samples))
        for place, method in enumerate(self.info["methods"]):
            skill = 0.0 if method["control"] else 0.4 - 0.02 * place
            for metric in self.info["metrics"]:
                for column in (*metric["better"], *METRICS[metric["label"]]["rest"]):
                    values = self._values(metric["label"], column, skill, ease)
                    for index, sample in enumerate(self.samples):
                        status, error = "ok", ""
                        if not np.isfinite(values[index]):
                            status, error = "undefined", metric["undefined"]
                        elif method["name"] == "constant":
                            status = "constant"
                        names = (self.info["run"], CONTEXT, self.model, self.dataset, sample)
                        about = (None, index % 3, 0, "predicted")
                        keys = (method["label"], method["key"], metric["label"], metric["key"], "", column)
                        rows.append((*names, *about, *keys, values[index], status, error, 0.01, 17))
        return _table("scores", rows)

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
        for metric in self.info["metrics"]:
            if metric["name"] not in ("deletion", "insertion"):
                continue
            for place, method in enumerate(self.info["methods"]):
                pace = 1.0 if method["control"] else 4.0 - 0.15 * place
                for sample in self.samples:
                    fall = np.exp(-pace * x) if metric["name"] == "deletion" else 1 - np.exp(-pace * x)
                    y = self.random.uniform(0.4, 1) * fall + self.random.normal(0, 0.02, len(x))
                    names = (CONTEXT, self.model, self.dataset, sample)
                    names += (method["label"], method["key"], metric["label"], metric["key"])
                    changed = "removed" if metric["name"] == "deletion" else "inserted"
                    rows.append((*names, f"fraction of pixels {changed}", "probability", x, y))
        return _table("lines", rows)

    def maps(self) -> pd.DataFrame:
        rows = []
        for place, method in enumerate(self.info["methods"]):
            for index, sample in enumerate(self.samples):
                y, x = np.mgrid[:7, :7] - np.array([index % 7, place % 7])[:, None, None]
                values = np.exp(-(x**2 + y**2) / 6) - 0.1 if method["name"] != "constant" else np.ones((7, 7))
                names = (CONTEXT, self.model, self.dataset, sample, method["label"], method["key"])
                drawn = (not method["control"], 7, 7, "<f4", values.astype("<f4").tobytes(), None)
                rows.append((*names, *drawn, "ok", "", 0.01, 1.0, 1.0))
        return _table("maps", rows)

    def pictures(self) -> pd.DataFrame:
        rows, (y, x) = [], np.mgrid[:SIDE, :SIDE]
        for index, sample in enumerate(self.samples):
            round_ = (x - SIDE / 2) ** 2 + (y - SIDE / 2) ** 2 < (SIDE / 2) ** 2
            image = np.stack([round_ * (180 - 2 * y), round_ * (90 + x), round_ * 30 + 0 * x], 2).astype(np.uint8)
            mask = ((x - 8 - index % 9) ** 2 + (y - 12) ** 2 < 20).astype(np.uint8) * 255
            names = (CONTEXT, self.model, self.dataset, sample, None, index % 3, 0, "float32")
            rows.append((*names, _png(image), None, _png(mask), None, [0.0] * 3, 0.0, -1.1, "digest"))
        return _table("pictures", rows)


def fabricated(
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
        fabric = _Fabric(described, model, dataset, samples, seed)
        tables = {
            "scores": fabric.scores(),
            "lines": fabric.lines(),
            "maps": fabric.maps(),
            "pictures": fabric.pictures(),
        }
        tables |= {name: tables[name].iloc[:0] for name in without}
        if change:
            change(tables)
        labels = {kind: {m["label"]: m["key"] for m in described[f"{kind}s"]} for kind in ("method", "metric")}
        for table in tables.values():  # what was changed may have other names
            for kind in set(labels) & set(table):
                table[f"{kind}_key"] = table[kind].map(labels[kind]).fillna("")
        arrow = {
            name: pa.Table.from_pandas(table, schema=SCHEMAS[name], preserve_index=False)
            for name, table in tables.items()
        }
        cells = {m["key"]: [metric["key"] for metric in described["metrics"]] for m in described["methods"]}
        ids = dict.fromkeys(tables["scores"].query("method != ''")["sample"], "content")
        note = Note(CONTEXT, model, dataset, ids, {}, cells, {}, [], "all", 0, {}, {}, {}, {}, {})
        for data in described["datasets"]:
            data["ids"] = list(dict.fromkeys([*data.get("ids", ()), *tables["scores"]["sample"]]))
        run.write_info(described)
        run.write_part(block_name(model, dataset), 0, note, arrow)
    return Result(folder)


@pytest.fixture
def fabricate(tmp_path: Path) -> Fabricate:
    def make(**options: Any) -> Result:
        return fabricated(tmp_path / f"run-{len(list(tmp_path.iterdir()))}", **options)

    return make


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Two models on one data set, six methods; nothing about it is odd."""
    return fabricated(tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="session")
def plain_report(plain_run: Result) -> Path:
    """The folder of that run's report."""
    return report(plain_run).parent
