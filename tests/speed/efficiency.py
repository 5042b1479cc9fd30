"""How much of the network's own speed a run gets: its model calls at the bare network's best rate, over its seconds.

    python tests/speed/efficiency.py [--data FOLDER] [--networks squeezenet1_0 resnet50] [--images 8] [--repeats 3]

The bare network normalises nothing, answers the same noise again and again, and may choose its layout and batch. It is
measured before and after every run, in the same process; the better counts. A backward counts as one forward. Judging
is what `run` notes as its cost; the whole call also loads the network and finds its layout and batch, always anew.
FOLDER holds imagenet/images, imagenet/labels.csv and imagenet/NETWORK.safetensors; a network without such a file is
untrained, and without FOLDER the photographs are synthetic. Above 100 %: the machine was not quiet.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

from camfaith.benchmark import run
from camfaith.models import load
from camfaith.models.speed.allocator import keep_memory

SIZE = 224
COLOUR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
METHODS = ["gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "random"]
CURVES = [{"name": name, "steps": 20} for name in ("deletion", "insertion")]
METRICS = [*CURVES, "faithfulness-correlation", "average-drop"]
LAYOUTS = (torch.channels_last, torch.contiguous_format)
BATCHES = {"cpu": (8, 16, 32), "cuda": (64, 128, 256, 512)}
TITLES = ("raw images/s", "calls", "judging s", "efficiency", "in the model", "whole call s", "its efficiency")
COLUMNS = dict(zip(TITLES, ("{:,.1f}", "{:,.0f}", "{:.2f}", "{:.1%}", "{:.1%}", "{:.2f}", "{:.1%}"), strict=True))


def network_entry(name: str, data: Path | None) -> dict[str, Any]:
    """The network as a suite names it."""
    file = (data or Path()) / "imagenet" / f"{name}.safetensors"
    weights = str(file) if data and file.is_file() else "none"
    return {"name": name, "weights": weights, "resize": 256 if data else None, "crop": SIZE, **COLOUR}


def dataset_entry(data: Path | None, images: int) -> dict[str, Any]:
    if data is None:
        return {"name": "fundus", "samples": images, "size": SIZE}
    table, pictures = data / "imagenet" / "labels.csv", data / "imagenet" / "images"
    return {"name": "csv", "path": str(table), "root": str(pictures), "limit": images}


def raw_rates(network: nn.Module, device: str, seconds: float) -> dict[str, float]:
    """Images per second in every layout and batch, from the median batch of a window; in full float32."""
    rates = {}
    for layout, batch in product(LAYOUTS, BATCHES[torch.device(device).type]):
        bare = copy.deepcopy(network).to(device).to(memory_format=layout)
        images = torch.rand(batch, 3, SIZE, SIZE, device=device).contiguous(memory_format=layout)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            rates[f"{layout}, {batch}".removeprefix("torch.")] = batch / median(batch_seconds(bare, images, seconds))
    return rates


def batch_seconds(bare: nn.Module, images: torch.Tensor, seconds: float) -> list[float]:
    """The seconds of every batch in a window, after two batches to warm up."""
    taken: list[float] = []
    while len(taken) < 5 or sum(taken[2:]) < seconds:
        began = time.perf_counter()
        bare(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return taken[2:]


def run_once(suite: dict[str, Any], device: str) -> dict[str, Any]:
    """A run as a new user's first: with no speed known from before, on Linux at least."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        began = time.perf_counter()
        result = run(suite, out=Path(folder) / "run", device=device)
        whole = time.perf_counter() - began
        if errors := result.scores.loc[result.scores["status"] == "error", "error"].tolist():
            sys.exit(f"{len(errors)} scores failed; the first: {errors[0]}")
        return {"whole": whole, "cost": result.info["cost"], "setup": result.info["engine"][0]["setup"]}


def measure(entry: dict[str, Any], dataset: dict[str, Any], device: str, given: Any) -> list[dict[str, Any]]:
    """Runs between measurements of the bare network."""
    head = {"name": "efficiency", "methods": METHODS, "metrics": METRICS}
    suite = {"suite": head, "model": [entry], "dataset": [dataset]}
    network = load(**entry).network
    before, turns = raw_rates(network, device, given.window), []
    for _ in range(given.repeats):
        found = run_once(suite, device)
        after = raw_rates(network, device, given.window)
        numbers = ratios(found, max(*before.values(), *after.values()))
        turns.append({**numbers, **found, "before": before, "after": after})
        before = after
    return turns


def ratios(found: dict[str, Any], raw: float) -> dict[str, float]:
    """The columns: what of a run's time the bare network would have needed, and what was spent in the network."""
    cost, whole = found["cost"], found["whole"]
    calls, judging = cost["forwards"] + cost["backwards"], cost["wall_seconds"]
    numbers = (raw, calls, judging, calls / raw / judging, cost["model_seconds"] / judging, whole, calls / raw / whole)
    return dict(zip(COLUMNS, numbers, strict=True))


def page(measured: dict[str, list[dict[str, Any]]]) -> str:
    """A Markdown table of the medians of the repeats."""
    lines = [["network", *COLUMNS], [":--", *["--:"] * len(COLUMNS)]]
    for name, turns in measured.items():
        lines.append([name, *(form.format(median(turn[what] for turn in turns)) for what, form in COLUMNS.items())])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="photographs and trained weights; see above")
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "resnet50"], help="torchvision's names")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--window", type=float, default=2.0, help="seconds for each raw layout and batch")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/perf"))
    given = parser.parse_args()
    keep_memory()  # as `camfaith run` does
    device = ("cuda" if torch.cuda.is_available() else "cpu") if given.device == "auto" else given.device
    dataset, measured = dataset_entry(given.data, given.images), {}
    for name in given.networks:
        entry = network_entry(name, given.data)
        print(name, "untrained" if entry["weights"] == "none" else "trained", file=sys.stderr, flush=True)
        measured[name] = measure(entry, dataset, device, given)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "efficiency.json").write_text(json.dumps(measured, indent=1), "utf-8")
    (given.out / "efficiency.md").write_text(page(measured) + "\n", "utf-8")
    print(page(measured))


if __name__ == "__main__":
    main()
