"""Where the peers are right their values are camfaith's: both on the same maps, in a process that nobody measures.

The network takes normalised images here, as the peers give them to it, so that 0, a factor and a perturbation mean the
same to all. Of random draws both get the same. Quantus's own "black" is the least value of the image, so it is given a
number instead. `tie-free` maps have every pixel's rank for its value; `shown` ones are
the CAMs, in which many pixels tie.
"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import quantus
import torch
from captum.metrics import infidelity
from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange
from pytorch_grad_cam.metrics.perturbation_confidence import (
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from side_torchcam import GivenMaps
from torch import Tensor
from torchcam.metrics import ClassificationMetric, DeletionInsertionMetric
from work import METHODS, SAMPLES, SUBSET_SHARE, SUBSETS, Work, read_work

from camfaith.metrics import ROAD, AverageDrop, Deletion, FaithfulnessCorrelation, Infidelity, Insertion, PixelFlipping

STEPS = 16  # divides 224², so that all remove the same numbers of pixels
ROAD_PERCENTILES = (25, 50, 75)  # as above
JUDGED = ("gradcam", "layercam", "eigencam")
Row = dict[str, str | float]


def tie_free(maps: Tensor) -> Tensor:
    """Every pixel's rank by rising value, as a fraction that single precision holds exactly."""
    order = maps.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    return (order.to(torch.float32) / 2**16).view_as(maps)


def softmax_targets(work: Work) -> list[ClassifierOutputSoftmaxTarget]:
    return [ClassifierOutputSoftmaxTarget(target) for target in work.targets]


def torchcam_curves(work: Work, maps: Tensor) -> dict[str, Tensor]:
    metric = DeletionInsertionMetric(GivenMaps(work.network, maps), partial(torch.softmax, dim=-1), steps=STEPS)
    metric.update(work.images, work.targets)
    return {name: torch.tensor([value]) for name, value in metric.summary().items()}


def own_curves(work: Work, maps: Tensor) -> dict[str, Tensor]:
    ask = (work.network, work.images, work.targets, maps)
    return {
        "deletion_auc": Deletion(steps=STEPS, baseline="black")(*ask)["auc"].mean()[None],
        "insertion_auc": Insertion(steps=STEPS, baseline="black")(*ask)["auc"].mean()[None],
    }


def quantus_flipping(work: Work, maps: Tensor) -> dict[str, Tensor]:
    step = 224 * 224 // 7  # of 3·224² colour values: 21 steps
    metric = quantus.PixelFlipping(features_in_step=step, perturb_baseline=0.0, normalise=False, disable_warnings=True)
    return {"mean": torch.tensor(ask_quantus(metric, work, maps, softmax=True)).mean(1)}


def ask_quantus(metric: quantus.Metric, work: Work, maps: Tensor, *, softmax: bool) -> list[float]:
    arrays = {"x_batch": work.images.numpy(), "y_batch": np.array(work.targets), "a_batch": maps.numpy()}
    return metric(model=work.network, **arrays, channel_first=True, softmax=softmax, device="cpu")


def own_flipping(work: Work, maps: Tensor) -> dict[str, Tensor]:
    metric = PixelFlipping(steps=21, baseline="black")
    return {"mean": metric(work.network, work.images, work.targets, maps)["mean"]}


