"""What explains: own class activation maps, captum's attributions, and the controls they must beat."""

from typing import Any

from camfaith.methods.ablation import AblationCAM
from camfaith.methods.attribution import (
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)
from camfaith.methods.base import Calls, Method
from camfaith.methods.controls import CenterGaussian, Constant, Oracle, Random, Sobel
from camfaith.methods.decomposition import KPCACAM, EigenCAM, EigenGradCAM, SingularMap
from camfaith.methods.fullgrad import FullGrad
from camfaith.methods.gradient import (
    ElementWiseCAM,
    GradCAM,
    GradCAMPlusPlus,
    GradientCAM,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from camfaith.methods.linear import CAM
from camfaith.methods.masking import ISCAM, RISE, SSCAM, ScoreCAM
from camfaith.methods.shapley import ShapleyCAM
from camfaith.methods.smooth import SmoothGradCAMPlusPlus
from camfaith.methods.wrapping import FinerCAM, Fused
from camfaith.models.lookup import resolve

_SHIPPED: tuple[type[Method], ...] = (
    CAM,
    GradCAM,
    GradCAMPlusPlus,
    XGradCAM,
    HiResCAM,
    LayerCAM,
    ElementWiseCAM,
    EigenCAM,
    EigenGradCAM,
    KPCACAM,
    ScoreCAM,
    SSCAM,
    ISCAM,
    AblationCAM,
    RISE,
    SmoothGradCAMPlusPlus,
    ShapleyCAM,
    FinerCAM,
    FullGrad,
    Fused,
    Saliency,
    InputXGradient,
    IntegratedGradients,
    GuidedBackprop,
    GuidedGradCam,
    LayerGradCam,
    Occlusion,
    Random,
    Constant,
    CenterGaussian,
    Sobel,
    Oracle,
)
SHIPPED = {method.name: f"{method.__module__}:{method.__name__}" for method in _SHIPPED}


def find(name: str) -> Any:
    """The method class of that name: shipped, an entry point of `camfaith.methods`, or `module:Class`."""
    return resolve("method", name, SHIPPED)


__all__ = [
    "CAM",
    "ISCAM",
    "KPCACAM",
    "RISE",
    "SHIPPED",
    "SSCAM",
    "AblationCAM",
    "Calls",
    "CenterGaussian",
    "Constant",
    "EigenCAM",
    "EigenGradCAM",
    "ElementWiseCAM",
    "FinerCAM",
    "FullGrad",
    "Fused",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientCAM",
    "GuidedBackprop",
    "GuidedGradCam",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "LayerCAM",
    "LayerGradCam",
    "Method",
    "Occlusion",
    "Oracle",
    "Random",
    "Saliency",
    "ScoreCAM",
    "ShapleyCAM",
    "SingularMap",
    "SmoothGradCAMPlusPlus",
    "Sobel",
    "XGradCAM",
    "find",
]
