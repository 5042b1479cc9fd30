"""How alike two maps are: by definition, and by scipy and scikit-image."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from camfaith.metrics.similarity import spearman, ssim, top, top_k
from camfaith.models.maps import normalise

ALL = (spearman, ssim, top_k)


@pytest.fixture
def pair(noise_maps):
    """Six pairs of maps that have something in common, some with many ties, not square."""
    a, b = noise_maps(6, 17, 13, seed=1), noise_maps(6, 17, 13, seed=2)
    b[:3] += a[:3]
    b[3] = -a[3]
    a[4], b[4] = (2 * a[4]).round(), b[4].round()
    a[5], b[5] = a[5].clamp(min=0), (b[5] + a[5]).clamp(min=0)
    return a, b


def test_spearman_is_scipys(pair):
    expected = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(*pair, strict=True)]
    assert spearman(*pair).tolist() == pytest.approx(expected, abs=1e-12)
    assert expected[3] == pytest.approx(-1)


def test_ssim_is_scikit_images_on_maps_between_0_and_1(pair):
    settings = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    shown = zip(normalise(pair[0]).numpy(), normalise(pair[1]).numpy(), strict=True)
    expected = [structural_similarity(a, b, **settings) for a, b in shown]
    assert ssim(*pair).tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5])
def test_top_k_is_the_overlap_of_the_k_highest_pixels(share, pair):
    def members(values):
        """Each pixel's part of the k places; those that tie for the last ones share them."""
        k = max(1, round(share * len(values)))
        last = sorted(values, reverse=True)[k - 1]
        left = k - sum(value > last for value in values)
        return [1.0 if value > last else left / values.count(last) if value == last else 0.0 for value in values]

    for a, b, found in zip(*pair, top_k(*pair, share).tolist(), strict=True):
        p, q = members(a.flatten().tolist()), members(b.flatten().tolist())
        both, either = (sum(map(pick, p, q)) for pick in (min, max))
        assert found == pytest.approx(both / either)
        assert top(a[None], share).flatten().tolist() == pytest.approx(p)


def test_top_k_counted_by_hand():
    a = torch.tensor([[[9.0, 8, 7, 6], [0, 0, 0, 0]]])
    b = torch.tensor([[[0.0, 8, 7, 6], [5, 0, 0, 0]]])
    assert top_k(a, b, 0.5).tolist() == [3 / 5]
    # Two places for four equal pixels: each has half of one, and both maps give the third to the same pixel.
    tied = torch.tensor([[[1.0, 1, 1, 1], [2, 0, 0, 0]]])
    assert top_k(tied, tied, 3 / 8).tolist() == [1]
    assert top(tied, 3 / 8).tolist() == [[[0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]]]


@pytest.mark.parametrize("alike", ALL)
def test_a_map_is_like_itself_whatever_its_scale_and_precision(alike, pair):
    a, b = pair
    assert alike(a, a).tolist() == pytest.approx([1] * 6)
    torch.testing.assert_close(alike(3 * a, b), alike(a, b))
    torch.testing.assert_close(alike(b, a), alike(a, b))
    found = alike(a.float(), b.float())
    assert found.dtype is torch.float64
    torch.testing.assert_close(found, alike(a, b), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("alike", ALL)
def test_a_constant_map_and_one_with_nan_are_like_nothing(alike, noise_maps):
    a = noise_maps(4, 12, 12)
    b = a.clone()
    b[0], b[1, 3, 3], b[2, 3, 3] = 5, torch.nan, torch.inf
    assert alike(a, b).isnan().tolist() == alike(b, a).isnan().tolist() == [True, True, True, False]


def test_what_cannot_be_compared_is_refused(noise_maps):
    a = noise_maps(2, 12, 12)
    for alike in ALL:
        with pytest.raises(ValueError, match=r"same shape B×H×W, got 2×12×12 and 2×12×11"):
            alike(a, a[..., :11])
        with pytest.raises(ValueError, match=r"got 12×12 and 12×12"):
            alike(a[0], a[0])
    assert ssim(a[..., :10], a[..., :10]).isnan().all(), "smaller than the window"
    for share in (0, 1, 10):
        with pytest.raises(ValueError, match=f"between 0 and 1, got {share}"):
            top_k(a, a, share)
