"""camfaith against its peers: the same work, each side in a process of its own, in turn, several times.

    python tests/speed/peers/compare.py [--data FOLDER] [--images 8] [--repeats 3] [--metrics road ...]

FOLDER holds imagenet/images, imagenet/labels.csv and imagenet/squeezenet1_0.safetensors; without it the network is
untrained and the photographs are synthetic. A metric counts against the fastest peer that offers it, and the peers'
total is one process's start, the CAMs of the peer that has all eight, and each metric at its fastest peer.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

METRICS = ("deletion-insertion", "road", "average-drop", "faithfulness-correlation", "infidelity")
PEERS = {
    "pgc": ("grad-cam", ("road", "average-drop")),
    "torchcam": ("torchcam", ("deletion-insertion", "average-drop")),
    "quantus": ("quantus", ("deletion-insertion", "faithfulness-correlation")),
    "captum": ("captum", ("infidelity",)),
}
HERE = Path(__file__).parent
Measured = dict[str, dict[str, dict[str, float]]]


def start(script: str, *words: object, cwd: Path | None = None) -> None:
    """A process as a user starts it: nothing said about threads. Its complaints are shown if it fails."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-4000:]}")


def run_side(name: str, work: Path, metrics: list[str], *words: str) -> dict[str, Any]:
    """What a side measured, and the time of its whole process."""
    out, began = work / "side.json", time.time()
    start(f"side_{name}.py", "--work", work, "--out", out, "--metrics", *metrics, *words, "--began", began)
    wall = time.time() - began
    found: dict[str, Any] = json.loads(out.read_text("utf-8"))
    found["measured"]["process"] = {"seconds": wall, "forwards": 0}
    return found


def measure(work: Path, metrics: list[str], repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Every side in turn, `repeats` times; "alone" is camfaith with each metric in a run of its own."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in range(repeats):
        sides: list[tuple[str, str, list[str], tuple[str, ...]]] = [("camfaith", "camfaith", metrics, ())]
        for name, (_, offered) in PEERS.items():
            wanted = [metric for metric in offered if metric in metrics]
            if wanted or name == "pgc":
                sides.append((name, name, wanted or ["none"], ()))
        sides.append(("alone", "camfaith", metrics, ("--alone",)))
        for label, script, wanted, words in sides:
            print(f"turn {turn + 1} of {repeats}: {label}", file=sys.stderr, flush=True)
            found[label].append(run_side(script, work, wanted, *words))
    return found


def medians(runs: dict[str, list[dict[str, Any]]]) -> Measured:
    """side → what → seconds and forwards, the median of the turns."""
    return {
        side: {
            what: {key: median(run["measured"][what][key] for run in turns) for key in ("seconds", "forwards")}
            for what in turns[0]["measured"]
        }
        for side, turns in runs.items()
    }


def fastest(measured: Measured, metric: str) -> list[str]:
    """The peers that offer a metric, the fastest first."""
    offering = [name for name, (_, offered) in PEERS.items() if metric in offered]
    return sorted(offering, key=lambda name: measured[name][metric]["seconds"])


def peers_total(measured: Measured, metrics: list[str]) -> dict[str, float]:
    """The least that a user of the peers pays: one start, the maps once, each metric at its fastest peer."""
    parts = [measured[fastest(measured, metric)[0]][metric] for metric in metrics]
    begin = min(measured[name]["start"]["seconds"] for name in PEERS if name in measured)
    maps = measured["pgc"]["maps"]
    return {
        "seconds": begin + maps["seconds"] + sum(part["seconds"] for part in parts),
        "forwards": maps["forwards"] + sum(part["forwards"] for part in parts),
    }


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def metric_rows(measured: Measured, metrics: list[str]) -> list[list[str]]:
    rows = []
    for metric in metrics:
        own, peers = measured["alone"][metric], fastest(measured, metric)
        for place, name in enumerate(peers):
            peer = measured[name][metric]
            ratio = f"{peer['seconds'] / own['seconds']:.1f}×"
            rows.append(
                [
                    metric if place == 0 else "",
                    f"{own['seconds']:.2f}" if place == 0 else "",
                    f"{own['forwards']:,.0f}" if place == 0 else "",
                    PEERS[name][0],
                    f"{peer['seconds']:.2f}",
                    f"{peer['forwards']:,.0f}",
                    ratio if place == 0 else f"({ratio})",
                ]
            )
    own, peers = measured["camfaith"], peers_total(measured, metrics)
    ratio = peers["seconds"] / own["process"]["seconds"]
    whole = [f"{own['process']['seconds']:.2f}", f"{own['everything']['forwards']:,.0f}"]
    rest = [f"{peers['seconds']:.2f}", f"{peers['forwards']:,.0f}", f"**{ratio:.1f}×**"]
    return [*rows, ["**all, one process**", *whole, "the fastest of each", *rest]]


def process_rows(measured: Measured) -> list[list[str]]:
    return [
        [name, *(f"{found[what]['seconds']:.2f}" if what in found else "" for what in ("start", "maps", "process"))]
        for name, found in measured.items()
    ]


def agreement_rows(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [[f"{r['metric']}, {r['column']}", r["peer"], r["maps"], f"{r['gap']:.1e}", f"{r['of']:.2g}"] for r in rows]


def page(result: dict[str, Any]) -> str:
    """The whole comparison as Markdown."""
    measured, metrics = result["medians"], result["metrics"]
    head = ["metric", "camfaith s", "forwards", "peer", "s", "forwards", "peer / camfaith"]
    agree = ["value", "peer", "maps", "largest difference", "of at most"]
    return "\n\n".join(
        [
            "# camfaith against its peers, the same work",
            f"SqueezeNet 1.0 at 224 px, {result['data']}, {result['images']} images, 8 CAMs; median of "
            f"{result['repeats']} turns; {result['machine']}. One camfaith metric is a suite of its own, with its "
            "maps, its reading and its tables; a peer's metric is the metric alone. All: from starting the process to "
            "its end.",
            table(head, metric_rows(measured, metrics)),
            table(["process", "start s", "maps s", "whole s"], process_rows(measured)),
            "Values, the same maps given to both (`tie-free`: every pixel has its own rank; `shown`: the CAMs, where "
            "many pixels tie):",
            table(agree, agreement_rows(result["agreement"])),
        ]
    )


def machine() -> str:
    names = ["torch", "camfaith", *(package for package, _ in PEERS.values())]
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in names
    )


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="photographs and trained weights; see above")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--metrics", nargs="+", default=list(METRICS), choices=METRICS)
    parser.add_argument("--out", type=Path, default=Path("runs/perf"))
    given = parser.parse_args()
    metrics = [metric for metric in METRICS if metric in given.metrics]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        data = () if given.data is None else ("--data", given.data.resolve())
        start("prepare.py", work, "--images", given.images, *data)
        runs = measure(work, metrics, given.repeats)
        start("agreement.py", "--work", work, "--metrics", *metrics, "--out", work / "agreement.json")
        agreement = json.loads((work / "agreement.json").read_text("utf-8"))
    result = {
        "data": "ImageNet photographs" if given.data else "untrained, synthetic photographs",
        "images": given.images,
        "repeats": given.repeats,
        "metrics": metrics,
        "machine": machine(),
        "medians": medians(runs),
        "agreement": agreement,
        "runs": runs,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "peers.json").write_text(json.dumps(result, indent=1), "utf-8")
    (given.out / "peers.md").write_text(page(result) + "\n", "utf-8")
    print(page(result))


if __name__ == "__main__":
    main()
