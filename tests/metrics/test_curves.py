"""Deletion and insertion against closed forms, and against one forward per step."""

from itertools import pairwise

import pytest
import torch

from camfaith.metrics import Deletion, Insertion

BOTH = [Deletion, Insertion]


def test_of_a_linear_model_both_are_known_in_closed_form(climbing, worked_out):
    line, deleted = worked_out(Deletion(steps=12, score="logit"), *climbing[:2], 1, climbing[2])
    assert line.y[0].tolist() == pytest.approx([78 - sum(range(12, 12 - i, -1)) for i in range(13)])
    assert line.x.tolist() == pytest.approx([i / 12 for i in range(13)])
    assert deleted["auc"].tolist() == pytest.approx([(12 + 1) * (2 * 12 + 1) / 12])  # (N + 1)(2N + 1)/12
    inserted = Insertion(steps=12, score="logit", baseline="black")(*climbing[:2], 1, climbing[2])
    assert inserted["auc"].tolist() == pytest.approx([78 - (12 + 1) * (2 * 12 + 1) / 12])


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("steps", "baseline", "score"),
    [
        (1, "black", "logit"),
        (5, "mean", "probability"),
        (42, {"name": "blur", "kernel": 3, "sigma": 1.0}, "logit"),
        (5, "noise", "probability"),
        (8, torch.full((3, 6, 7), 0.3), "probability"),
    ],
    ids=["black", "mean", "blur", "noise", "given"],
)
def test_a_curve_is_one_forward_per_step(
    kind, steps, baseline, score, classifier, images, noise_maps, slow_order, slow_points, worked_out
):
    metric = kind(steps=steps, baseline=baseline, score=score)
    pictures, maps = images(4, 6, 7), noise_maps(4, 6, 7, levels=6)
    seeds, targets = torch.arange(4) % 3, [0, 1, 2, 1]
    blanks = metric.baseline(pictures, seeds)
    line, columns = worked_out(metric, classifier, pictures, targets, maps, seeds=seeds, batch_size=3)
    counts = [-(-i * 42 // steps) for i in range(steps + 1)]
    assert line.x.tolist() == pytest.approx([count / 42 for count in counts])
    assert line.y_label == score
    for i, target in enumerate(targets):
        ends = (pictures[i], blanks[i]) if kind is Deletion else (blanks[i], pictures[i])
        y = slow_points(classifier, *ends, target, slow_order(maps[i], int(seeds[i])), counts, score)
        area = sum((x1 - x0) / 42 * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(zip(counts, y, strict=True)))
        assert line.y[i].tolist() == pytest.approx(y, abs=1e-8)
        assert float(columns["auc"][i]) == pytest.approx(area, abs=1e-8)
        assert float(columns["auc_relative"][i]) == pytest.approx(area / y[0 if kind is Deletion else -1], abs=1e-8)
        levels = maps[i].flatten().tolist()
        assert float(columns["ties"][i]) == pytest.approx(sum(levels.count(level) > 1 for level in levels) / 42)


def test_the_explained_target_stays_when_the_prediction_changes(pixel_sum, worked_out):
    model = pixel_sum(torch.ones(2, 2), bias=-4.0)  # without pixels class 0 is predicted
    image = torch.full((1, 3, 2, 2), 0.8, dtype=torch.float64)
    line, _ = worked_out(Deletion(steps=4), model, image, None, torch.rand(1, 2, 2))
    expected = torch.sigmoid(torch.tensor([9.6 - 2.4 * i - 4 for i in range(5)], dtype=torch.float64))
    assert expected[0] > 0.99 > 0.02 > expected[-1]
    torch.testing.assert_close(line.y[0], expected)


@pytest.mark.parametrize(
    ("metric", "worth", "bias", "relative"),
    [
        (Deletion(steps=4, score="logit"), 1, 0, 0.5),
        (Deletion(steps=4, score="logit"), -1, 0, 0.5),
        (Deletion(steps=4, score="logit"), 1, -6, None),  # the image's logit is 0
        (Insertion(steps=4, score="logit", baseline=torch.full((3, 2, 2), 0.25)), 1, 0, 0.75),
    ],
)
def test_the_relative_area_is_the_area_over_the_score_of_the_image(metric, worth, bias, relative, pixel_sum):
    image, maps = torch.full((1, 3, 2, 2), 0.5, dtype=torch.float64), torch.rand(1, 2, 2)
    found = float(metric(pixel_sum(worth * torch.ones(2, 2), bias), image, 1, maps)["auc_relative"])
    assert found == pytest.approx(torch.nan if relative is None else relative, nan_ok=True)
