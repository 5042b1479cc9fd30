"""A failure comes with the smallest input that shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.benchmark.conformance.shrinking import TRIES, Failure, shrunk
from camfaith.benchmark.conformance.trials import Trial
from camfaith.methods import GradCAM

BY_NAME = {check.name: check for check in CHECKS}


class OverTheBatch(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw / raw.abs().max().clamp(min=1e-30)


class Standardised(GradCAM):
    """The deviation of a single cell is NaN."""

    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw / raw.flatten(1).std(1).clamp(min=1e-30)[:, None, None]


class BrokenWhereWide(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * torch.nan if raw.shape[1] != raw.shape[2] else raw


class BrokenWhereHigh(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * torch.nan if evidence.images.shape[2] >= 5 else raw


def test_a_failure_comes_with_the_smallest_input_and_its_meaning():
    finding = BY_NAME["batch"].of(Candidate(OverTheBatch))
    assert finding.smallest == "batch 2, 2×2 px, seed 0"
    assert finding.seen.startswith("together and one by one: they differ by 0.")
    assert finding.means == "an image's map depends on which images happen to stand beside it"
    assert BY_NAME["finite"].of(Candidate(Standardised)).smallest == "batch 1, 2×2 px, seed 0"


def test_inputs_grow_until_one_breaks_it_and_shrink_while_they_do():
    finding = BY_NAME["finite"].of(Candidate(BrokenWhereWide))
    assert finding.smallest == "batch 1, 2×3 px, seed 0"
    assert finding.seen == "2 of 2 values are NaN or infinite"


def test_what_breaks_only_from_some_height_on_is_shown_at_that_height():
    assert BY_NAME["finite"].of(Candidate(BrokenWhereHigh)).smallest == "batch 1, 5×2 px, seed 0"


def test_an_input_is_not_made_smaller_than_the_check_can_be_asked_on():
    check = replace(BY_NAME["finite"], least=Trial(2, 2, 7, 1))
    assert check.of(Candidate(BrokenWhereHigh)).smallest == "batch 2, 5×7 px, seed 1"


class RaisingWhereLow(BrokenWhereHigh):
    def explain(self, evidence, classifier):
        if evidence.images.shape[2] < 4:
            raise ValueError("too low")
        return super().explain(evidence, classifier) * torch.nan


def test_an_input_that_breaks_in_another_way_is_not_taken_for_a_smaller_one():
    finding = BY_NAME["finite"].of(Candidate(RaisingWhereLow))
    assert (finding.smallest, finding.seen) == ("batch 1, 2×2 px, seed 0", "ValueError: too low")
    finding = replace(BY_NAME["finite"], trials=[Trial(2, 8, 8)]).of(Candidate(RaisingWhereLow))
    assert (finding.smallest, finding.seen) == ("batch 1, 4×2 px, seed 0", "2 of 2 values are NaN or infinite")


def test_after_so_many_tries_the_smallest_until_then_is_shown():
    tried = []

    def broken(trial):
        tried.append(trial)
        return Failure("", str(trial)) if trial.batch == 1 and trial.width == 1000 else None

    found, failure = shrunk(Trial(3, 2, 1000), Failure("", "at first"), Trial(1, 2, 2), broken)
    assert found == Trial(1, 2, 1000)
    assert failure.seen == str(found)
    assert len(tried) == TRIES


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "scorecam", "saliency", "integrated-gradients", "legrad"])
def test_a_sound_method_passes_at_the_smallest_input_of_every_check(name):
    candidate = Candidate(name)
    smallest = [replace(check, trials=[check.least]) for check in CHECKS if check.name != "memory"]
    found = [check.of(candidate) for check in smallest]
    assert [(finding.check, finding.seen) for finding in found if finding.outcome == "failed"] == []
