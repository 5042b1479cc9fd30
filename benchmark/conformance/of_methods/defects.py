"""Known defects of other libraries' methods, and the check that shows each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Defect:
    """What is wrong, the check that it fails, and the methods that have it."""

    what: str
    check: str
    methods: tuple[str, ...]


KNOWN_DEFECTS = (
    Defect("maps are in single precision, whatever the network's", "dtype", ("pgc:GradCAM",)),
    Defect("arrays are made that cannot hold bfloat16", "low-precision", ("pgc:GradCAM",)),
    Defect("the ε of 1e-8 in the display step is 0 in float16: 0/0", "low-precision", ("torchcam:GradCAM",)),
    Defect("the parameters' `.grad` is cleared and filled", "network-untouched", ("pgc:GradCAM",)),
    Defect("the network is left in evaluation mode", "training-mode", ("pgc:GradCAM",)),
    Defect(
        "a network in training is explained as such, and its statistics updated", "training-mode", ("torchcam:GradCAM",)
    ),
    Defect("gradients come by the parameters alone", "frozen", ("pgc:GradCAM", "torchcam:GradCAM")),
    Defect("gradients are not switched on", "no-grad", ("pgc:GradCAM", "torchcam:GradCAM")),
    Defect(
        "activations are kept without a copy, so that an in-place ReLU changes them under their gradients",
        "in-place",
        ("pgc:GradCAM", "torchcam:GradCAM"),
    ),
    Defect("of a layer that runs twice the first call is explained", "reused-layer", ("pgc:GradCAM",)),
    Defect(
        "the minimum is subtracted behind the ReLU: a constant positive map becomes all zero",
        "constant-evidence",
        ("pgc:GradCAM", "torchcam:GradCAM"),
    ),
    Defect("an absolute ε of 1e-6 in α rules where gradients are small", "logit-scale", ("pgc:GradCAMPlusPlus",)),
    Defect("α's division changes a copy, so that w is the sum of ReLU(g)³", "like", ("torchcam:GradCAMpp",)),
    Defect(
        "an ε without a sign is added to a sum of activations that may come near 0",
        "cancelling-channel",
        ("pgc:XGradCAM", "torchcam:XGradCAM"),
    ),
    Defect(
        "2 + ΣA·g, by which α divides, may come near 0, as in the paper", "cancelling-channel", ("pgc:GradCAMPlusPlus",)
    ),
    Defect("activations are centred, and the sign is left to chance", "planted-patch", ("pgc:EigenCAM",)),
    Defect("the sign of the principal component is left to chance", "evidence-against", ("pgc:EigenGradCAM",)),
    Defect("activations are centred, which the paper does not", "like", ("pgc:EigenCAM",)),
    Defect("division by a negative logit turns every weight's sign", "negative-logit", ("pgc:AblationCAM",)),
    Defect(
        "where activations are signed a channel is set to the minimum − 1e7, not to 0", "in-range", ("pgc:AblationCAM",)
    ),
    Defect("the coefficients of the masks go past 1", "in-range", ("torchcam:ISCAM",)),
    Defect("two calls draw different numbers", "repeatable", ("pgc:RandomCAM", "torchcam:SmoothGradCAMpp")),
    Defect("numbers come from the global generator", "random-state", ("pgc:RandomCAM", "torchcam:SmoothGradCAMpp")),
    Defect("the last noisy sample stands for all", "silent-cells", ("torchcam:SmoothGradCAMpp",)),
)
