"""Every shipped metric keeps what a metric owes its users."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from camfaith.benchmark import metric_checks
from camfaith.metrics import SHIPPED, find

FEW = {
    "road": {"percentiles": [20, 50]},
    "sensitivity-n": {"sizes": [0.1, 0.5], "subsets": 24},
    "faithfulness-correlation": {"subsets": 24},
    "infidelity": {"samples": 24},
    "max-sensitivity": {"samples": 3},
}


@cache
def outcomes(name):
    """What each check says of a metric, on the largest of its inputs."""
    found = {}
    for examination in metric_checks(name, **FEW.get(name, {})):
        check = replace(examination.check, trials=examination.check.trials[-1:])
        found[check.name] = check.of(examination.subject)
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_metric_keeps_to_the_contract(name):
    failed = [(each.check, each.smallest, each.seen) for each in outcomes(name).values() if each.outcome == "failed"]
    assert failed == []


def test_checks_apply_where_they_have_a_meaning():
    said = {name: [c for c, each in outcomes(name).items() if each.outcome == "does not apply"] for name in SHIPPED}
    for name, skipped in said.items():
        kind = find(name)
        describes = not kind.better
        assert ("direction" in skipped) == (describes or "direction" in kind.exempt), name
        assert ("opposite-map" in skipped) == (describes or "opposite-map" in kind.exempt), name
        assert {*skipped} <= {"direction", "opposite-map", "nan-answer", "steps", *kind.exempt}, name
    asking = [name for name in SHIPPED if find(name)().probes(None, 100) and "nan-answer" in said[name]]
    assert set(asking) <= {"conservation", "random-logit"}  # one asks about an empty image, one of the image itself
    assert [name for name in SHIPPED if "steps" not in said[name]] == [
        "deletion",
        "insertion",
        "aopc",
        "pixel-flipping",
    ]
