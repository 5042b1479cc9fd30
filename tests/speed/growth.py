"""How a run grows with methods and images: forwards, seconds and peak memory on the shipped network and photographs.

    python tests/speed/growth.py [--methods 1 4 16] [--images 8 32 128] [--out runs/perf]

Three suites: a subset metric (asked once per image, whatever the number of methods), a curve (asked for every map), and
both. Each measurement is a process of its own. The batch and the samples judged together are fixed, and the latter no
more than the fewest images, so that memory differs by what a suite keeps, not by a batch that measuring chose.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

BATCH, CHUNK = 64, 8
SUBSETS = {"name": "sensitivity-n", "sizes": [0.1, 0.5], "subsets": 16}
CURVE = {"name": "deletion", "steps": 10}
SUITES = {"subsets": [SUBSETS], "curves": [CURVE], "both": [SUBSETS, CURVE]}
CAMS = ("gradcam", "gradcam++", "layercam", "eigencam")
LAYERS = ("layer3", "layer2", "layer1")
PANELS = {"forwards": "model forwards", "seconds": "seconds", "peak": "peak memory, MiB"}
QUANTITIES = {**PANELS, "own": "of it the run's own"}
COLOURS = {"subsets": "#0072b2", "curves": "#d55e00", "both": "#009e73"}


def methods(count: int) -> list[dict[str, Any]]:
    """Up to 16, each with maps of its own: CAMs at several layers, and noise, which is drawn anew for every grid."""
    noise: list[dict[str, Any]] = [{"name": "random", "grid": n, "label": f"random {n}"} for n in (7, 5, 9, 11)]
    cams = [{"name": name, "layer": layer, "label": f"{name} {layer}"} for layer, name in product(LAYERS, CAMS)]
    return [*cams[:3], noise[0], *cams[3:], *noise[1:]][:count]


def measure(suite: str, count: int, images: int) -> dict[str, Any]:
    """One run in this process; a small one goes before it, so that nothing is timed that happens once."""
    from camfaith.benchmark import run
    from camfaith.models import load
    from camfaith.models.speed.allocator import keep_memory

    keep_memory()  # as `camfaith run` does
    load("fundus-resnet")
    before = peak()  # what the libraries and the network take
    head = {"name": suite, "methods": methods(count), "metrics": SUITES[suite], "batch_size": BATCH, "chunk": CHUNK}
    content = {"suite": head, "model": [{"name": "fundus-resnet"}]}
    with tempfile.TemporaryDirectory() as folder:
        run({**content, "dataset": [{"name": "fundus", "samples": 1}]}, out=Path(folder) / "warm")
        result = run({**content, "dataset": [{"name": "fundus", "samples": images}]}, out=Path(folder) / "run")
        most, cost = peak(), result.info["cost"]
        if errors := result.scores.loc[result.scores["status"] == "error", "error"].tolist():
            sys.exit(f"{len(errors)} scores failed; the first: {errors[0]}")
    asked = {"suite": suite, "methods": count, "images": images, "forwards": cost["forwards"]}
    return {**asked, "seconds": cost["wall_seconds"], "peak": most, "own": most - before, "cost": cost}


def peak() -> float:
    """The most memory that this process ever held, in MiB; macOS counts bytes and others KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def measure_elsewhere(suite: str, count: int, images: int) -> dict[str, Any]:
    """The same in a process of its own."""
    print(f"{suite}: {count} methods, {images} images", file=sys.stderr, flush=True)
    command = [sys.executable, __file__, "--measure", suite, str(count), str(images)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def exponents(rows: pd.DataFrame, quantity: str) -> list[float]:
    """a and b of quantity ∝ methodsᵃ · imagesᵇ, by least squares of the logarithms."""
    terms = np.column_stack([np.ones(len(rows)), np.log(rows[["methods", "images"]])])
    return list(np.linalg.lstsq(terms, np.log(rows[quantity]), rcond=None)[0][1:])


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers, with the digits that they need."""
    cells = [[cell if isinstance(cell, str) else shown(float(cell)) for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, [":--", *["--:"] * (len(head) - 1)], *cells])


def shown(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.2f}"


def page(measured: pd.DataFrame) -> str:
    """The exponents, and below them everything that was measured."""
    powers = [
        [f"{suite}: {title}", *(f"{power:z.2f}" for power in exponents(rows, what)), rows[what].min(), rows[what].max()]
        for (suite, rows), (what, title) in product(measured.groupby("suite", sort=False), QUANTITIES.items())
    ]
    columns = ["suite", "methods", "images", *QUANTITIES]
    whole = table(columns, measured[columns].itertuples(index=False))
    return table(["quantity", "exponent in methods", "exponent in images", "least", "most"], powers) + "\n\n" + whole


def draw(measured: pd.DataFrame, stem: Path) -> None:
    """A panel for each quantity against methods; suites differ by colour, numbers of images by dash and mark."""
    import seaborn as sns
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    from camfaith.reports import style

    looks = {"hue": "suite", "style": "images", "palette": COLOURS, "markers": True, "markersize": 4}
    with style.settings():
        axes = (figure := style.figure(style.WIDTH, 2.6)).subplots(1, len(PANELS))
        for axis, what in zip(axes, PANELS, strict=True):
            sns.lineplot(measured, x="methods", y=what, ax=axis, legend="full" if axis is axes[-1] else False, **looks)
            axis.set(xscale="log", yscale="log", ylabel="", title=PANELS[what])
            axis.set_xticks(counts := sorted(set(measured["methods"])), labels=counts)
            axis.xaxis.set_minor_locator(NullLocator())
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:,g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        axes[-1].set_ylim(measured["peak"].min() / 3, measured["peak"].max() * 3)
        sns.move_legend(axes[-1], "center left", bbox_to_anchor=(1, 0.5))
        style.save(figure, stem)


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--methods", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--images", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--out", type=Path, default=Path("runs/perf"))
    parser.add_argument("--measure", nargs=3, help=SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        suite, count, images = given.measure
        print(json.dumps(measure(suite, int(count), int(images))))
        return
    if min(len(set(given.methods)), len(set(given.images))) < 2 or not 0 < max(given.methods) <= 16:
        parser.error("an exponent needs two numbers of methods and two of images at least; there are 16 methods")
    measured = pd.DataFrame([measure_elsewhere(*a) for a in product(SUITES, given.methods, given.images)])
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "growth.json").write_text(measured.to_json(orient="records", indent=1), "utf-8")
    (given.out / "growth.md").write_text(page(measured) + "\n", "utf-8")
    draw(measured, given.out / "growth")
    print(page(measured))


if __name__ == "__main__":
    main()
