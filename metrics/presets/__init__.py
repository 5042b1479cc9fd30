"""Published protocols, to the letter: `preset("rise", "deletion")` is the metric of that name as RISE runs it."""

from __future__ import annotations

from typing import Any

from camfaith.metrics.presets import pgc, quantus, rise, road, torchcam, xplique
from camfaith.metrics.presets.protocol import Protocol as Protocol
from camfaith.models.lookup import UnknownName

PRESETS: dict[str, dict[str, type[Protocol]]] = {
    module.__name__.rpartition(".")[2]: {
        kind.name: kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Protocol) and hasattr(kind, "name")
    }
    for module in (rise, road, torchcam, pgc, quantus, xplique)
}
"""The metrics of each preset, by their names."""


def find(preset: str, metric: str) -> type[Protocol]:
    """The class of a metric as a preset runs it. `UnknownName` where there is no such preset, or it has no such
    metric."""
    of = metrics_of(preset)
    if metric not in of:
        raise UnknownName(f"{preset} metric", metric, of)
    return of[metric]


def metrics_of(preset: str) -> dict[str, type[Protocol]]:
    """All metrics of a preset, by their names; `UnknownName` where there is no such preset."""
    if preset not in PRESETS:
        raise UnknownName("preset", str(preset), PRESETS)
    return PRESETS[preset]


def preset(name: str, metric: str, **settings: Any) -> Protocol:
    """A metric as a published protocol runs it, to be called alone: `preset("rise", "deletion")(model, images, targets,
    maps)`. `settings` are those that the protocol leaves to its user. Raises `UnknownName` where there is none."""
    return find(name, metric)(**settings)
