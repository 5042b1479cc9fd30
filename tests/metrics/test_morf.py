"""AOPC, ABPC and pixel-flipping in closed form, against one forward per step, and for what they share."""

from itertools import pairwise

import pytest
import torch

from camfaith.metrics import ABPC, AOPC, Case, Deletion, Engine, Insertion, Maps, PixelFlipping

ALL = [AOPC, ABPC, PixelFlipping]


def area(x, y):
    pairs = pairwise(zip(x, y, strict=True))
    return sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairs)


def test_a_linear_model_is_known_in_closed_form(climbing):
    """f(xᵏ) = (12 − k)(13 − k)/2, and Σ_k f(xᵏ) = 14·13·12/6 = 364; LeRF leaves 78 − k(k + 1)/2."""
    (model, image, worth), settings = climbing, {"steps": 12, "score": "logit"}
    morf = 13 * 25 / 12  # (N + 1)(2N + 1)/12
    found = {kind: kind(**settings)(model, image, 1, worth) for kind in ALL}
    assert float(found[AOPC]["aopc"]) == pytest.approx(78 - 364 / 13)
    assert float(found[PixelFlipping]["mean"]) == pytest.approx((364 - 78) / 12)
    assert [float(found[ABPC][name]) for name in ("morf", "lerf", "abpc")] == pytest.approx(
        [morf, 78 - morf, 78 - 2 * morf]
    )


@pytest.mark.parametrize(
    ("steps", "score", "baseline"), [(2, "logit", "mean"), (5, "probability", "noise"), (42, "probability", "black")]
)
def test_every_number_is_that_of_one_forward_per_step(
    steps, score, baseline, classifier, images, noise_maps, slow_order, slow_points
):
    pictures, maps = images(3, 6, 7), noise_maps(3, 6, 7, levels=6)
    seeds, targets = torch.tensor([0, 1, 0]), [0, 1, 2]
    metrics = {kind: kind(steps=steps, score=score, baseline=baseline) for kind in ALL}
    found = {kind: metric(classifier, pictures, targets, maps, seeds=seeds) for kind, metric in metrics.items()}
    blanks = metrics[AOPC].baseline(pictures, seeds)
    counts = [-(-i * 42 // steps) for i in range(steps + 1)]
    from_below = [42 - count for count in counts[::-1]]
    for i, target in enumerate(targets):
        order, given = slow_order(maps[i], int(seeds[i])), (classifier, pictures[i], blanks[i], target)
        morf = slow_points(*given, order, counts, score)
        lerf = slow_points(*given, order[::-1], from_below, score)
        expected = sum(morf[0] - y for y in morf) / (steps + 1)
        assert float(found[AOPC]["aopc"][i]) == pytest.approx(expected, abs=1e-8)
        assert float(found[PixelFlipping]["mean"][i]) == pytest.approx(sum(morf[1:]) / steps, abs=1e-8)
        areas = area([n / 42 for n in counts], morf), area([n / 42 for n in from_below], lerf)
        assert [float(found[ABPC][name][i]) for name in ("morf", "lerf")] == pytest.approx(areas, abs=1e-8)
        assert float(found[ABPC]["abpc"][i]) == pytest.approx(areas[1] - areas[0], abs=1e-8)


def test_deletion_insertion_and_all_of_these_cost_two_orders_and_show_one_curve(
    classifier, images, noise_maps, watched
):
    steps, case = 6, Case.of(classifier, images(3, 9), 1)
    metrics = {kind: kind(steps=steps, baseline="mean") for kind in (Deletion, Insertion, *ALL)}
    seen, maps = watched(classifier.network), Maps(noise_maps(3, 9, 9), case)
    probes = tuple(probe for metric in metrics.values() for probe in metric.probes(None, case.pixels))
    answers = Engine(classifier).answer(case, {"it": (maps, probes)})["it"]
    assert sum(map(len, seen)) == 3 * (2 * (steps - 1) + 1)
    deleted = metrics[Deletion].line(case, maps, answers)
    for kind in (AOPC, PixelFlipping):
        line = metrics[kind].line(case, maps, answers)
        assert torch.equal(line.x, deleted.x)
        assert torch.equal(line.y, deleted.y)
