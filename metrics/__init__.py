"""What judges: faithfulness metrics that need a model and maps, and nothing else of this package."""

from typing import Any

from camfaith.models.lookup import resolve

# isort: off
# What a metric is made of. `as` makes a name public.
from camfaith.metrics.base import Direction as Direction, Line as Line, Metric as Metric
from camfaith.metrics.probing.answers import Answer as Answer, Answers as Answers
from camfaith.metrics.probing.baselines import Baseline as Baseline, baseline as baseline
from camfaith.metrics.probing.case import Case as Case, Maps as Maps, PerImage as PerImage
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
    Subsets as Subsets,
)
from camfaith.metrics.probing.redrawn import Explained as Explained, as_meant as as_meant

from camfaith.models.classifier import ScoreKind as ScoreKind

# The metrics that ship: one line each, in the order of every list of them.
from camfaith.metrics.curves import Deletion as Deletion
from camfaith.metrics.curves import Insertion as Insertion
from camfaith.metrics.morf import AOPC as AOPC
from camfaith.metrics.morf import ABPC as ABPC
from camfaith.metrics.morf import PixelFlipping as PixelFlipping
from camfaith.metrics.road import ROAD as ROAD
from camfaith.metrics.irof import IROF as IROF
from camfaith.metrics.masking import AverageDrop as AverageDrop
from camfaith.metrics.coherency import Coherency as Coherency
from camfaith.metrics.subsets import SensitivityN as SensitivityN
from camfaith.metrics.subsets import FaithfulnessCorrelation as FaithfulnessCorrelation
from camfaith.metrics.infidelity import Infidelity as Infidelity
from camfaith.metrics.axioms import Conservation as Conservation
from camfaith.metrics.artifacts import CornerArtifact as CornerArtifact
from camfaith.metrics.causes import CornerCauses as CornerCauses
from camfaith.metrics.localisation import EnergyPointingGame as EnergyPointingGame
from camfaith.metrics.localisation import PointingGame as PointingGame
from camfaith.metrics.objects import SeveralObjects as SeveralObjects
from camfaith.metrics.shape import Sparseness as Sparseness
from camfaith.metrics.signs import SignedRemoval as SignedRemoval
from camfaith.metrics.agreement import SpearmanAgreement as SpearmanAgreement
from camfaith.metrics.stability import MaxSensitivity as MaxSensitivity
from camfaith.metrics.equivariance import ShiftEquivariance as ShiftEquivariance
from camfaith.metrics.random_logit import RandomLogit as RandomLogit
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
