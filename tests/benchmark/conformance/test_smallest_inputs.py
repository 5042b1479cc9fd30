"""A failure comes with the smallest input that shows it."""

from __future__ import annotations

import torch

from camfaith.benchmark.conformance import CHECKS
from camfaith.methods import GradCAM

BY_NAME = {check.name: check for check in CHECKS}


def test_a_failure_comes_with_the_smallest_input_and_its_meaning():
    result = BY_NAME["batch"](OverTheBatch)
    assert result.smallest == "batch 2, 4×4 px, seed 0"
    assert result.seen.startswith("together and one by one: they differ by 0.")
    assert result.means == "an image's map depends on which images happen to stand beside it"
    assert BY_NAME["finite"](Standardised).smallest == "batch 1, 2×2 px, seed 0"


class BrokenWhereWide(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * torch.nan if raw.shape[1] != raw.shape[2] else raw


def test_inputs_grow_until_one_breaks_it():
    assert BY_NAME["finite"](BrokenWhereWide).smallest == "batch 3, 9×12 px, seed 2"
