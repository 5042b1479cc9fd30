"""What made a run: versions, weights, samples, machine."""

from __future__ import annotations

import hashlib
import inspect
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import is_dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.suite.declaration import digest
from camfaith.benchmark.suite.opening import Bench, Judge
from camfaith.models import Classifier

_PACKAGES = ("camfaith", "torch", "torchvision", "captum", "numpy", "scipy", "pandas", "pyarrow", "pillow")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def git_state() -> dict[str, Any] | None:
    """The commit of the folder that the run was started in, and whether it had changes; None outside git."""

    def ask(*words: str) -> str:
        done = subprocess.run(["git", *words], capture_output=True, text=True, timeout=10, check=True)  # noqa: S603, S607
        return done.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def device_of(bench: Bench) -> dict[str, Any]:
    device = bench.classifier.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"type": device.type, "name": name, "threads": torch.get_num_threads(), "command": sys.argv[:1]}


def weights_hash(network: nn.Module) -> str:
    """A hash of every parameter and buffer, by name."""
    found = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def samples_hash(dataset: Dataset) -> str:
    """A hash of the samples' ids; hashes of what they hold stand in the pictures table."""
    return digest(list(dataset.ids))


def model_hash(classifier: Classifier) -> str:
    """A hash of the network's make-up, its weights, and how it takes its images."""
    settings = (classifier.mean, classifier.std, classifier.resize, classifier.crop, str(classifier.interpolation))
    return digest([repr(classifier.network), weights_hash(classifier.network), settings, classifier.class_names])


def metrics_hash(judges: Sequence[Judge]) -> str:
    """A hash of the metrics as they were made: a baseline from a file counts by its pixels, not by its path."""
    return digest([repr(judge.metric) if is_dataclass(judge.metric) else judge.key for judge in judges])


def code_hash(benches: Sequence[Bench]) -> str:
    """A hash of the source that results depend on: this package's, and that of every model, method, metric and data
    set from elsewhere; and the versions of what they stand on."""
    parts: list[Any] = [kind for bench in benches for kind in (bench.classifier.network, bench.dataset)]
    parts += [arm.explainer for bench in benches for arm in bench.arms]
    parts += [judge.metric for bench in benches for judge in bench.judges]
    kinds = {kind for part in parts for kind in type(part).__mro__ if kind is not object}
    sources = {Path(source) for kind in kinds if (source := _source_of(kind))}
    for room in ("models", "methods", "metrics", "benchmark"):
        sources |= set(Path(str(files(f"camfaith.{room}"))).rglob("*.py"))
    known = versions()
    texts = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in sources)
    keys = sorted({arm.key for bench in benches for arm in bench.arms})  # with the version of another library's method
    return digest([texts, [known[package] for package in _PACKAGES], keys])


def _source_of(kind: type) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):  # built in, or typed at a prompt
        return None


def describe(benches: Sequence[Bench]) -> dict[str, Any]:
    """Models, data sets, methods and metrics as the run's folder keeps them."""
    models: dict[str, Any] = {}
    data: dict[str, Any] = {}
    for bench in benches:
        if bench.model not in models:
            models[bench.model] = {
                "name": bench.model,
                "source": bench.classifier.name,
                "layer": bench.layer,
                "layers": {arm.label: ", ".join(arm.needed_layers) or None for arm in bench.arms},
                "weights_sha256": weights_hash(bench.classifier.network),
                "classes": list(bench.classifier.class_names or bench.dataset.class_names or ()) or None,
                "key": model_hash(bench.classifier),
                "mean": bench.classifier.mean,
                "std": bench.classifier.std,
                "resize": bench.classifier.resize,
                "crop": bench.classifier.crop,
            }
        samples = len(bench.dataset)
        data[bench.data] = {"name": bench.data, "samples": samples, "ids_hash": samples_hash(bench.dataset)}
    first = benches[0]
    return {
        "models": list(models.values()),
        "datasets": list(data.values()),
        "methods": [
            {
                "label": a.label,
                "name": a.name,
                "key": a.key,
                "parameters": dict(a.parameters),
                "control": a.control,
                "rectified": a.rectified,
                "of_pixels": getattr(a.explainer, "of_pixels", None),
                "unsigned": bool(getattr(a.explainer, "unsigned", False)),
            }
            for a in first.arms
        ],
        "metrics": [
            {
                "label": j.label,
                "name": j.name,
                "key": j.key,
                "parameters": {k: repr(v) if callable(v) else v for k, v in j.parameters.items()},
                "main": j.metric.main,
                "better": dict(j.metric.better),
                "undefined": j.metric.undefined,
            }
            for j in first.judges
        ],
    }
