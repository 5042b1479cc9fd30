"""Imputed pixels solve ROAD's equations, as a direct solver of these does."""

import pytest
import torch
from torch.nn import functional as F

from camfaith.metrics.probing import imputation
from camfaith.metrics.probing.imputation import impute


def pictures(batch, colours, height, width, seed=0):
    """Smooth shapes under noise, in [0, 1]."""
    source = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(batch, colours, 5, 5, generator=source), (height, width), mode="bilinear")
    return 0.6 * smooth + 0.4 * torch.rand(batch, colours, height, width, generator=source)


def blobs(share, height, width, cells=7, zeros=0.0, seed=0):
    """The share of pixels where a smooth map is highest; where it is zero, by lot."""
    source = torch.Generator().manual_seed(seed)
    smooth = F.interpolate(torch.rand(1, 1, cells, cells, generator=source), (height, width), mode="bilinear").flatten()
    smooth = (smooth - smooth.quantile(zeros)).clamp(min=0) if zeros else smooth
    lot = torch.randperm(len(smooth), generator=source)
    removed = torch.zeros(len(smooth), dtype=torch.bool)
    removed[lot[smooth[lot].argsort(descending=True, stable=True)][: round(share * len(smooth))]] = True
    return removed.view(height, width)


def scattered(share, height, width):
    return torch.rand(height, width, generator=torch.Generator().manual_seed(1)) < share


def rectangle(height, width, *slices, removed=True):
    mask = torch.full((height, width), not removed)
    for rows, columns in slices:
        mask[rows, columns] = removed
    return mask


EVERY = slice(None)
SHAPE = 37, 53
MASKS = {
    **{f"{share:.0%} in blobs": blobs(share, *SHAPE) for share in (0.1, 0.3, 0.5, 0.7, 0.9)},
    **{f"{share:.0%} in small blobs": blobs(share, *SHAPE, cells=13) for share in (0.2, 0.8)},
    "a rectified map": blobs(0.85, *SHAPE, zeros=0.4),
    **{f"{share:.0%} scattered": scattered(share, *SHAPE) for share in (0.1, 0.5, 0.9)},
    "all but five": rectangle(*SHAPE, (0, 0), (3, 50), (20, 20), (21, 20), (36, 30), removed=False),
    "all but a corner": rectangle(*SHAPE, (36, 52), removed=False),
    "all but a side": rectangle(*SHAPE, (EVERY, 0), removed=False),
    "rows": rectangle(*SHAPE, (slice(0, None, 2), EVERY)),
    "columns": rectangle(*SHAPE, (EVERY, slice(5, None, 11)), removed=False),
    "a lattice": rectangle(*SHAPE, (slice(0, None, 6), EVERY), (EVERY, slice(0, None, 6)), removed=False),
    "corners": rectangle(*SHAPE, (slice(9), slice(9)), (slice(-15, None), slice(-20, None))),
    "one pixel": rectangle(*SHAPE, (36, 20)),
}


def apart(images, removed, solved):
    return max(
        float((impute(i[None], r[None])[0] - solved(i, r)).abs().max()) for i, r in zip(images, removed, strict=True)
    )


@pytest.mark.parametrize("name", MASKS)
def test_imputed_pixels_solve_the_equations(name, slow_imputed):
    assert apart(pictures(1, 3, *SHAPE), MASKS[name][None], slow_imputed) < 5e-5


@pytest.mark.parametrize("shape", [(1, 40), (2, 3), (7, 5), (8, 8), (9, 16), (24, 65)])
@pytest.mark.parametrize("colours", [1, 3])
def test_any_size_and_any_number_of_colours_will_do(shape, colours, slow_imputed):
    assert apart(pictures(1, colours, *shape), blobs(0.6, *shape)[None], slow_imputed) < 5e-5


def test_a_whole_photograph_is_solved_in_single_and_double_precision(slow_imputed):
    image, removed = pictures(1, 3, 224, 224), blobs(0.7, 224, 224, cells=13, zeros=0.4)[None]
    assert apart(image, removed, slow_imputed) < 5e-5
    small = pictures(1, 3, *SHAPE).double(), MASKS["70% in blobs"][None]
    assert apart(*small, slow_imputed) < 5e-5
    assert impute(*small).dtype == torch.float64


def test_one_missing_pixel_is_the_weighted_mean_of_its_neighbours():
    image = torch.tensor([[1.0, 2, 3], [4, 99, 6], [7, 8, 12]]).view(1, 1, 3, 3) / 100
    centre, side, corner = (rectangle(3, 3, at)[None] for at in ((1, 1), (0, 1), (2, 2)))
    assert impute(image, centre)[0, 0, 1, 1] * 100 == pytest.approx((2 + 4 + 6 + 8) / 6 + (1 + 3 + 7 + 12) / 12)
    assert impute(image, side)[0, 0, 0, 1] * 100 == pytest.approx((2 * (1 + 99 + 3) + 4 + 6) / 8)
    assert impute(image, corner)[0, 0, 2, 2] * 100 == pytest.approx((2 * (6 + 8) + 99) / 5)


def test_kept_pixels_are_the_originals_bit_by_bit_whatever_was_removed():
    images, removed = pictures(len(MASKS) + 1, 3, *SHAPE), torch.stack([torch.zeros(SHAPE).bool(), *MASKS.values()])
    kept, found = ~removed[:, None].expand_as(images), impute(images, removed)
    assert torch.equal(found[kept], images[kept])
    assert torch.equal(found, impute(images.masked_fill(~kept, torch.nan), removed))


@pytest.mark.parametrize("shape", [(1, 1), (3, 4), SHAPE])
def test_an_image_of_which_nothing_was_kept_becomes_its_mean_colour(shape):
    images = pictures(2, 3, *shape)
    removed = torch.stack([torch.ones(shape, dtype=torch.bool), blobs(0.4, *shape)])
    found = impute(images, removed)
    assert torch.allclose(found[0], images[0].mean((1, 2), keepdim=True).expand_as(images[0]), atol=1e-6)
    assert torch.equal(found[1], impute(images[1:], removed[1:])[0])


def test_an_image_is_imputed_alike_in_any_company_and_layout(monkeypatch):
    images, removed = pictures(len(MASKS), 3, *SHAPE), torch.stack(list(MASKS.values()))
    alone = torch.cat([impute(images[[i]], removed[[i]]) for i in range(len(images))])
    for chunk, given in ((4, images), (50, images.to(memory_format=torch.channels_last))):
        monkeypatch.setattr(imputation, "_CHUNK", chunk)
        assert (impute(given, removed) - alone).abs().max() < 1e-6
    assert torch.equal(impute(images[:1].expand(2, -1, -1, -1), removed[:2])[1], impute(images[:1], removed[1:2])[0])
    assert impute(images[:0], removed[:0]).shape == (0, 3, *SHAPE)


def test_no_answer_is_given_that_has_not_converged(monkeypatch):
    image, removed = pictures(1, 3, *SHAPE), MASKS["50% in blobs"][None]
    with pytest.raises(RuntimeError, match="did not converge"):
        impute(image.masked_fill(~removed[:, None], float("nan")), removed)
    monkeypatch.setattr(imputation, "_ITERATIONS", 2)
    with pytest.raises(RuntimeError, match="did not converge in 2 iterations"):
        impute(image, removed)


@pytest.mark.parametrize("mask", [torch.ones(1, 3, *SHAPE).bool(), torch.ones(2, *SHAPE).bool(), torch.ones(1, *SHAPE)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(ValueError, match="one boolean per pixel"):
        impute(pictures(1, 3, *SHAPE), mask)
