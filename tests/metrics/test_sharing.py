"""Which metrics cost nothing beside others: their questions are asked for these already."""

import pytest

from camfaith.metrics import find

EQUAL = {"side": 9, "steps": 20, "patches": 20, "baseline": "mean"}


@pytest.mark.parametrize(
    ("metric", "others"),
    [
        ("aopc", ["deletion"]),
        ("pixel-flipping", ["deletion"]),
        ("deletion-correlation", ["deletion"]),
        ("insertion-correlation", ["insertion"]),
        ("adcc", ["average-drop", "coherency"]),
        ("arcc", ["road", "coherency"]),
        ("faithfulness-correlation", ["sensitivity-n"]),
        ("mu-fidelity", ["sensitivity-n"]),
        ("faithfulness-estimate", ["sensitivity-n"]),
        ("monotonicity-nguyen", ["sensitivity-n"]),
        ("non-sensitivity", ["sensitivity-n"]),
        ("padding-swap", ["corner-causes"]),
        ("local-lipschitz", ["max-sensitivity"]),
        ("relative-stability", ["max-sensitivity"]),
        ("efficient-mprt", ["parameter-randomisation"]),
        ("efficient-mprt", ["smooth-mprt"]),
    ],
)
def test_it_asks_nothing_that_the_others_do_not_ask(metric, others):
    asked = find(metric)().probes(None, 32 * 32)
    assert asked
    assert set(asked) <= {probe for other in others for probe in find(other)().probes(None, 32 * 32)}


def test_curves_of_the_same_patches_share_them():
    first, second = (find(name)(**EQUAL).probes(None, 32 * 32) for name in ("region-perturbation", "selectivity"))
    assert first == second
