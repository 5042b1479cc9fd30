"""Memory counted in tensors, against sums by hand."""

from __future__ import annotations

import torch

from camfaith.models.speed.alive import counting_memory


def test_the_bytes_that_tensors_hold_at_once_are_counted():
    before = torch.rand(1000)
    with counting_memory() as alive:
        doubled = before * 2
        assert alive.now == 4000
        view = doubled.view(10, 100)
        del doubled
        assert alive.now == 4000, "a view holds what it is a view of"
        more = torch.cat([view.flatten(), before])
        assert (alive.now, alive.peak) == (12000, 12000)
        del view, more
        before.add_(1).view(10, 100)
        assert (alive.now, alive.peak) == (0, 12000), "what was there before counts nothing"
        weight = torch.ones(1000, requires_grad=True)
        (weight.exp() * before).sum().backward()
        assert alive.now == 8000, "the weight and its gradient"
        assert alive.peak == 16008, (
            "weight, its exponential, the product or its gradient, the gradient; and two numbers"
        )