def pgc_road(work: Work, maps: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, kind in (("morf", RemoveMostRelevantFirst), ("lerf", RemoveLeastRelevantFirst)):
        scores = [
            PerturbationConfidenceMetric(kind(percentile, NoisyLinearImputer(noise=0)))(
                work.images, maps.numpy(), softmax_targets(work), work.network, return_diff=False
            )
            for percentile in ROAD_PERCENTILES
        ]
        found[name] = torch.from_numpy(np.mean(scores, axis=0))
    return found


def own_road(work: Work, maps: Tensor) -> dict[str, Tensor]:
    found = ROAD(percentiles=ROAD_PERCENTILES, noise=0)(work.network, work.images, work.targets, maps)
    return {name: found[name] for name in ("morf", "lerf")}


def pgc_removed(work: Work, maps: Tensor) -> dict[str, Tensor]:
    """The share of pixels that its ROAD removes when 90 % are asked of it."""
    kept = RemoveMostRelevantFirst(10, lambda _image, mask: mask)
    return {"share removed of 90 %": torch.stack([1 - kept(None, each).double().mean() for each in maps])}


def own_removed(work: Work, maps: Tensor) -> dict[str, Tensor]:
    pixels = maps[0].numel()
    (removed,) = ROAD(percentiles=(90,)).probes(None, pixels)[0].removed(pixels)
    return {"share removed of 90 %": torch.full((len(maps),), removed / pixels)}


def pgc_change(work: Work, maps: Tensor) -> dict[str, Tensor]:
    """Its drop is not divided by the score; here it is."""
    change = CamMultImageConfidenceChange()(work.images, maps.numpy(), softmax_targets(work), work.network)
    whole = work.network(work.images).softmax(1)[range(len(work.images)), work.targets]
    return {"drop": torch.from_numpy(change).clamp(max=0).neg() / whole}


def torchcam_drop(work: Work, maps: Tensor) -> dict[str, Tensor]:
    metric = ClassificationMetric(GivenMaps(work.network, maps), partial(torch.softmax, dim=-1))
    metric.update(work.images, work.targets)
    return {"drop": torch.tensor([metric.summary()["avg_drop"]])}


def own_drop(work: Work, maps: Tensor, *, mean: bool) -> dict[str, Tensor]:
    drop = AverageDrop()(work.network, work.images, work.targets, maps)["drop"]
    return {"drop": drop.mean()[None] if mean else drop}


def captum_infidelity(work: Work, maps: Tensor) -> dict[str, Tensor]:
    """Both with and without the best scale, with camfaith's perturbations; a third of the map for each colour."""
    pixels = maps[0].numel()
    (probe,) = PERTURBING.probes(None, pixels)
    drawn = probe.factors(pixels, 0, work.images).view(SAMPLES, 1, *maps.shape[1:])

    def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
        added = drawn.repeat(len(images) // SAMPLES, 3, 1, 1)
        return added, images - added

    spread = maps[:, None].expand_as(work.images) / 3
    ask = partial(infidelity, work.network, perturb, work.images, spread, target=work.targets)
    found = {name: ask(n_perturb_samples=SAMPLES, normalize=scaled) for name, scaled in SCALED.items()}
    return {name: value.double() for name, value in found.items()}


SCALED = {"infidelity": False, "infidelity_scaled": True}
PERTURBING = Infidelity(perturbation="noise", features="pixels", sigma=0.2, samples=SAMPLES)
REMOVING = FaithfulnessCorrelation(size=SUBSET_SHARE, subsets=SUBSETS, features="pixels")


def own_infidelity(work: Work, maps: Tensor) -> dict[str, Tensor]:
    found = PERTURBING(work.network, work.images, work.targets, maps)
    return {name: found[name] for name in SCALED}


@contextmanager
def subsets_of_camfaith(metric: FaithfulnessCorrelation, images: int, pixels: int) -> Iterator[None]:
    """Quantus draws colour values with numpy's global generator: let it draw camfaith's pixels, all three colours."""
    members = metric.probes(None, pixels)[0].members(pixels)
    drawn = [np.concatenate([row.nonzero()[:, 0].numpy() + c * pixels for c in range(3)]) for row in members]
    with mock.patch("numpy.random.choice", side_effect=[row for row in drawn for _ in range(images)]):
        yield


def quantus_correlation(work: Work, maps: Tensor) -> dict[str, Tensor]:
    pixels = maps[0].numel()
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=SUBSETS,
        subset_size=9,
        perturb_baseline=0.0,
        normalise=False,
        return_aggregate=False,
        disable_warnings=True,
    )
    with subsets_of_camfaith(REMOVING, len(maps), pixels):
        return {"correlation": torch.tensor(ask_quantus(metric, work, maps, softmax=False))}


def own_correlation(work: Work, maps: Tensor) -> dict[str, Tensor]:
    return REMOVING(work.network, work.images, work.targets, maps)


Judge = Callable[[Work, Tensor], dict[str, Tensor]]
PAIRS: list[tuple[str, str, Judge, Judge]] = [
    ("deletion-insertion", "torchcam", torchcam_curves, own_curves),
    ("deletion-insertion", "quantus (its PixelFlipping)", quantus_flipping, own_flipping),
    ("road", "pytorch-grad-cam (noise 0)", pgc_road, own_road),
    ("road", "pytorch-grad-cam", pgc_removed, own_removed),
    ("average-drop", "pytorch-grad-cam (divided by the score)", pgc_change, partial(own_drop, mean=False)),
    ("average-drop", "torchcam", torchcam_drop, partial(own_drop, mean=True)),
    ("faithfulness-correlation", "quantus (camfaith's subsets)", quantus_correlation, own_correlation),
    ("infidelity", "captum (camfaith's perturbations)", captum_infidelity, own_infidelity),
]
RANKED = ("deletion-insertion", "road")


def compare(work: Work, metrics: list[str], methods: list[str]) -> Iterator[Row]:
    """One row for each pair, column and kind of maps: the largest difference over images and methods."""
    for metric, peer, theirs, ours in PAIRS:
        if metric not in metrics:
            continue
        for kind in ("tie-free", "shown") if metric in RANKED else ("shown",):
            gaps: dict[str, float] = {}
            sizes: dict[str, float] = {}
            for method in methods:
                maps = torch.from_numpy(work.maps[method])
                maps = tie_free(maps) if kind == "tie-free" else maps
                found, expected = ours(work, maps), theirs(work, maps)
                for column, value in expected.items():
                    gap = float((found[column].double() - value.double()).abs().max())
                    gaps[column] = max(gaps.get(column, 0.0), gap)
                    sizes[column] = max(sizes.get(column, 0.0), float(value.abs().max()))
            for column, gap in gaps.items():
                yield {"metric": metric, "peer": peer, "column": column, "maps": kind, "gap": gap, "of": sizes[column]}


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--metrics", nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=list(JUDGED), choices=METHODS)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with torch.no_grad():
        rows = list(compare(read_work(given.work), given.metrics, given.methods))
    given.out.write_text(json.dumps(rows), "utf-8")
