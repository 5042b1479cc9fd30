"""Which checks a method gets, on which networks, and which do not apply to it."""

from __future__ import annotations

import unittest
from dataclasses import replace

import pytest
import torch

from camfaith.benchmark import check_method, method_checks
from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.benchmark.suite.settings import read_settings
from camfaith.methods import SHIPPED, GradCAM
from camfaith.models.errors import NotApplicable

BY_NAME = {check.name: check for check in CHECKS}
QUICKLY = [replace(check, trials=check.trials[-1:]) for check in CHECKS if check.name != "memory"]
"""The checks on the largest of their inputs; memory is measured where it is asked about."""


class Plain:
    """No more than the contract asks for."""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        return (evidence.gradients[self.layer] * evidence.activations[self.layer]).sum(1)


def test_a_plain_class_with_explain_alone_passes():
    found = check_method(Plain)
    assert found.passed, found.failures
    assert (found.name, found.ground) == ("Plain", "convolutional")
    assert set(found.names("does not apply")) <= {"device", "completeness", "like"}
    assert len(found.table) == len(CHECKS)


FEW = {
    "rise": {"n_masks": 40},
    "ss-cam": {"n_samples": 4, "sigma": 0.3},
    "shapley-value-sampling": {"segments": 12, "samples": 4},
    "kernel-shap": {"segments": 12, "samples": 40},
    "lime": {"segments": 12, "samples": 40},
    "noise-tunnel": {"samples": 4},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_method_keeps_to_the_contract(name):
    candidate = Candidate(name, **FEW.get(name, {}))
    found = [check.of(candidate) for check in QUICKLY]
    assert [(finding.check, finding.smallest, finding.seen) for finding in found if finding.outcome == "failed"] == []


class Refusing(GradCAM):
    def explain(self, evidence, classifier):
        raise NotApplicable("it wants a mask")


def test_what_does_not_apply_is_told_with_its_reason():
    found = check_method(Refusing)
    assert {finding.outcome for finding in found.findings} == {"does not apply"}
    assert not found.passed
    assert found.findings[0].seen == "it wants a mask"
    dependent = BY_NAME["class-dependence"].of(Candidate("eigencam"))
    assert (dependent.outcome, dependent.seen) == (
        "does not apply",
        "it says that its maps do not depend on the class",
    )


class Failing(GradCAM):
    def explain(self, evidence, classifier):
        raise KeyError("layer9")


def test_a_method_that_gives_no_map_at_all_fails_once():
    found = check_method(Failing)
    assert [(finding.check, finding.seen) for finding in found.failures] == [("shape", "KeyError: 'layer9'")]


def test_a_method_is_examined_on_the_networks_that_it_is_for():
    assert Candidate("cam").ground.name == "pooled"
    assert Candidate("gradcam").ground.name == "convolutional"
    assert Candidate("rollout").ground.name == "transformer"
    pytest.importorskip("torchcam", reason="needs another library; pip install 'camfaith[peers]'")
    assert Candidate("torchcam:LeGrad").ground.name == "torchvision transformer"


def test_a_setting_may_be_called_method():
    candidate = Candidate("noise-tunnel", method="saliency")
    assert candidate.name == "noise-tunnel(method=saliency)"
    shape = BY_NAME["shape"]
    assert shape.of(Candidate("noise-tunnel", method="saliency", samples=2)).outcome == "passed"
    assert str(method_checks("noise-tunnel", method="saliency")[0]) == "noise-tunnel(method=saliency)-shape"


def test_settings_are_read_as_a_suite_has_them():
    assert read_settings(["variant=pgc", "samples=5", "sizes=[0.1, 0.5]", 'label="a=b"', "exact=true"]) == {
        "variant": "pgc",
        "samples": 5,
        "sizes": [0.1, 0.5],
        "label": "a=b",
        "exact": True,
    }
    assert Candidate({"name": "gradcam++", "variant": "pgc"}).settings == {"variant": "pgc"}


def test_the_global_generators_are_left_alone():
    state = torch.random.get_rng_state()
    BY_NAME["repeatable"].of(Candidate("gradcam"))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("check", [check for check in method_checks(Plain) if check.check.name != "memory"], ids=str)
def test_the_checks_run_as_tests(check):
    check()


def test_a_check_that_does_not_apply_skips_its_test():
    (check,) = (check for check in method_checks(Refusing) if check.check.name == "shape")
    with pytest.raises(unittest.SkipTest, match="it wants a mask"):
        check()


@pytest.mark.parametrize("name", ["gradcam++", "xgradcam", "smoothgradcam++"])
def test_division_by_what_may_cancel_out_is_found_in_the_papers_formula_and_not_in_the_guarded_one(name):
    paper, guarded = Candidate(name), Candidate(name, variant="guarded")
    (check,) = (check for check in CHECKS if check.name == "cancelling-channel")
    assert "variant='guarded'" in check.of(paper).seen
    paper.exempt = {}
    assert [check.of(each).outcome for each in (paper, guarded)] == ["failed", "passed"]
