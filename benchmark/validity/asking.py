"""How a metric asks, and what that costs."""

from __future__ import annotations

from collections.abc import Sequence

from camfaith.metrics import Channels, Explained, Metric, Probe

WAYS = {
    "curve": "pixels leave or enter in the map's order",
    "parts": "the same parts leave whatever the map, which must tell what each costs",
    "once": "the map alters the image once or twice",
    "again": "the method explains altered images, or an altered network",
    "map": "the map is looked at, beside a mask, and nothing is asked",
}
"""Metrics of one way err alike, so that one of each is reported."""
LAYER, PIXELS = "features", 96 * 96


def way_of(metric: Metric) -> str:
    """By which of the `WAYS` it asks."""
    probes = _probes(metric)
    if any(isinstance(probe, Explained) for probe in probes):
        return "again"
    if not probes:
        return "map"
    _, a_map = forwards(metric)
    return "parts" if not a_map else "once" if a_map <= 2 else "curve"


def forwards(metric: Metric) -> tuple[int, int]:
    """Altered images of 96×96 pixels sent forward once an image, and once a map; passes behind a layer are none."""
    asked = [probe for probe in _probes(metric) if not isinstance(probe, Channels)]
    of_image = [probe.count(PIXELS) for probe in asked if probe.reads == "image"]
    return sum(of_image), sum(probe.count(PIXELS) for probe in asked) - sum(of_image)


def _probes(metric: Metric) -> Sequence[Probe]:
    return list(dict.fromkeys(metric.probes(LAYER, PIXELS)))
