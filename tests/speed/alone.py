"""How much of the network's own speed a metric gets that is called alone, and how long torchcam takes for the same.

    python tests/speed/alone.py [--data FOLDER] [--networks squeezenet1_0 resnet50] [--metrics deletion ...] [--images 4]

The bare network normalises nothing, answers the same noise again and again, and may choose its layout and batch. It is
measured before and after every turn of calls, in the same process; the better counts. The first call is that of a new
network on a machine that knows no speed; the others follow it, and their median is told. `64` is the call with
`batch_size=64`, which measures nothing. Deletion with insertion at 20 steps is also asked of torchcam, where it is
installed, with the fastest of its batches.

Where others use the machine, `--busy` compares the processor's time, on one thread: it says what the work costs, not how
long it takes. FOLDER is as in `efficiency.py`; without it, or its weights, a network is untrained. The images are noise.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from efficiency import LAYOUTS, SIZE, network_entry
from torch import Tensor, nn

from camfaith import metrics
from camfaith.models import Classifier, load
from camfaith.models.speed.counting import counting

sys.path.append(str(Path(__file__).parent / "peers"))
BATCHES = {"cpu": (2, 4, 8, 16, 32), "cuda": (64, 128, 256, 512)}
PEERS_BATCHES = (8, 32)
STEPS = 20
PAIR = "deletion + insertion"
CHOSEN = [PAIR, "average-drop", "road", "infidelity", "faithfulness-correlation"]
HEAD = ("network", "metric", "calls", "raw images/s", "64", "first", "later", "torchcam / later")


class Bench:
    """A network with images and maps of noise, and the clock that it is measured by."""

    def __init__(self, entry: dict[str, Any], images: int, turns: int, device: str, *, busy: bool) -> None:
        self.entry, self.turns, self.device = entry, turns, device
        self.clock = time.process_time if busy else time.perf_counter
        source = torch.Generator().manual_seed(0)
        self.images = torch.rand(images, 3, SIZE, SIZE, generator=source).to(device)
        self.maps = torch.rand(images, SIZE, SIZE, generator=source)
        self.targets = [0] * images

    def network(self) -> nn.Module:
        return load(**self.entry).network.to(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        began = self.clock()
        work()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return self.clock() - began

    def raw(self, network: nn.Module) -> float:
        """Images per second in the best layout and batch, from the median batch of each."""
        rates = []
        for layout, batch in product(LAYOUTS, BATCHES[self.device]):
            images = self.images[:1].expand(batch, -1, -1, -1).contiguous(memory_format=layout)
            with torch.inference_mode():
                network(images)
                rates.append(batch / median(self.seconds(lambda: network(images)) for _ in range(max(3, 24 // batch))))
        return max(rates)

    def call(self, network: nn.Module, name: str, batch_size: int | None = None) -> float:
        """The seconds of a metric's call, or of the two of a pair."""
        wanted = [metrics.find(one)(**settings(one)) for one in name.split(" + ")]
        model = Classifier(network)
        return self.seconds(
            lambda: [
                metric(model, self.images, self.targets, self.maps, batch_size=batch_size, layer=None)
                for metric in wanted
            ]
        )

    def calls(self, network: nn.Module, name: str) -> int:
        with counting(network) as tally:
            self.call(network, name, 64)
        return tally.forwards

    def peer(self, network: nn.Module) -> float:
        """torchcam's deletion and insertion of the same maps, in its faster batch."""
        from side_torchcam import GivenMaps
        from torchcam.metrics import DeletionInsertionMetric

        def ask(batch: int) -> None:
            softmax = partial(torch.softmax, dim=-1)
            maps = GivenMaps(network, self.maps)
            DeletionInsertionMetric(maps, softmax, steps=STEPS, batch_size=batch).update(self.images, self.targets)

        with torch.no_grad():
            return min(self.seconds(partial(ask, batch)) for batch in PEERS_BATCHES)

    def measure(self, name: str) -> dict[str, float]:
        """One metric: its efficiency in the first call, in later ones, and in batches of 64."""
        network = self.network()
        calls = self.calls(network, name)
        raw, first = [self.raw(network)], self.call(network, name)
        self.call(network, name)
        fixed, later, peer = [], [], []
        for _ in range(self.turns):
            fixed.append(self.call(network, name, 64))
            later.append(self.call(network, name))
            if name == PAIR and find_spec("torchcam"):
                peer.append(self.peer(network))
            raw.append(self.raw(network))
        best, own = max(raw), median(later)
        shares = {
            what: calls / best / found for what, found in (("64", median(fixed)), ("first", first), ("later", own))
        }
        return {"calls": calls, "raw images/s": best, **shares, "torchcam / later": median(peer) / own if peer else 0.0}


def settings(name: str) -> dict[str, Any]:
    return {"steps": STEPS} if name in PAIR.split(" + ") else {}


def row(network: str, metric: str, found: dict[str, float]) -> str:
    shares = [f"{found[what]:.2f}" for what in ("64", "first", "later")]
    ratio = f"{found['torchcam / later']:.2f}" if found["torchcam / later"] else ""
    cells = [network, metric, f"{found['calls']:.0f}", f"{found['raw images/s']:.1f}", *shares, ratio]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="trained weights; see above")
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "resnet50"], help="torchvision's names")
    parser.add_argument("--metrics", nargs="+", default=CHOSEN)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--busy", action="store_true", help="the processor's time, on one thread")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/perf"))
    given = parser.parse_args()
    if given.busy:
        torch.set_num_threads(1)
    measured: dict[str, dict[str, float]] = {}
    print("| " + " | ".join(HEAD) + " |", "| :-- | :-- |" + " --: |" * (len(HEAD) - 2), sep="\n")
    for network, metric in product(given.networks, given.metrics):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = folder
            entry = network_entry(network, given.data)
            found = Bench(entry, given.images, given.turns, given.device, busy=given.busy).measure(metric)
        measured[f"{network}, {metric}"] = found
        print(row(network, metric, found), flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "alone.json").write_text(json.dumps(measured, indent=1), "utf-8")


if __name__ == "__main__":
    main()
