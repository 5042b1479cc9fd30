"""Quantus's users: pixel flipping, and faithfulness correlation.

Of its other metrics that are wanted here, at 224 px in colour: ROAD raises an IndexError. Infidelity blackens one patch
after the other without ever restoring one, the same way in each of its samples; a sample with patches of 16 px takes
196 forwards, so 100 of them would take 19,600 for an image and a map, where captum takes 100. It is left out.
"""

from __future__ import annotations

import numpy as np
import quantus
from work import SUBSET_SHARE, SUBSETS, Side

# The number of values in a step must divide the number of pixels: 21 steps are next to 20. It flips colour values one
# by one, not pixels.
FEATURES_IN_STEP = 224 * 224 // 7
BATCH = 64  # images at a time, its own; a step or subset of more than one image is a batch

if __name__ == "__main__":
    side = Side.of_command_line()
    work = side.start()
    images, targets = work.images.numpy(), np.array(work.targets)
    np.random.seed(0)  # noqa: NPY002 - it draws from the global generator

    def ask(metric: quantus.Metric, maps: np.ndarray, *, softmax: bool) -> list[float]:
        return metric(
            model=work.network,
            x_batch=images,
            y_batch=targets,
            a_batch=maps,
            channel_first=True,
            softmax=softmax,
            device="cpu",
            batch_size=BATCH,
        )

    def flip(method: str) -> dict[str, list[float]]:
        """Most relevant first is deletion; least relevant first is insertion backwards."""
        metric = quantus.PixelFlipping(
            features_in_step=FEATURES_IN_STEP, perturb_baseline=0.0, normalise=False, disable_warnings=True
        )
        maps = work.maps[method]
        curves = {"morf": ask(metric, maps, softmax=True), "lerf": ask(metric, -maps, softmax=True)}
        return {name: np.mean(curve, axis=1).tolist() for name, curve in curves.items()}

    def correlate(method: str) -> dict[str, list[float]]:
        metric = quantus.FaithfulnessCorrelation(
            nr_runs=SUBSETS,
            subset_size=round(SUBSET_SHARE * images[0].size),
            perturb_baseline=0.0,
            normalise=False,
            return_aggregate=False,
            disable_warnings=True,
        )
        return {"correlation": ask(metric, work.maps[method], softmax=False)}

    side.judge("deletion-insertion", flip)
    side.judge("faithfulness-correlation", correlate)
    side.write()
