"""How much of the network's own speed a metric gets that is called alone, and how long torchcam takes for the same.

    python tests/speed/alone.py [--data FOLDER] [--networks squeezenet1_0 resnet50] [--metrics road ...] [--images 4]

The bare network normalises nothing, answers the same noise again and again, and may choose its layout and batch; the
best two are measured again in every turn, in the same process, and the best of all counts. The first call is that of a
network whose speed nobody knows; later ones follow it, and their median is told. `64` is the call with `batch_size=64`.
Deletion and insertion at 20 steps are also asked of torchcam, where it is installed: in batches of 32, its default, and
of 8, which are faster on a CPU; the last columns say how much longer it takes than later calls.

Where others use the machine, `--busy` compares the processor's time, on one thread: what the work costs, not how long
it takes. FOLDER is as in `efficiency.py`; without it, or its weights, a network is untrained. The images are noise.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from efficiency import LAYOUTS, SIZE, network_entry
from torch import nn

from camfaith import metrics
from camfaith.models import Classifier, load
from camfaith.models.speed.counting import counting

sys.path.append(str(Path(__file__).parent / "peers"))
BATCHES = {"cpu": (2, 4, 8, 16, 32), "cuda": (64, 128, 256, 512)}
PEERS_BATCHES = (32, 8)
STEPS = 20
PAIR = "deletion + insertion"
METRICS = [PAIR, "average-drop", "road", "infidelity", "faithfulness-correlation"]
PEERS = [f"torchcam({batch})" for batch in PEERS_BATCHES]
HEAD = ("network", "metric", "calls", "raw images/s", "64", "first", "later", *PEERS)
Kind = tuple[torch.memory_format, int]


class Bench:
    """Images and maps of noise for one network, and the clock."""

    def __init__(self, given: Namespace, network: str) -> None:
        self.clock = time.process_time if given.busy else time.perf_counter
        self.device, self.turns = given.device, given.turns
        source = torch.Generator().manual_seed(0)
        self.images = torch.rand(given.images, 3, SIZE, SIZE, generator=source).to(self.device)
        self.maps = torch.rand(given.images, SIZE, SIZE, generator=source)
        self.targets = [0] * given.images
        self.network = load(**network_entry(network, given.data)).network.to(self.device)
        kinds = list(product(LAYOUTS, BATCHES[self.device]))
        rates = {kind: self.raw(kind) for kind in kinds}
        self.best = sorted(kinds, key=rates.__getitem__)[-2:]

    def seconds(self, work: Callable[[], object]) -> float:
        began = self.clock()
        work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock() - began

    def raw(self, kind: Kind) -> float:
        """Images per second in a layout and batch, from the median batch of at least three."""
        layout, batch = kind
        images = torch.rand(batch, 3, SIZE, SIZE, device=self.device).contiguous(memory_format=layout)
        ask = partial(self.network, images)
        with torch.inference_mode():
            ask()
            return batch / median(self.seconds(ask) for _ in range(max(3, 16 // batch)))

    def call(self, network: nn.Module, name: str, batch_size: int | None = None) -> float:
        """The seconds of a metric's call, or of those of two."""
        names = name.split(" + ")
        asked = [metrics.find(one)(**({"steps": STEPS} if name == PAIR else {})) for one in names]
        given = (Classifier(network), self.images, self.targets, self.maps)
        return self.seconds(lambda: [metric(*given, batch_size=batch_size) for metric in asked])

    def peer(self, batch: int) -> float:
        """The seconds of torchcam's deletion and insertion."""
        from side_torchcam import GivenMaps
        from torchcam.metrics import DeletionInsertionMetric

        maps, softmax = GivenMaps(self.network, self.maps), partial(torch.softmax, dim=-1)
        metric = DeletionInsertionMetric(maps, softmax, steps=STEPS, batch_size=batch)
        with torch.no_grad():
            return self.seconds(lambda: metric.update(self.images, self.targets))

    def measure(self, name: str) -> dict[str, float]:
        """One metric: the share of the raw rate in its first call, in later ones, and in batches of 64."""
        network = copy.deepcopy(self.network)
        with counting(network) as tally:
            self.call(network, name, batch_size=64)
        first = self.call(network, name)
        self.call(network, name)
        raw, fixed, later = list[float](), list[float](), list[float]()
        peers: dict[str, list[float]] = {peer: [] for peer in PEERS if name == PAIR and find_spec("torchcam")}
        for _ in range(self.turns):
            raw += map(self.raw, self.best)
            fixed.append(self.call(network, name, batch_size=64))
            later.append(self.call(network, name))
            for peer, batch in zip(peers, PEERS_BATCHES, strict=False):
                peers[peer].append(self.peer(batch))
        least = tally.forwards / max(raw)
        shares = {"64": least / median(fixed), "first": least / first, "later": least / median(later)}
        ratios = {peer: median(seconds) / median(later) for peer, seconds in peers.items()}
        return {"calls": tally.forwards, "raw images/s": max(raw), **shares, **ratios}


def row(network: str, metric: str, found: dict[str, float]) -> str:
    cells = [
        f"{found[what]:.{places}f}" if what in found else ""
        for what, places in zip(HEAD[2:], (0, 1, 2, 2, 2, 2, 2), strict=True)
    ]
    return "| " + " | ".join([network, metric, *cells]) + " |"


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="trained weights; see above")
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "resnet50"], help="torchvision's names")
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--busy", action="store_true", help="the processor's time, on one thread")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/perf"))
    given = parser.parse_args()
    if given.busy:
        torch.set_num_threads(1)
    measured: dict[str, dict[str, Any]] = {}
    print("| " + " | ".join(HEAD) + " |\n| :-- | :-- |" + " --: |" * (len(HEAD) - 2), flush=True)
    for network in given.networks:
        bench, measured[network] = Bench(given, network), {}
        for metric in given.metrics:
            with tempfile.TemporaryDirectory() as folder:
                os.environ["XDG_CACHE_HOME"] = folder  # where nothing is known, on Linux at least
                measured[network][metric] = found = bench.measure(metric)
            print(row(network, metric, found), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "alone.json").write_text(json.dumps(measured, indent=1), "utf-8")


if __name__ == "__main__":
    main()
