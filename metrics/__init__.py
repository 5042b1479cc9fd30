"""What judges: faithfulness metrics that need a model and maps, and nothing else of this package."""

from typing import Any

from camfaith.models.lookup import resolve

# isort: off
# What a metric is made of. `as` makes a name public.
from camfaith.metrics.base import Direction as Direction, Line as Line, Metric as Metric
from camfaith.metrics.probing.answers import Answer as Answer, Answers as Answers
from camfaith.metrics.probing.baselines import Baseline as Baseline, baseline as baseline
from camfaith.metrics.probing.case import Case as Case, PerImage as PerImage
from camfaith.metrics.probing.maps import Maps as Maps, Spent as Spent
from camfaith.metrics.probing.engine import Engine as Engine
from camfaith.metrics.probing.pool import Pool as Pool
from camfaith.metrics.probing.probes import (
    Blank as Blank,
    Channels as Channels,
    Curve as Curve,
    Fill as Fill,
    ImageProbe as ImageProbe,
    OneImage as OneImage,
    Planes as Planes,
    Probe as Probe,
    Reads as Reads,
    Regions as Regions,
    Rounds as Rounds,
    Subject as Subject,
)
from camfaith.metrics.probing.features import Cells as Cells, Features as Features, Pixels as Pixels
from camfaith.metrics.probing.features import Superpixels as Superpixels
from camfaith.metrics.probing.subsets import Subsets as Subsets
from camfaith.metrics.probing.redrawn import Explained as Explained, as_meant as as_meant
from camfaith.metrics.probing.redrawn import before_and_after as before_and_after
from camfaith.metrics.probing.segments import WithoutSegments as WithoutSegments

from camfaith.models.classifier import ScoreKind as ScoreKind

# The metrics that ship: one line each, in the order of every list of them.
from camfaith.metrics.curves import Deletion as Deletion
from camfaith.metrics.curves import Insertion as Insertion
from camfaith.metrics.morf import AOPC as AOPC
from camfaith.metrics.morf import ABPC as ABPC
from camfaith.metrics.morf import PixelFlipping as PixelFlipping
from camfaith.metrics.cell_deletion import CellDeletion as CellDeletion
from camfaith.metrics.patches import RegionPerturbation as RegionPerturbation
from camfaith.metrics.patches import Selectivity as Selectivity
from camfaith.metrics.curve_correlation import DeletionCorrelation as DeletionCorrelation
from camfaith.metrics.curve_correlation import InsertionCorrelation as InsertionCorrelation
from camfaith.metrics.road import ROAD as ROAD
from camfaith.metrics.irof import IROF as IROF
from camfaith.metrics.masking import AverageDrop as AverageDrop
from camfaith.metrics.masking import EqualAreaDrop as EqualAreaDrop
from camfaith.metrics.masking import AverageDropInDeletion as AverageDropInDeletion
from camfaith.metrics.coherency import Coherency as Coherency
from camfaith.metrics.adcc import Complexity as Complexity
from camfaith.metrics.adcc import ADCC as ADCC
from camfaith.metrics.adcc import ARCC as ARCC
from camfaith.metrics.subsets import SensitivityN as SensitivityN
from camfaith.metrics.subsets import FaithfulnessCorrelation as FaithfulnessCorrelation
from camfaith.metrics.subsets import MuFidelity as MuFidelity
from camfaith.metrics.subsets import FaithfulnessEstimate as FaithfulnessEstimate
from camfaith.metrics.monotonicity import MonotonicityNguyen as MonotonicityNguyen
from camfaith.metrics.monotonicity import MonotonicityArya as MonotonicityArya
from camfaith.metrics.infidelity import Infidelity as Infidelity
from camfaith.metrics.axioms import Conservation as Conservation
from camfaith.metrics.non_sensitivity import NonSensitivity as NonSensitivity
from camfaith.metrics.artifacts import CornerArtifact as CornerArtifact
from camfaith.metrics.causes import CornerCauses as CornerCauses
from camfaith.metrics.surroundings import PaddingSwap as PaddingSwap
from camfaith.metrics.surroundings import CanvasLeakage as CanvasLeakage
from camfaith.metrics.rolling import ShiftResidual as ShiftResidual
from camfaith.metrics.template import TemplateScore as TemplateScore
from camfaith.metrics.checkerboard import Checkerboard as Checkerboard
from camfaith.metrics.localisation import EnergyPointingGame as EnergyPointingGame
from camfaith.metrics.localisation import PointingGame as PointingGame
from camfaith.metrics.overlap import RelevanceRank as RelevanceRank
from camfaith.metrics.overlap import TopKIntersection as TopKIntersection
from camfaith.metrics.overlap import IoU as IoU
from camfaith.metrics.overlap import LocalisationAUC as LocalisationAUC
from camfaith.metrics.objects import SeveralObjects as SeveralObjects
from camfaith.metrics.shape import Sparseness as Sparseness
from camfaith.metrics.signs import SignedRemoval as SignedRemoval
from camfaith.metrics.cost import Cost as Cost
from camfaith.metrics.agreement import SpearmanAgreement as SpearmanAgreement
from camfaith.metrics.agreement import SSIMAgreement as SSIMAgreement
from camfaith.metrics.agreement import TopKAgreement as TopKAgreement
from camfaith.metrics.stability import MaxSensitivity as MaxSensitivity
from camfaith.metrics.stability import LocalLipschitz as LocalLipschitz
from camfaith.metrics.relative_stability import RelativeStability as RelativeStability
from camfaith.metrics.equivariance import ShiftEquivariance as ShiftEquivariance
from camfaith.metrics.equivariance import FlipEquivariance as FlipEquivariance
from camfaith.metrics.random_logit import RandomLogit as RandomLogit
from camfaith.metrics.random_logit import ClassContrast as ClassContrast
from camfaith.metrics.randomisation import ParameterRandomisation as ParameterRandomisation
from camfaith.metrics.mprt import EfficientMPRT as EfficientMPRT
from camfaith.metrics.mprt import SmoothMPRT as SmoothMPRT
from camfaith.metrics.input_invariance import InputInvariance as InputInvariance
# isort: on

from camfaith.metrics.presets import preset as preset

SHIPPED = {
    kind.name: f"{kind.__module__}:{kind.__name__}"
    for kind in tuple(globals().values())
    if isinstance(kind, type) and issubclass(kind, Metric) and hasattr(kind, "name")
}


def find(name: str) -> Any:
    """The metric class of that name: shipped, an entry point of `camfaith.metrics`, or `module:Class`."""
    return resolve("metric", name, SHIPPED, owes=("probes", "judge or judge_all"))
