"""Region perturbation and selectivity in closed form, and patch by patch from their definitions."""

from itertools import chain

import pytest
import torch

from camfaith.metrics import RegionPerturbation, Selectivity


def test_a_linear_model_is_known_in_closed_form(pixel_sum):
    """Patches of 2×2 pixels are worth 4, 3, 2 and 1, so that 10, 6, 3, 1 and 0 are left."""
    worth = torch.tensor([[1.0, 4.0], [3.0, 2.0]], dtype=torch.float64).repeat_interleave(2, 0).repeat_interleave(2, 1)
    model, image = pixel_sum(worth / 6), torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64)
    settings = {"side": 2, "score": "logit", "baseline": "black"}
    for metric, expected in (
        (RegionPerturbation(**settings), (0 + 4 + 7 + 9 + 10) / 5),
        (RegionPerturbation(**settings, patches=2), (0 + 4 + 7) / 3),
        (Selectivity(**settings), 15 / 4),
        (Selectivity(**settings, steps=2), (10 + 2 * 3 + 0) / 4),
        (Selectivity(**settings, patches=2), (10 + 2 * 6 + 3) / 8),
    ):
        assert float(metric(model, image, 1, worth[None])[metric.main]) == pytest.approx(expected), metric


@pytest.mark.parametrize(
    ("steps", "patches", "gone"), [(50, 50, [*range(7)]), (3, None, [0, 2, 4, 6]), (2, 4, [0, 2, 4])]
)
def test_every_point_is_one_forward_with_whole_patches_at_the_baseline(
    steps, patches, gone, classifier, images, noise_maps, slow_points, worked_out
):
    """Images of 8×5 pixels have 3×2 patches of 3×3: those at the edges have 2 rows or columns."""
    pictures, maps, seeds = images(3, 8, 5), noise_maps(3, 8, 5), torch.tensor([4, 5, 6])
    maps[2] = 0  # all patches tie
    metric = RegionPerturbation(side=3, steps=steps, patches=patches)
    line, found = worked_out(metric, classifier, pictures, [0, 1, 2], maps, seeds=seeds)
    area = Selectivity(side=3, steps=steps, patches=patches, baseline="noise")
    _, areas = worked_out(area, classifier, pictures, [0, 1, 2], maps, seeds=seeds)
    blanks = metric.baseline(pictures, seeds)
    assert line.x.tolist() == pytest.approx([count / 6 for count in gone])
    for i in range(3):
        cut = [[r * 5 + c for r in range(top, min(top + 3, 8)) for c in range(left, min(left + 3, 5))]
               for top in (0, 3, 6) for left in (0, 3)]  # fmt: skip
        lots = torch.randperm(6, generator=torch.Generator().manual_seed(int(seeds[i]))).tolist()
        means = [float(maps[i].flatten()[pixels].mean()) for pixels in cut]
        leaving = [cut[patch] for patch in sorted(range(6), key=lambda p: (-means[p], lots.index(p)))]
        counts = [sum(map(len, leaving[:count])) for count in gone]
        curve = slow_points(classifier, pictures[i], blanks[i], i, [*chain(*leaving)], counts, "probability")
        assert line.y[i].tolist() == pytest.approx(curve, abs=1e-8)
        assert float(found["aopc"][i]) == pytest.approx(sum(curve[0] - y for y in curve) / len(curve), abs=1e-8)
        width = (gone[1] - gone[0]) / 6
        expected = width * (sum(curve) - (curve[0] + curve[-1]) / 2)
        assert float(areas["auc"][i]) == pytest.approx(expected, abs=1e-8)
