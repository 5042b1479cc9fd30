"""The loop of an author: how long `camfaith gate` takes after an edit of a method, in a fresh process.

    python tests/speed/gate.py [--models fundus-resnet,fundus-vgg,fundus-effnet] [--edits 3] [--cold]

32 photographs and 8 metrics. The baseline is written first, which is the cold run; then the method's file is edited so
that its maps are new ones, and the gate asked again: the median over the edits is told, in seconds, and in seconds of
processor, which other processes disturb less. With `--cold`, the networks' measured setups are not taken from the
user's cache in the first run.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from statistics import median

METRICS = (
    "deletion(steps=16),insertion(steps=16,baseline=blur),sensitivity-n,"
    "conservation,corner-artifact,energy-pointing-game,average-drop,pixel-flipping(steps=16)"
)
METHOD = """from camfaith.methods import GradientCAM


class MyCAM(GradientCAM):
    name = "mycam"

    def weights(self, activations, gradients):
        return gradients.mean((2, 3), keepdim=True) + {shift} * gradients.amax((2, 3), keepdim=True)
"""
COMMAND = "from camfaith.benchmark.cli.command_line import main; main()"


def ask(folder: Path, models: str, *words: str, **environment: str) -> tuple[float, float]:
    """The seconds of `camfaith gate` in a process of its own, whatever its verdict, and those of the processor."""
    given = ["mycam.py:MyCAM", "--baseline", "mycam.parquet", "--models", models, "--metrics", METRICS, *words]
    began, before = time.perf_counter(), processor()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "gate", *given],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began, processor() - before
    if done.returncode not in (0, 1, 2, 3) or "error:" in done.stderr:
        sys.exit(done.stdout + done.stderr)
    return seconds


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def told(times: Sequence[tuple[float, float]]) -> str:
    seconds, used = (median(each) for each in zip(*times, strict=True))
    return f"{seconds:.1f} s, {used:.1f} s of processor"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="fundus-resnet")
    parser.add_argument("--edits", type=int, default=3)
    parser.add_argument("--cold", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        method = folder / "mycam.py"
        method.write_text(METHOD.format(shift=0.0))
        cache = {"XDG_CACHE_HOME": name} if asked.cold else {}
        print(f"first, with the baseline written: {told([ask(folder, asked.models, '--update', **cache)])}")
        times = []
        for edit in range(1, asked.edits + 1):
            method.write_text(METHOD.format(shift=edit / 100))
            times.append(ask(folder, asked.models, **cache))
        print(f"after an edit: {told(times)}")
        print(f"without an edit: {told([ask(folder, asked.models, **cache)])}")


if __name__ == "__main__":
    main()
