"""pytorch-grad-cam's users: its eight CAMs, its ROAD, and its change in confidence under `image × map`.

All images are one batch, which is its fastest. Its drop and its increase are two metrics that ask the network the same:
here they are taken from one `CamMultImageConfidenceChange`, half of the calls.
"""

from __future__ import annotations

import numpy as np
from pytorch_grad_cam import (
    EigenCAM,
    EigenGradCAM,
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from pytorch_grad_cam.metrics.cam_mult_image import CamMultImageConfidenceChange
from pytorch_grad_cam.metrics.road import ROADLeastRelevantFirst, ROADMostRelevantFirst
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget, ClassifierOutputTarget
from work import LAYER, METHODS, PERCENTILES, Side

CAMS = dict(
    zip(
        METHODS,
        (GradCAM, GradCAMPlusPlus, XGradCAM, HiResCAM, LayerCAM, GradCAMElementWise, EigenCAM, EigenGradCAM),
        strict=True,
    )
)

if __name__ == "__main__":
    side = Side.of_command_line()
    work = side.start()
    logits = [ClassifierOutputTarget(target) for target in work.targets]
    probabilities = [ClassifierOutputSoftmaxTarget(target) for target in work.targets]
    layers = [work.network.get_submodule(LAYER)]

    own = {}
    with side.measure("maps"):
        for name, kind in CAMS.items():
            with kind(model=work.network, target_layers=layers) as cam:
                own[name] = cam(input_tensor=work.images, targets=logits)

    def road(method: str) -> dict[str, list[float]]:
        """Percentile p keeps what lies below it, so that 100 − p per cent leave."""
        maps, found = work.maps[method], {}
        for percentile in PERCENTILES:
            for name, kind in (("morf", ROADMostRelevantFirst), ("lerf", ROADLeastRelevantFirst)):
                scores = kind(percentile=percentile)(work.images, maps, probabilities, work.network, return_diff=True)
                found[f"{name}_{100 - percentile}"] = scores.tolist()
        return found

    def change(method: str) -> dict[str, list[float]]:
        change = CamMultImageConfidenceChange()(work.images, work.maps[method], probabilities, work.network)
        return {"drop_absolute": np.maximum(-change, 0).tolist(), "increase": np.float32(change > 0).tolist()}

    side.judge("average-drop", change)
    side.judge("road", road)
    differences = {name: float(np.abs(own[name] - work.maps[name]).max()) for name in METHODS}
    side.write(maps_differ=differences)
