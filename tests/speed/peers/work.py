"""What every side of the comparison is given, and how it reports. Imports nothing that one side alone needs."""

from __future__ import annotations

import json
import os
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models, transforms

LAYER = "features.12"
METHODS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "elementwise", "eigencam", "eigengradcam")
METRICS = ("deletion-insertion", "road", "average-drop", "faithfulness-correlation", "infidelity")
STEPS = 20
PERCENTILES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
SUBSETS, SUBSET_SHARE = 100, 0.1
SAMPLES, NOISE = 100, 0.2  # σ, in units of an image in [0, 1]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RESIZE, CROP = 256, 224


@dataclass(frozen=True)
class Work:
    """The network, its normalised images (B×3×H×W), the class that each is asked about, and maps (B×H×W in [0, 1])."""

    network: nn.Module
    images: Tensor
    targets: list[int]
    maps: dict[str, np.ndarray] = field(default_factory=dict)


def read_work(folder: Path) -> Work:
    """The work in a folder that `prepare.py` wrote, read as a user would who has none but torch and torchvision."""
    network = models.squeezenet1_0(weights=None)
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    prepare = transforms.Compose(
        [
            transforms.Resize(RESIZE),
            transforms.CenterCrop(CROP),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    rows = (folder / "labels.csv").read_text("utf-8").splitlines()[1:]
    files = [folder / "pictures" / row.split(",")[0] for row in rows]
    images = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files])
    with np.load(folder / "maps.npz") as stored:
        maps = {name: stored[name] for name in METHODS}
        targets = stored["targets"].tolist()
    return Work(network.eval(), images, targets, maps)


class Count:
    """Counts the images that go forward through any network of this kind in this process, copies of it included."""

    def __init__(self, kind: Any = models.SqueezeNet) -> None:
        self.images = 0
        forward: Callable[[nn.Module, Tensor], Tensor] = kind.forward

        def counted(network: nn.Module, images: Tensor) -> Tensor:
            self.images += len(images)
            return forward(network, images)

        kind.forward = counted


@dataclass
class Side:
    """One side: measures what it is asked for and writes the answer as JSON."""

    folder: Path
    metrics: Sequence[str]
    alone: bool
    out: Path
    began: float
    count: Count
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_command_line(cls, kind: Any = models.SqueezeNet) -> Side:
        """`--began` is the time at which the process was started, by the clock of whoever started it; the network is
        called through a class of this `kind`."""
        parser = ArgumentParser()
        parser.add_argument("--work", type=Path, required=True, help="the folder that prepare.py wrote")
        parser.add_argument("--metrics", nargs="+", default=list(METRICS), choices=(*METRICS, "none"))
        parser.add_argument("--alone", action="store_true", help="camfaith: each metric in a run of its own")
        parser.add_argument("--out", type=Path, required=True)
        parser.add_argument("--began", type=float, default=time.time())
        given = parser.parse_args()
        return cls(given.work, given.metrics, given.alone, given.out, given.began, Count(kind))

    def start(self) -> Work:
        """The work; what passed since the process began is its start."""
        work = read_work(self.folder)
        self.started()
        return work

    def started(self) -> None:
        self.measured["start"] = {"seconds": time.time() - self.began, "forwards": 0}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        forwards, began = self.count.images, time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self.measured[name] = {"seconds": seconds, "forwards": self.count.images - forwards}

    def judge(self, metric: str, judge: Callable[[str], dict[str, Sequence[float]]]) -> None:
        """Measure a metric on every method's maps; `judge(method)` gives one value per image and column."""
        if metric in self.metrics:
            with self.measure(metric):
                self.values[metric] = {method: judge(method) for method in METHODS}

    def write(self, **more: Any) -> None:
        content = {"measured": self.measured, "values": self.values, "threads": torch.get_num_threads(), **more}
        self.out.write_text(json.dumps(content, default=_plain), "utf-8")


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else os.fspath(value)
