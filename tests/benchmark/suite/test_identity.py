"""What is known by a key."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith.benchmark.suite.identity import weights_hash


class Extra(nn.Linear):
    def __init__(self, told):
        super().__init__(2, 2)
        self.told = told

    def get_extra_state(self):
        return self.told

    def set_extra_state(self, state): ...


@pytest.mark.parametrize(
    "make",
    [
        lambda n: Extra({"epochs": n}),
        lambda n: torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(2, 2 + n)), {nn.Linear}),
    ],
    ids=["extra state", "packed weights"],
)
def test_what_is_no_tensor_counts_too(make):
    def hashed(n):
        torch.manual_seed(0)
        return weights_hash(make(n))

    assert hashed(1) == hashed(1) != hashed(2)


def test_what_has_no_bytes_is_passed_over():
    assert weights_hash(Extra(lambda: 3))
