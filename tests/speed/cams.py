"""camfaith's CAMs against pytorch-grad-cam's, torchcam's and captum's: seconds for one image and for a batch.

    python tests/speed/cams.py [--images 1 16] [--side 224] [--rounds 15] [--seconds 15] [--device cpu] [--cams …]

All in one process on one network, each called as its documentation says, in turn and warm; the median of the rounds.
Only the second of two calls in a row counts: the first finds the memory as another library left it. Each gives heat
maps of the images' size; torchcam's, which come on the layer's grid, are upsampled as its metrics do, and captum's by
its own `interpolate`. Who draws samples draws as many as the others.
Those that ask the network of every channel, or that a peer draws channel by channel, take minutes: they are measured
when they are named, each call counts, and rounds end where they have taken their `--seconds`. On small images
(`--side`) the ratios are much alike.
"""

from __future__ import annotations

import math
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
from torchvision.models import VisionTransformer

from camfaith import methods as own
from camfaith.models import Classifier, maps
from camfaith.models.speed.setup import laid_out

NETWORKS = {"resnet50": "layer4", "squeezenet1_0": "features.12", "vit_b_32": "encoder.layers.encoder_layer_11.ln_1"}
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
    "kpca-cam": pgc.KPCA_CAM,
    "shapleycam": pgc.ShapleyCAM,
    "finercam": pgc.FinerCAM,
    "fullgrad": pgc.FullGrad,
    "scorecam": pgc.ScoreCAM,
    "ablationcam": pgc.AblationCAM,
}
TORCHCAM = {
    "cam": torchcam.CAM,
    "gradcam": torchcam.GradCAM,
    "gradcam++": torchcam.GradCAMpp,
    "xgradcam": torchcam.XGradCAM,
    "layercam": torchcam.LayerCAM,
    "finercam": torchcam.FinerCAM,
    "smoothgradcam++": torchcam.SmoothGradCAMpp,
    "legrad": torchcam.LeGrad,
    "scorecam": torchcam.ScoreCAM,
    "ss-cam": torchcam.SSCAM,
    "is-cam": torchcam.ISCAM,
}
KNOWN = tuple(dict.fromkeys([*PGC, *TORCHCAM]))
LONG = ("scorecam", "ss-cam", "is-cam", "ablationcam", "fullgrad")
SETTINGS = {"smoothgradcam++": {"samples": 4}, "ss-cam": {"n_samples": 4}, "is-cam": {"n_steps": 4}}
THEIRS = {"smoothgradcam++": {"num_samples": 4}, "ss-cam": {"num_samples": 4}, "is-cam": {"num_samples": 4}}
ELSEWHERE = {
    "cam": ("squeezenet1_0", "vit_b_32"),
    "smoothgradcam++": ("vit_b_32",),
    "shapleycam": ("vit_b_32",),
    "legrad": ("resnet50", "squeezenet1_0"),
    "fullgrad": ("vit_b_32",),
}
"""Networks that have not what a CAM, or every peer's, needs: a linear layer behind the mean, attention."""
OWN = "camfaith"
SIX = "six together"
Call = Callable[[], object]


def with_pgc(name: str, network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    layers, targets = [network.get_submodule(layer)], [ClassifierOutputTarget(target)] * len(images)
    reshape = _patches if isinstance(network, VisionTransformer) else None
    asked = {"target_idx": target} if name == "finercam" else {"targets": targets}

    def call() -> object:
        with PGC[name](model=network, target_layers=layers, reshape_transform=reshape) as cam:
            return cam(input_tensor=images, **asked)

    return call


def _patches(tokens: Tensor) -> Tensor:
    side = math.isqrt(tokens.shape[1] - 1)
    return tokens[:, 1:].mT.unflatten(2, (side, side))


def with_torchcam(name: str, network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    where = list(network.encoder.layers) if name == "legrad" else layer

    def call() -> object:
        with TORCHCAM[name](network, where, **THEIRS.get(name, {})) as extractor:
            (found,) = extractor(target, network(images))
        return functional.interpolate(found[:, None], images.shape[-2:], mode="bilinear")

    return call


def with_captum(network: nn.Module, layer: str, images: Tensor, target: int) -> Call:
    cam = LayerGradCam(network, network.get_submodule(layer))
    size = images.shape[-2:]
    return lambda: LayerGradCam.interpolate(cam.attribute(images, target, relu_attributions=True), size, "bilinear")


def with_camfaith(name: str, classifier: Classifier, images: Tensor, target: int) -> Call:
    cam = own.find(name)(classifier, **SETTINGS.get(name, {}))
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
            found[name]["grad-cam"] = with_pgc(name, network, layer, images, target)
        if name in TORCHCAM and (
            name == "legrad" or not isinstance(network, VisionTransformer)
        ):  # it has no tokens else
            found[name]["torchcam"] = with_torchcam(name, network, layer, images, target)
    if "gradcam" in cams and not isinstance(network, VisionTransformer):
        found["gradcam"]["captum"] = with_captum(network, layer, images, target)
    if set(GRADIENT) <= set(cams):
        found[SIX] = {OWN: six_of_camfaith(classifier, images, target)}
    return found


def measure(asked: dict[str, dict[str, Call]], rounds: int, share: float) -> dict[str, dict[str, float]]:
    """The median seconds of every call; those of one CAM take turns, so that what else the machine does hits all alike,
    and end when a round of them has taken its share of time."""
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for what, sides in asked.items():
        started = time.perf_counter()
        for turn in range(rounds + 1):
            for who, call in sides.items():
                if what not in LONG:
                    call()
                wait()
                began = time.perf_counter()
                call()
                wait()
                if turn or what in LONG:  # the first is to warm up
                    seconds[what, who].append(time.perf_counter() - began)
            if (turn >= 3 or what in LONG) and time.perf_counter() - started > share:
                break
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for (what, who), taken in seconds.items():
        found[what][who] = median(taken)
    for name in GRADIENT if SIX in found else ():
        peers = {who: taken for who, taken in found[name].items() if who != OWN}
        found[SIX]["fastest of each"] = found[SIX].get("fastest of each", 0.0) + min(peers.values())
    return found


def wait() -> None:
    """Until a GPU has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


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
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=15, help="for the rounds of one CAM")
    parser.add_argument("--cams", nargs="+", default=[name for name in KNOWN if name not in LONG], choices=KNOWN)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS)
    given = parser.parse_args()
    print("| network | images | CAM | camfaith ms | fastest peer ms | peer / camfaith | others ms |")
    print("| :-- | --: | :-- | --: | --: | --: | :-- |")
    for name in given.networks:
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
        if isinstance(network, VisionTransformer):  # its head begins at zero, and every map would be
            torch.nn.init.normal_(network.heads.head.weight, std=0.02)
        network.to(given.device)
        for count in given.images:
            images = torch.rand(count, 3, given.side, given.side, device=given.device)
            cams = [cam for cam in given.cams if name not in ELSEWHERE.get(cam, ())]
            found = measure(calls(network, NETWORKS[name], images, cams), given.rounds, given.seconds)
            print("\n".join(rows(found, name, count)), flush=True)


if __name__ == "__main__":
    main()
