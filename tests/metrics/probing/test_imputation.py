"""Imputed pixels solve ROAD's equations; the slow reference solves them directly, written from their definition."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from torch.nn import functional as F

from camfaith.metrics.probing import imputation
from camfaith.metrics.probing.imputation import impute

NEIGHBOURS = {(y, x): 1 / 6 if y == 0 or x == 0 else 1 / 12 for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x}


def solved(image, removed):
    """Each removed pixel equals the weighted mean of its neighbours in the image: a sparse system, solved directly."""
    colours, height, width = image.shape
    unknown = {pixel: row for row, pixel in enumerate(map(tuple, removed.nonzero().tolist()))}
    known = image.double().numpy()
    entries, right = [], np.zeros((len(unknown), colours))
    for (y, x), row in unknown.items():
        inside = {(y + i, x + j): w for (i, j), w in NEIGHBOURS.items() if 0 <= y + i < height and 0 <= x + j < width}
        entries.append((1.0, row, row))
        for pixel, weight in inside.items():
            share = weight / sum(inside.values())
            if pixel in unknown:
                entries.append((-share, row, unknown[pixel]))
            else:
                right[row] += share * known[:, pixel[0], pixel[1]]
    values, rows, columns = zip(*entries, strict=True)
    solution = spsolve(coo_matrix((values, (rows, columns)), shape=(len(unknown),) * 2).tocsc(), right)
    result = image.double().clone()
    result[:, removed] = torch.from_numpy(solution.reshape(right.shape).T)
    return result


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


@pytest.mark.parametrize("name", MASKS)
def test_imputed_pixels_solve_the_equations(name):
    image, removed = pictures(1, 3, *SHAPE), MASKS[name]
    assert (impute(image, removed[None])[0] - solved(image[0], removed)).abs().max() < 5e-5


@pytest.mark.parametrize("shape", [(1, 40), (2, 3), (7, 5), (8, 8), (9, 16), (24, 65), (64, 20)])
@pytest.mark.parametrize("colours", [1, 3])
def test_any_size_and_any_number_of_colours_will_do(shape, colours):
    image, removed = pictures(1, colours, *shape), blobs(0.6, *shape)
    assert (impute(image, removed[None])[0] - solved(image[0], removed)).abs().max() < 5e-5


@pytest.mark.parametrize("zeros", [0.0, 0.4])
def test_a_whole_photograph_is_solved(zeros):
    image, removed = pictures(1, 3, 224, 224), blobs(0.7, 224, 224, cells=13, zeros=zeros)
    assert (impute(image, removed[None])[0] - solved(image[0], removed)).abs().max() < 5e-5


def test_double_precision_stays_double():
    image, removed = pictures(1, 3, *SHAPE).double(), MASKS["70% in blobs"]
    found = impute(image, removed[None])
    assert found.dtype == torch.float64
    assert (found[0] - solved(image[0], removed)).abs().max() < 5e-5


def test_one_missing_pixel_is_the_weighted_mean_of_its_neighbours():
    image = torch.tensor([[1.0, 2, 3], [4, 99, 6], [7, 8, 12]]).view(1, 1, 3, 3) / 100
    centre, side, corner = (rectangle(3, 3, at)[None] for at in ((1, 1), (0, 1), (2, 2)))
    assert impute(image, centre)[0, 0, 1, 1] * 100 == pytest.approx((2 + 4 + 6 + 8) / 6 + (1 + 3 + 7 + 12) / 12)
    assert impute(image, side)[0, 0, 0, 1] * 100 == pytest.approx((2 * (1 + 99 + 3) + 4 + 6) / 8)
    assert impute(image, corner)[0, 0, 2, 2] * 100 == pytest.approx((2 * (6 + 8) + 99) / 5)


def test_a_uniform_picture_comes_back_uniform():
    image = torch.full((1, 3, *SHAPE), 0.3)
    assert (impute(image, MASKS["all but five"][None]) - 0.3).abs().max() < 1e-6


def test_kept_pixels_are_the_originals_bit_by_bit():
    images, removed = pictures(len(MASKS), 3, *SHAPE), torch.stack(list(MASKS.values()))
    kept = ~removed[:, None].expand_as(images)
    assert torch.equal(impute(images, removed)[kept], images[kept])


def test_an_image_of_which_nothing_was_removed_is_unchanged():
    images = pictures(2, 3, *SHAPE)
    assert torch.equal(impute(images, torch.zeros(2, *SHAPE, dtype=torch.bool)), images)


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 4), (16, 16), SHAPE])
def test_an_image_of_which_nothing_was_kept_becomes_its_mean_colour(shape):
    images = pictures(2, 3, *shape)
    removed = torch.stack([torch.ones(shape, dtype=torch.bool), blobs(0.4, *shape)])
    found = impute(images, removed)
    assert torch.allclose(found[0], images[0].mean((1, 2), keepdim=True).expand_as(images[0]), atol=1e-6)
    assert torch.equal(found[1], impute(images[1:], removed[1:])[0])


@pytest.mark.parametrize("chunk", [1, 4, 50])
def test_an_image_is_imputed_alike_in_any_company(monkeypatch, chunk):
    images, removed = pictures(len(MASKS), 3, *SHAPE), torch.stack(list(MASKS.values()))
    alone = torch.cat([impute(images[[i]], removed[[i]]) for i in range(len(images))])
    monkeypatch.setattr(imputation, "_CHUNK", chunk)
    assert (impute(images, removed) - alone).abs().max() < 1e-6


def test_what_was_removed_does_not_matter():
    image, removed = pictures(1, 3, *SHAPE), MASKS["50% in blobs"][None]
    for other in (0.9, float("nan")):
        assert torch.equal(impute(image, removed), impute(image.masked_fill(removed[:, None], other), removed))


def test_no_images_make_no_images():
    assert impute(torch.zeros(0, 3, *SHAPE), torch.zeros(0, *SHAPE, dtype=torch.bool)).shape == (0, 3, *SHAPE)


def test_the_layout_in_memory_does_not_matter():
    images, removed = pictures(2, 3, *SHAPE), torch.stack([MASKS["rows"], MASKS["90% in blobs"]])
    assert torch.equal(impute(images.to(memory_format=torch.channels_last), removed), impute(images, removed))
    assert torch.equal(impute(images[:1].expand(2, -1, -1, -1), removed)[1], impute(images[:1], removed[1:])[0])


def test_the_answer_is_the_same_again_and_in_inference_mode_and_the_inputs_stay():
    image, removed = pictures(1, 3, *SHAPE).requires_grad_(), MASKS["90% scattered"][None]
    before, state = (image.detach().clone(), removed.clone()), torch.random.get_rng_state()
    found = impute(image, removed)
    with torch.inference_mode():
        assert torch.equal(impute(image, removed), found)
    assert torch.equal(image, before[0])
    assert torch.equal(removed, before[1])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not found.requires_grad


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
