"""What explains: own class activation maps, captum's attributions, and the controls they must beat."""

from typing import Any

from camfaith.methods.ablation import AblationCAM
from camfaith.methods.adapters import LIBRARIES, adapted
from camfaith.methods.base import Calls, Method
from camfaith.methods.captum_gradients import GradientShap, InputXGradient, IntegratedGradients, LayerGradCam, Saliency
from camfaith.methods.controls import CenterGaussian, Constant, Oracle, Random, Sobel
from camfaith.methods.decomposition import KPCACAM, EigenCAM, EigenGradCAM, SingularMap
from camfaith.methods.deep_lift import DeepLift, DeepLiftShap
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
from camfaith.methods.guided import Deconvolution, GuidedBackprop, GuidedGradCam
from camfaith.methods.linear import CAM
from camfaith.methods.lrp import LRP
from camfaith.methods.masking import ISCAM, RISE, SSCAM, ScoreCAM
from camfaith.methods.noise_tunnel import NoiseTunnel
from camfaith.methods.occlusion import Occlusion
from camfaith.methods.shapley import ShapleyCAM
from camfaith.methods.smooth import SmoothGradCAMPlusPlus
from camfaith.methods.superpixels import FeatureAblation, KernelShap, Lime, ShapleyValueSampling
from camfaith.methods.transformer import AttentionRollout, LeGrad
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
    AttentionRollout,
    LeGrad,
    Saliency,
    InputXGradient,
    IntegratedGradients,
    GradientShap,
    DeepLift,
    DeepLiftShap,
    LRP,
    GuidedBackprop,
    Deconvolution,
    GuidedGradCam,
    LayerGradCam,
    Occlusion,
    FeatureAblation,
    ShapleyValueSampling,
    KernelShap,
    Lime,
    NoiseTunnel,
    Random,
    Constant,
    CenterGaussian,
    Sobel,
    Oracle,
)
SHIPPED = {method.name: f"{method.__module__}:{method.__name__}" for method in _SHIPPED}


def find(name: str) -> Any:
    """The method class of that name: shipped, an entry point of `camfaith.methods`, `module:Class`, or another
    library's as it is, `pgc:Class` and `torchcam:Class`."""
    library, _, theirs = name.partition(":")
    return adapted(library, theirs) if theirs and library in LIBRARIES else resolve("method", name, SHIPPED)


__all__ = [
    "CAM",
    "ISCAM",
    "KPCACAM",
    "LRP",
    "RISE",
    "SHIPPED",
    "SSCAM",
    "AblationCAM",
    "AttentionRollout",
    "Calls",
    "CenterGaussian",
    "Constant",
    "Deconvolution",
    "DeepLift",
    "DeepLiftShap",
    "EigenCAM",
    "EigenGradCAM",
    "ElementWiseCAM",
    "FeatureAblation",
    "FinerCAM",
    "FullGrad",
    "Fused",
    "GradCAM",
    "GradCAMPlusPlus",
    "GradientCAM",
    "GradientShap",
    "GuidedBackprop",
    "GuidedGradCam",
    "HiResCAM",
    "InputXGradient",
    "IntegratedGradients",
    "KernelShap",
    "LayerCAM",
    "LayerGradCam",
    "LeGrad",
    "Lime",
    "Method",
    "NoiseTunnel",
    "Occlusion",
    "Oracle",
    "Random",
    "Saliency",
    "ScoreCAM",
    "ShapleyCAM",
    "ShapleyValueSampling",
    "SingularMap",
    "SmoothGradCAMPlusPlus",
    "Sobel",
    "XGradCAM",
    "find",
]
