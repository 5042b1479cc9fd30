"""Every shipped metric keeps what a metric owes its users."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from camfaith.benchmark import metric_checks
from camfaith.metrics import SHIPPED, find

SUBSETS = ("mu-fidelity", "faithfulness-correlation", "faithfulness-estimate", "non-sensitivity", "monotonicity-nguyen")
FEW = {
    **{name: {"subsets": 16} for name in SUBSETS},
    "irof": {"segments": 12},
    "template-score": {"pool": 3},
    "road": {"percentiles": [20, 50]},
    "sensitivity-n": {"sizes": [1, 0.5], "subsets": 49},
    "arcc": {"percentiles": [40]},
    "infidelity": {"samples": 24},
    "max-sensitivity": {"samples": 3},
    "local-lipschitz": {"samples": 3},
    "relative-stability": {"samples": 3},
    "parameter-randomisation": {"steps": 3},
    "smooth-mprt": {"steps": 1},
}


def found(name, **settings):
    """What each check says of a metric, on the largest of its inputs."""
    for examination in metric_checks(name, **settings):
        check = replace(examination.check, trials=examination.check.trials[-1:])
        yield check.of(examination.subject)


@cache
def of_shipped(name):
    return list(found(name, **FEW.get(name, {})))


def failures(findings):
    return [(each.check, each.smallest, each.seen) for each in findings if each.outcome == "failed"]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_metric_keeps_to_the_contract(name):
    assert failures(of_shipped(name)) == []


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("deletion", {"tolerance": 0.05}),
        ("insertion", {"score": "logit", "baseline": "noise"}),
        ("pointing-game", {"tolerance": 2}),
    ],
)
def test_other_settings_keep_to_it_too(name, settings):
    assert failures(found(name, **settings)) == []


def test_checks_apply_where_they_have_a_meaning():
    said = {name: {each.check for each in of_shipped(name) if each.outcome == "does not apply"} for name in SHIPPED}
    for name, skipped in said.items():
        kind = find(name)
        directed = {"direction", "opposite-map"} - ({*kind.exempt} if kind.better else set())
        assert (directed & skipped) == (set() if kind.better else directed), name
        assert skipped <= {"direction", "opposite-map", "nan-answer", "steps", *kind.exempt}, name
    asking = {name for name in SHIPPED if find(name)().probes(None, 100) and "nan-answer" in said[name]}
    empty, same, dark = {"conservation"}, {"random-logit", "class-contrast"}, {"input-invariance"}
    same |= {"parameter-randomisation", "efficient-mprt", "padding-swap"}
    others = {"template-score"}
    assert asking <= empty | same | dark | others, "others ask about images at which the check's network fails"
    curves = {name for name in SHIPPED if "steps" not in said[name]}
    assert curves == {
        *("deletion", "insertion", "aopc", "pixel-flipping", "cell-deletion", "deletion-correlation"),
        *("insertion-correlation", "region-perturbation", "selectivity"),
    }
