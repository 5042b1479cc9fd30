"""What judges: faithfulness metrics that need a model and maps, and nothing else of this package."""

from typing import Any

from camfaith.metrics.artifacts import CornerArtifact
from camfaith.metrics.axioms import Conservation
from camfaith.metrics.base import Line, Metric
from camfaith.metrics.curves import Deletion, Insertion
from camfaith.metrics.infidelity import Infidelity
from camfaith.metrics.localisation import EnergyPointingGame
from camfaith.metrics.masking import AverageDrop
from camfaith.metrics.morf import ABPC, AOPC, PixelFlipping
from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.engine import Engine
from camfaith.metrics.road import ROAD
from camfaith.metrics.stability import MaxSensitivity
from camfaith.metrics.subsets import FaithfulnessCorrelation, SensitivityN
from camfaith.models.lookup import resolve

_SHIPPED: tuple[type[Metric], ...] = (
    Deletion,
    Insertion,
    AOPC,
    ABPC,
    PixelFlipping,
    ROAD,
    AverageDrop,
    SensitivityN,
    FaithfulnessCorrelation,
    Infidelity,
    Conservation,
    CornerArtifact,
    EnergyPointingGame,
    MaxSensitivity,
)
SHIPPED = {metric.name: f"{metric.__module__}:{metric.__name__}" for metric in _SHIPPED}


def find(name: str) -> Any:
    """The metric class of that name: shipped, an entry point of `camfaith.metrics`, or `module:Class`."""
    return resolve("metric", name, SHIPPED)


__all__ = [
    "ABPC",
    "AOPC",
    "ROAD",
    "SHIPPED",
    "AverageDrop",
    "Case",
    "Conservation",
    "CornerArtifact",
    "Deletion",
    "EnergyPointingGame",
    "Engine",
    "FaithfulnessCorrelation",
    "Infidelity",
    "Insertion",
    "Line",
    "Maps",
    "MaxSensitivity",
    "Metric",
    "PixelFlipping",
    "SensitivityN",
    "baseline",
    "find",
]
