"""camfaith's CAMs against pytorch-grad-cam's, torchcam's and captum's: seconds for one image and for a batch.

    python tests/speed/cams.py [--images 1 16] [--rounds 15] [--cams scorecam ablationcam]

All in one process on one network, each called as its documentation says, in turn and warm; the median of the rounds.
Only the second of two calls in a row counts: the first finds the memory as another library left it. Each gives heat
maps of the images' size; torchcam's, which come on the layer's grid, are upsampled as its metrics do, and captum's by
its own `interpolate`.
Those that ask the network of every channel take minutes, and are measured when they are named.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import median

import pytorch_grad_cam as pgc
import torch
import torchvision
from captum.attr import LayerGradCam
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torch.nn import functional
from torchcam import methods as torchcam

from camfaith import methods as own
from camfaith.models import Classifier, maps
from camfaith.models.speed import laid_out

NETWORKS = {"resnet50": "layer4", "squeezenet1_0": "features.12"}
GRADIENT = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "elementwise")
PGC = {
    "gradcam": pgc.GradCAM,
    "gradcam++": pgc.GradCAMPlusPlus,
    "xgradcam": pgc.XGradCAM,
    "hirescam": pgc.HiResCAM,
    "layercam": pgc.LayerCAM,
    "elementwise": pgc.GradCAMElementWise,
    "eigencam": pgc.EigenCAM,
    "eigengradcam": pgc.EigenGradCAM,
    "scorecam": pgc.ScoreCAM,
    "ablationcam": pgc.AblationCAM,
}
TORCHCAM = {
    "gradcam": torchcam.GradCAM,
    "gradcam++": torchcam.GradCAMpp,
    "xgradcam": torchcam.XGradCAM,
    "layercam": torchcam.LayerCAM,
    "scorecam": torchcam.ScoreCAM,
    "ss-cam": torchcam.SSCAM,
    "is-cam": torchcam.ISCAM,
}
KNOWN = tuple(dict.fromkeys([*PGC, *TORCHCAM]))
LONG = ("scorecam", "ss-cam", "is-cam", "ablationcam")
OWN = "camfaith"
SIX = "six together"
Call = Callable[[], object]


def with_pgc(kind: type, network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    layers, targets = [network.get_submodule(layer)], [ClassifierOutputTarget(target)] * len(images)

    def call() -> object:
        with kind(model=network, target_layers=layers) as cam:
            return cam(input_tensor=images, targets=targets)

    return call


def with_torchcam(kind: type, network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    def call() -> object:
        with kind(network, layer) as extractor:
            (found,) = extractor(target, network(images))
        return functional.interpolate(found[:, None], images.shape[-2:], mode="bilinear")

    return call


def with_captum(network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    cam = LayerGradCam(network, network.get_submodule(layer))
    size = images.shape[-2:]
    return lambda: LayerGradCam.interpolate(cam.attribute(images, target, relu_attributions=True), size, "bilinear")


def with_camfaith(name: str, classifier: Classifier, images: Tensor, target: int) -> Call:
    cam = own.find(name)(classifier)
    return lambda: cam(images, target)


def six_of_camfaith(classifier: Classifier, images: Tensor, target: int) -> Call:
    """One forward and one backward for all; the same heat maps as six calls."""
    cams = [own.find(name)(classifier) for name in GRADIENT]

    def call() -> object:
        evidence = classifier.evidence(laid_out(classifier.network, images), target, [str(classifier.layer)])
        raw = [maps.rectify(cam.explain(evidence, classifier)) for cam in cams]
        return [maps.normalise(maps.upsample(each, (images.shape[-2], images.shape[-1]))) for each in raw]

    return call


def calls(network: nn.Module, layer: str, images: Tensor, cams: Sequence[str]) -> dict[str, dict[str, Call]]:
    """What → who → a call; the six together are the peers' six calls one after the other."""
    with torch.inference_mode():
        target = int(network(images[:1]).argmax())  # a logit behind a ReLU may be 0 for others, and their gradients
    classifier = Classifier(network, layer=layer)
    found = {name: {OWN: with_camfaith(name, classifier, images, target)} for name in cams}
    for name in cams:
        if name in PGC:
            found[name]["grad-cam"] = with_pgc(PGC[name], network, layer, images, target)
        if name in TORCHCAM:
            found[name]["torchcam"] = with_torchcam(TORCHCAM[name], network, layer, images, target)
    if "gradcam" in cams:
        found["gradcam"]["captum"] = with_captum(network, layer, images, target)
    if set(GRADIENT) <= set(cams):
        found[SIX] = {OWN: six_of_camfaith(classifier, images, target)}
    return found


def measure(asked: dict[str, dict[str, Call]], rounds: int) -> dict[str, dict[str, float]]:
    """The median seconds of every call; those of one CAM take turns, so that what else the machine does hits all alike,
    and end when a round of them has taken its share of time."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for what, sides in asked.items():
        started = time.perf_counter()
        for turn in range(rounds + 1):
            for who, call in sides.items():
                call()
                began = time.perf_counter()
                call()
                if turn:  # the first is to warm up
                    seconds[what, who].append(time.perf_counter() - began)
            if turn >= 3 and time.perf_counter() - started > 15:
                break
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (what, who), taken in seconds.items():
        found[what][who] = median(taken)
    for name in GRADIENT if SIX in found else ():
        peers = {who: taken for who, taken in found[name].items() if who != OWN}
        found[SIX]["fastest of each"] = found[SIX].get("fastest of each", 0.0) + min(peers.values())
    return found


def rows(found: dict[str, dict[str, float]], network: str, images: int) -> list[str]:
    lines = []
    for what, sides in found.items():
        mine = sides[OWN]
        peer = min((who for who in sides if who != OWN), key=sides.__getitem__)
        others = ", ".join(f"{who} {1e3 * taken:.1f}" for who, taken in sides.items() if who not in (OWN, peer))
        cells = [network, str(images), what, f"{1e3 * mine:.1f}", f"{peer} {1e3 * sides[peer]:.1f}"]
        lines.append("| " + " | ".join([*cells, f"{sides[peer] / mine:.2f}×", others]) + " |")
    return lines


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cams", nargs="+", default=[name for name in KNOWN if name not in LONG], choices=KNOWN)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    given = parser.parse_args()
    print("| network | images | CAM | camfaith ms | fastest peer ms | peer / camfaith | others ms |")
    print("| :-- | --: | :-- | --: | --: | --: | :-- |")
    for name in given.networks:
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
        for count in given.images:
            images = torch.rand(count, 3, 224, 224)
            found = measure(calls(network, NETWORKS[name], images, given.cams), given.rounds)
            print("\n".join(rows(found, name, count)), flush=True)


if __name__ == "__main__":
    main()
