"""What judges: faithfulness metrics that need a model and maps, and nothing else of this package."""

from typing import Any

from camfaith.metrics.artifacts import CornerArtifact
from camfaith.metrics.axioms import Conservation
from camfaith.metrics.base import Line, Metric
from camfaith.metrics.baselines import baseline
from camfaith.metrics.case import Case, Maps
from camfaith.metrics.curves import Deletion, Insertion
from camfaith.metrics.engine import Engine, Meter
from camfaith.metrics.localisation import EnergyPointingGame
from camfaith.metrics.subsets import SensitivityN
from camfaith.models.lookup import resolve

_SHIPPED: tuple[type[Metric], ...] = (
    Deletion,
    Insertion,
    SensitivityN,
    Conservation,
    CornerArtifact,
    EnergyPointingGame,
)
SHIPPED = {metric.name: f"{metric.__module__}:{metric.__name__}" for metric in _SHIPPED}


def find(name: str) -> Any:
    """The metric class of that name: shipped, an entry point of `camfaith.metrics`, or `module:Class`."""
    return resolve("metric", name, SHIPPED)


__all__ = [
    "SHIPPED",
    "Case",
    "Conservation",
    "CornerArtifact",
    "Deletion",
    "EnergyPointingGame",
    "Engine",
    "Insertion",
    "Line",
    "Maps",
    "Meter",
    "Metric",
    "SensitivityN",
    "baseline",
    "find",
]
