"""What explains: own class activation maps, captum's attributions, and the controls they must beat."""

from typing import Any

from camfaith.methods.adapters import LIBRARIES, adapted
from camfaith.methods.base import Calls as Calls
from camfaith.methods.base import Method as Method
from camfaith.methods.decomposition import SingularMap as SingularMap
from camfaith.methods.gradient import GradientCAM as GradientCAM
from camfaith.models.lookup import resolve

# The methods that ship: one line each, in the order of every list of them. `as` makes a name public.
# isort: off
from camfaith.methods.linear import CAM as CAM
from camfaith.methods.gradient import GradCAM as GradCAM
from camfaith.methods.gradient import GradCAMPlusPlus as GradCAMPlusPlus
from camfaith.methods.gradient import XGradCAM as XGradCAM
from camfaith.methods.gradient import HiResCAM as HiResCAM
from camfaith.methods.gradient import LayerCAM as LayerCAM
from camfaith.methods.gradient import ElementWiseCAM as ElementWiseCAM
from camfaith.methods.decomposition import EigenCAM as EigenCAM
from camfaith.methods.decomposition import EigenGradCAM as EigenGradCAM
from camfaith.methods.decomposition import KPCACAM as KPCACAM
from camfaith.methods.masking import ScoreCAM as ScoreCAM
from camfaith.methods.masking import SSCAM as SSCAM
from camfaith.methods.masking import ISCAM as ISCAM
from camfaith.methods.ablation import AblationCAM as AblationCAM
from camfaith.methods.masking import RISE as RISE
from camfaith.methods.smooth import SmoothGradCAMPlusPlus as SmoothGradCAMPlusPlus
from camfaith.methods.shapley import ShapleyCAM as ShapleyCAM
from camfaith.methods.wrapping import FinerCAM as FinerCAM
from camfaith.methods.fullgrad import FullGrad as FullGrad
from camfaith.methods.wrapping import Fused as Fused
from camfaith.methods.transformer import AttentionRollout as AttentionRollout
from camfaith.methods.transformer import LeGrad as LeGrad
from camfaith.methods.captum_gradients import Saliency as Saliency
from camfaith.methods.captum_gradients import InputXGradient as InputXGradient
from camfaith.methods.captum_gradients import IntegratedGradients as IntegratedGradients
from camfaith.methods.captum_gradients import GradientShap as GradientShap
from camfaith.methods.deep_lift import DeepLift as DeepLift
from camfaith.methods.deep_lift import DeepLiftShap as DeepLiftShap
from camfaith.methods.lrp import LRP as LRP
from camfaith.methods.guided import GuidedBackprop as GuidedBackprop
from camfaith.methods.guided import Deconvolution as Deconvolution
from camfaith.methods.guided import GuidedGradCam as GuidedGradCam
from camfaith.methods.captum_gradients import LayerGradCam as LayerGradCam
from camfaith.methods.occlusion import Occlusion as Occlusion
from camfaith.methods.superpixels import FeatureAblation as FeatureAblation
from camfaith.methods.superpixels import ShapleyValueSampling as ShapleyValueSampling
from camfaith.methods.superpixels import KernelShap as KernelShap
from camfaith.methods.superpixels import Lime as Lime
from camfaith.methods.noise_tunnel import NoiseTunnel as NoiseTunnel
from camfaith.methods.controls import Random as Random
from camfaith.methods.controls import RandomPixels as RandomPixels
from camfaith.methods.controls import Constant as Constant
from camfaith.methods.controls import CenterGaussian as CenterGaussian
from camfaith.methods.controls import Sobel as Sobel
from camfaith.methods.controls import Oracle as Oracle
# isort: on

SHIPPED = {
    kind.name: f"{kind.__module__}:{kind.__name__}"
    for kind in tuple(globals().values())
    if isinstance(kind, type) and issubclass(kind, Method) and hasattr(kind, "name")
}
ALIASES = {"lrp": "lrp-epsilon"}
"""Former names, under which a method is still found."""


def find(name: str) -> Any:
    """The method class of that name: a shipped method or its alias, an entry point of `camfaith.methods`,
    `module:Class`, or another library's class (`pgc:Class`, `torchcam:Class`, `zennit:Composite`)."""
    library, _, theirs = name.partition(":")
    if theirs and library in LIBRARIES:
        return adapted(library, theirs)
    return resolve("method", ALIASES.get(name, name), SHIPPED, owes=("explain",))
