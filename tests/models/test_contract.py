"""What a method says of itself is read in one way, whatever it derives from, and what it gives is looked at."""

from __future__ import annotations

import pytest
import torch

from camfaith.methods import Method
from camfaith.models import Classifier
from camfaith.models.contract import Bound, Calls, Contract, MalformedMaps


class Alone:
    def __init__(self, given):
        self.given = given

    def explain(self, evidence, classifier):
        return self.given


def pictures(count):
    return torch.rand(count, 3, 9, 9, dtype=torch.float64)


@pytest.mark.parametrize("kind", [Alone, type("Derived", (Method,), {})])
def test_where_a_class_says_nothing_the_contract_holds(kind, tiny):
    bound = Bound.of(kind(tiny), Classifier(tiny), "relu1")
    says = {name: getattr(bound, name) for name in Contract.__annotations__ if name != "of_pixels"}
    assert says == {name: getattr(Contract, name) for name in says}
    assert (bound.needed_layers, bound.goes_back) == (("relu1",), True)
    evidence = bound.classifier.evidence(pictures(1), 1, bound.needed_layers)
    assert (bound.cost(pictures(1)), bound.contributions(evidence), bound.diagnostics(evidence)) == (Calls(), None, {})


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "a NoneType, not a tensor"),
        (torch.ones(2, 1, 3, 3), "shape 2×1×3×3 for a batch of 2, expected 2×h×w"),
        (torch.ones(1, 3, 3), "shape 1×3×3 for a batch of 2"),
        (torch.ones(2, 0, 3), "shape 2×0×3"),
        (torch.ones(2, 3, 3).int(), r"torch\.int32, expected floating-point"),
    ],
)
def test_what_is_no_batch_of_maps_is_refused(given, why, tiny):
    bound = Bound.of(Alone(given), Classifier(tiny))
    with pytest.raises(MalformedMaps, match=why):
        bound.explain(bound.classifier.evidence(pictures(2), 1))
    with pytest.raises(TypeError, match=r"Tensor has no explain\(evidence, classifier\)"):
        Bound.of(torch.ones(1), bound.classifier)
