"""One line of a suite for a metric over several baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def each_baseline(entry: Any) -> list[Any]:
    """A metric's table once for each of its baselines, where it names several: a list of them, or "panel" for those
    that ship. Their labels say which: `deletion-black`, `deletion-blur(sigma=10)`. Anything else as it is."""
    asked = entry.get("baseline") if isinstance(entry, Mapping) else None
    if not (isinstance(asked, list | tuple) or asked == "panel"):
        return [entry]
    from camfaith.metrics.probing.baselines import several  # loads torch

    if not (wanted := several(asked)):
        return [entry]
    names = [_name(one) for one in wanted]
    times, bare = Counter(names), str(entry.get("label") or entry.get("name")).rpartition(":")[2]
    told = [name + _settings(one) * (times[name] > 1) for name, one in zip(names, wanted, strict=True)]
    return [{**entry, "baseline": one, "label": f"{bare}-{text}"} for one, text in zip(wanted, told, strict=True)]


def _name(baseline: Any) -> str:
    if isinstance(baseline, Mapping) and "image" in baseline:
        return Path(str(baseline["image"])).stem
    named = baseline.get("name") if isinstance(baseline, Mapping) else getattr(baseline, "name", baseline)
    return named if isinstance(named, str) else "image"


def _settings(baseline: Any) -> str:
    """What tells it from another of its name."""
    given = {key: value for key, value in baseline.items() if key != "name"} if isinstance(baseline, Mapping) else {}
    return f"({', '.join(f'{key}={value}' for key, value in given.items())})" if given else ""
