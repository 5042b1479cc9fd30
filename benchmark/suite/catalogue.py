"""The names that may stand in a suite."""

from __future__ import annotations

from importlib.metadata import entry_points

from camfaith import methods, metrics
from camfaith.benchmark import datasets
from camfaith.benchmark.suite.declaration import shipped_suites
from camfaith.methods.adapters import installed
from camfaith.metrics.presets import PRESETS
from camfaith.models.loading import model_names


def known_names() -> dict[str, list[str]]:
    """Methods, metrics, presets, models, data sets and suites: shipped, from installed packages, and from other
    libraries."""
    shipped = {
        "methods": list(methods.SHIPPED),
        "metrics": list(metrics.SHIPPED),
        "presets": list(PRESETS),
        "models": model_names(),
        "datasets": list(datasets.SHIPPED),
    }
    found = {k: names + [p.name for p in entry_points(group=f"camfaith.{k}")] for k, names in shipped.items()}
    return {**found, "methods": found["methods"] + installed(), "suites": list(shipped_suites())}
