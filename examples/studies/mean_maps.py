"""The mean map of each method, a row for each network: python mean_maps.py RUN ... --out corners.png

A map counts by its size (|M|, its mass made 1), so that the mean shows where a method looks whatever the photograph.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from camfaith.benchmark import load
from camfaith.benchmark.results.store import map_of

METHODS = ("gradcam", "xgradcam", "xgradcam, eps 0.1", "xgradcam, positive channels", "xgradcam, guarded", "layercam")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    rows = [row for run in given.runs for row in mean_maps(run)]
    figure, axes = plt.subplots(len(rows), len(METHODS), figsize=(1.75 * len(METHODS), 2.1 * len(rows)), squeeze=False)
    for method, place in zip(METHODS, axes[0], strict=True):
        place.set_title(method.replace(", ", ",\n"), fontsize=9)
    for axis, (model, count, maps) in zip(axes, rows, strict=True):
        for place, (mean, share) in zip(axis, maps, strict=True):
            place.imshow(mean, cmap="magma", vmin=0, vmax=3)
            place.set(xticks=[], yticks=[], xlabel=f"corners {share:.3f}")
        axis[0].set_ylabel(f"{model}\n{count} photographs", fontsize=8)
    figure.tight_layout()
    figure.savefig(given.out, dpi=110)


def mean_maps(run):
    """For each network its name, the number of photographs, and of each method the mean map, in units of a uniform one,
    with the mean share in the corners."""
    result = load(run)
    shares = result.select(metric="corner-causes", column="share").groupby(["model", "method"])["value"].mean()
    for model, maps in result.read("maps", method=list(METHODS)).groupby("model", sort=False):
        found = []
        for method in METHODS:
            sized = [np.abs(saliency(row)) for row in maps[maps["method"] == method].to_dict("records")]
            means = [size / size.mean() for size in sized if size.any()]
            found.append((np.mean(means, axis=0), shares[model, method]))
        yield model, maps["sample"].nunique(), found


def saliency(row):
    raw = map_of(row)
    return raw.clip(min=0) if row["rectified"] else raw


if __name__ == "__main__":
    main()
