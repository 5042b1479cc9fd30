"""camfaith's users: one suite with every metric, from pictures to tables; or each metric in a suite of its own."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.set_threshold(100_000, 20, 20)  # as the command does before torch is imported

import atexit
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from work import (
    CROP,
    LAYER,
    MEAN,
    METHODS,
    METRICS,
    NOISE,
    PERCENTILES,
    RESIZE,
    SAMPLES,
    STD,
    STEPS,
    SUBSET_SHARE,
    SUBSETS,
    Side,
)

from camfaith.benchmark import Result, run
from camfaith.models import Classifier
from camfaith.models.speed.allocator import keep_memory


def entries(metric: str) -> list[dict[str, Any]]:
    """What stands in the suite for a metric. Removed pixels become the mean colour that the network was trained with:
    the peers' 0 after normalisation."""
    colour = torch.tensor(MEAN).view(3, 1, 1).expand(3, CROP, CROP)
    return {
        "deletion-insertion": [
            {"name": "deletion", "steps": STEPS, "baseline": colour},
            {"name": "insertion", "steps": STEPS, "baseline": colour},
        ],
        "road": [{"name": "road", "percentiles": PERCENTILES}],
        "average-drop": [{"name": "average-drop"}],
        "faithfulness-correlation": [
            {
                "name": "faithfulness-correlation",
                "size": SUBSET_SHARE,
                "subsets": SUBSETS,
                "features": "pixels",
                "baseline": colour,
            }
        ],
        "infidelity": [
            {
                "name": "infidelity",
                "perturbation": "noise",
                "features": "pixels",
                "samples": SAMPLES,
                "sigma": NOISE,
            }
        ],
    }[metric]


def judge(work: Path, metrics: Sequence[str], out: Path, *, methods: Sequence[str] = METHODS, limit: int) -> Result:
    """Run the suite of these metrics on the pictures of the work."""
    suite = {
        "suite": {"name": "peers", "methods": list(methods), "metrics": ["deletion"]},
        "model": [
            {
                "name": "squeezenet1_0",
                "weights": str(work / "weights.safetensors"),
                "layer": LAYER,
                "mean": MEAN,
                "std": STD,
                "resize": RESIZE,
                "crop": CROP,
            }
        ],
        "dataset": [{"name": "csv", "path": str(work / "labels.csv"), "root": str(work / "pictures"), "limit": limit}],
    }
    # A baseline that is an image in memory goes in here, not into a suite that might as well stand in a file.
    return run(suite, metrics=[entry for metric in metrics for entry in entries(metric)], out=out)


def values(result: Result) -> dict[str, dict[str, dict[str, list[float]]]]:
    """metric → method → column → one value per image, in the order of the samples."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (metric, method, column), rows in result.scores.groupby(["metric", "method", "column"], sort=False):
        found.setdefault(metric, {}).setdefault(method, {})[column] = rows.sort_values("sample")["value"].tolist()
    return found


if __name__ == "__main__":
    keep_memory()  # as `camfaith run` does,
    atexit.register(gc.freeze)  # and so it ends
    side = Side.of_command_line(Classifier)
    side.started()
    chosen = [metric for metric in METRICS if metric in side.metrics]
    images = len((side.folder / "labels.csv").read_text("utf-8").splitlines()) - 1
    with tempfile.TemporaryDirectory() as folder:
        if side.alone:
            judge(side.folder, chosen, Path(folder) / "warm", methods=METHODS[:1], limit=1)
            for metric in chosen:
                with side.measure(metric):
                    judge(side.folder, [metric], Path(folder) / metric, limit=images)
        else:
            with side.measure("everything"):
                result = judge(side.folder, chosen, Path(folder) / "everything", limit=images)
            side.values = values(result)
    side.write()
