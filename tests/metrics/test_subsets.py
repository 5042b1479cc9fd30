"""Sensitivity-n and its siblings against scipy, subset by subset, and where their values are known."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch import nn
from torch.nn import functional as F

from camfaith.metrics import (
    Cells,
    FaithfulnessCorrelation,
    FaithfulnessEstimate,
    Features,
    MonotonicityNguyen,
    MuFidelity,
    Pixels,
    SensitivityN,
    Subsets,
    baseline,
)

BLACK = baseline("black")


@pytest.fixture
def linear(pixel_sum, images, noise_maps):
    """A linear model of 8×8 pixels, three images, and their true contributions."""
    weight, pictures = noise_maps(1, 8, 8, seed=1)[0], images(3, 8)
    return pixel_sum(weight, bias=0.7), pictures, pictures.sum(1) * weight


CELLS = torch.tensor([[0, 0, 1, 1, 2, 2], [3, 3, 4, 4, 5, 5], [6, 6, 7, 7, 8, 8]]).repeat_interleave(2, 0)
ONE_BY_ONE = torch.arange(36).view(6, 6)


@pytest.mark.parametrize(
    ("metric", "labels", "counts", "correlation"),
    [
        (SensitivityN(sizes=(1, 5, 0.5), subsets=8, features="pixels", seed=4), ONE_BY_ONE, (1, 5, 18), pearsonr),
        (SensitivityN(sizes=(1, 4), subsets=20, features=Cells(3), score="probability"), CELLS, (1, 4), pearsonr),
        (FaithfulnessCorrelation(size=0.25, subsets=12, features=Cells(3), baseline="mean"), CELLS, (2,), pearsonr),
        (MuFidelity(size=7, subsets=12, features="pixels", seed=3), ONE_BY_ONE, (7,), spearmanr),
        (MuFidelity(size=0.5, features=Cells(3), score="probability"), CELLS, (4,), spearmanr),
        (FaithfulnessEstimate(features=Cells(3)), CELLS, (1,), pearsonr),
    ],
)
def test_the_correlation_is_that_of_scipy_subset_by_subset(
    metric, labels, counts, correlation, classifier, images, noise_maps, slow_points, worked_out
):
    pictures, maps, targets = images(3, 6), noise_maps(3, 3, 2), [0, 1, 2]
    grown = F.interpolate(maps[:, None], size=(6, 6), mode="bilinear", align_corners=False)[:, 0].flatten(1)
    blanks = metric.baseline(pictures, torch.zeros(3))
    most = int(labels.max()) + 1
    line, found = worked_out(metric, classifier, pictures, targets, maps, batch_size=5)
    for i, target in enumerate(targets):
        expected = []
        for probe, count in zip(metric.probes(None, 36), counts, strict=True):
            members = probe.members(36)
            assert set(members.sum(1).tolist()) == {count}
            assert len(members) == min(metric.subsets, math.comb(most, count))
            sums, drops = [], []
            for subset in members:
                gone = [p for p, of in enumerate(labels.flatten().tolist()) if subset[of]]
                sums.append(sum(float(grown[i, pixel]) for pixel in gone))
                whole, without = slow_points(
                    classifier, pictures[i], blanks[i], target, gone, (0, len(gone)), metric.score
                )
                drops.append(whole - without)
            expected.append(correlation(sums, drops).statistic)
        assert float(found["correlation"][i]) == pytest.approx(sum(expected) / len(counts), abs=1e-8)
        if line is not None:
            assert line.x.tolist() == pytest.approx([count / most for count in counts])
            assert line.y[i].tolist() == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    "metric", [SensitivityN(subsets=16), FaithfulnessCorrelation(), MuFidelity(), FaithfulnessEstimate(score="logit")]
)
def test_contributions_to_a_linear_model_have_correlation_one_whatever_their_scale_and_offset(
    metric, linear, worked_out
):
    """A method that rectifies is read with its signs all the same."""
    model, pictures, contributions = linear
    for times, more, sign in ((1, 0, 1), (1e-6, 0, 1), (1e6, 0, 1), (3, 1e8, 1), (-1, 0, -1)):
        metric = replace(metric, features="pixels") if more else metric  # an offset has a meaning for unequal cells
        found = worked_out(metric, model, pictures, 1, times * contributions + more, rectified=True)[1]["correlation"]
        assert found.tolist() == pytest.approx([sign] * 3, abs=1e-8)


def test_the_correlation_is_within_an_image_not_across_images(pixel_sum, images, noise_maps):
    weight = noise_maps(1, 8, 8)[0].abs()
    pictures = images(6, 8) * torch.tensor([0.01, 0.1, 0.3, 0.5, 0.8, 1]).view(-1, 1, 1, 1)
    true = pictures.sum(1) * weight
    # Every map is upside down, but bright images get more of it: pooled over images, sums and drops rise together.
    maps = 30 * true.mean((1, 2), keepdim=True) - true
    metric = SensitivityN(sizes=(16,), features="pixels")
    member = metric.probes(None, 64)[0].members(64).double()
    assert pearsonr(*((m.flatten(1) @ member.T).flatten() for m in (maps, true))).statistic > 0.5
    found = metric(pixel_sum(weight), pictures, 1, maps)["correlation"]
    torch.testing.assert_close(found, -torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize("kind", [SensitivityN, FaithfulnessCorrelation, MuFidelity, FaithfulnessEstimate])
def test_a_constant_map_has_no_correlation_over_cells_of_equal_size(kind, classifier, images):
    metric, values = kind(features=Cells(4)), torch.tensor([0.0, 1.0, 0.1, -1e7]).view(4, 1, 1)
    for grid in (3, 8):
        assert metric(classifier, images(4, 8), 0, values.expand(4, grid, grid))["correlation"].isnan().all()


class Gone(nn.Module):
    """Sees how many pixels are black only from `least` of them on, and answers NaN for `most`."""

    def __init__(self, least, most):
        super().__init__()
        self.least, self.most = least, most

    def forward(self, x):
        gone = (x.amax(1) == 0).to(x.dtype)
        count = gone.sum((1, 2))
        seen = torch.where(count >= self.least, (gone * torch.arange(64).view(8, 8)).sum((1, 2)), 0.0)
        seen = torch.where(count >= self.most, torch.nan, seen)
        return torch.stack([seen, -seen], 1)


def test_a_size_at_which_the_model_sees_nothing_leave_is_left_out_and_nan_is_not(images, noise_maps, worked_out):
    metric, given = SensitivityN(sizes=(3, 40), subsets=8, features="pixels"), (images(2, 8), 0, noise_maps(2, 8, 8))
    line, found = worked_out(metric, Gone(32, 65), *given)
    assert line.y[:, 0].isnan().all()
    assert found["correlation"].isfinite().all()
    assert torch.equal(found["correlation"], line.y[:, 1])
    assert metric(Gone(0, 32), *given)["correlation"].isnan().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_only_rounding_is_no_correlation(dtype, pixel_sum, noise_maps):
    """Every subset of a size costs the same, but a network adds its pixels up in single precision."""
    model = pixel_sum(torch.full((8, 8), 0.37)).to(dtype)
    grey = torch.full((3, 3, 8, 8), 0.61)
    for kind in (SensitivityN, MuFidelity, MonotonicityNguyen):
        assert kind(features=Cells(4))(model, grey, 1, noise_maps(3, 8, 8))["correlation"].isnan().all()


def test_what_a_confident_model_loses_is_more_than_rounding(pixel_sum, images, noise_maps):
    weight, pictures = noise_maps(1, 8, 8)[0] / 10, images(2, 8)
    model = pixel_sum(weight, bias=20.0).float()  # a probability of 1 − 10⁻⁹
    found = SensitivityN(score="probability")(model, pictures, 1, pictures.sum(1) * weight)["correlation"]
    assert found.min() > 0.7


def test_subsets_are_drawn_evenly_from_their_seed_and_are_all_there_are_where_these_are_few():
    drawn = Subsets(5, 4000, BLACK, Pixels()).members(20)
    assert drawn.sum(1).tolist() == [5] * 4000
    assert (drawn.double().mean(0) - 0.25).abs().max() < 4 * (0.25 * 0.75 / 4000) ** 0.5
    assert not torch.equal(drawn, Subsets(5, 4000, BLACK, Pixels(), seed=10).members(20))
    more = Subsets(15, 4000, BLACK, Pixels()).members(20)
    assert float((drawn & more).sum(1).double().mean()) == pytest.approx(5 * 15 / 20, abs=0.1)  # not nested
    assert torch.equal(Subsets(1, 64, BLACK).members(10_000), torch.eye(49).bool())
    pairs = {tuple(row.nonzero().flatten().tolist()) for row in Subsets(2, 15, BLACK, Pixels()).members(6)}
    assert pairs == {(a, b) for a in range(6) for b in range(a + 1, 6)}


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [((1,), (1,)), ((0.1, 0.5), (10, 50)), ((1, 10.0, 0.25), (1, 10, 25)), ((0.001,), (1,)), ((10, 0.1), (10,))],
)
def test_sizes_are_counts_or_shares(sizes, counts):
    probes = SensitivityN(sizes=sizes, features="pixels").probes(None, 100)
    assert tuple(probe.size for probe in probes) == counts


@pytest.mark.parametrize("sizes", [(), (0,), (-3,), (0.1, -0.1), (2.5,), (float("nan"),)])
def test_sizes_that_are_no_number_of_features_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be"):
        SensitivityN(sizes=sizes)
    for size in sizes[-1:]:
        with pytest.raises(ValueError, match=r"sizes? must be"):
            FaithfulnessCorrelation(size=size)


@pytest.mark.parametrize(
    ("features", "size", "what"),
    [("pixels", 64, "64 pixels"), ("pixels", 0.999, "64 pixels"), ("cells", 49, "49 cells")],
)
def test_a_subset_never_holds_the_whole_image(features, size, what, classifier, images):
    with pytest.raises(ValueError, match=f"below the image's {what}"):
        SensitivityN(sizes=(3, size), features=features)(classifier, images(1, 8), 0, torch.rand(1, 8, 8))


@dataclass(frozen=True)
class Stripes(Features):
    """As many as ten times the image's first value says, up to eight."""

    name = "stripes"

    def most(self, pixels):
        return 8

    def __call__(self, image, seed):
        count = round(10 * float(image[0, 0, 0]))
        return (
            torch.arange(image.shape[2]).mul(count).div(image.shape[2], rounding_mode="floor").expand(image.shape[1:])
        )


def test_an_image_with_fewer_features_loses_the_same_share_of_them(pixel_sum, images, noise_maps):
    pictures, weight = images(4, 8), noise_maps(1, 8, 8)[0]
    pictures[:, 0, 0, 0] = torch.tensor([0.8, 0.4, 0.2, 0.1])
    metric = SensitivityN(sizes=(1, 0.5), features=Stripes())
    found = metric(pixel_sum(weight), pictures, 1, pictures.sum(1) * weight)["correlation"]
    assert found[:3].tolist() == pytest.approx([1, 1, 1])
    assert found[3].isnan()  # a single one, and all of it leaves
    half = metric.probes(None, 64)[1]
    assert [half.members(64, count).sum(1).unique().tolist() for count in (8, 4, 2, 1)] == [[4], [2], [1], [1]]
    assert Subsets(7, 50, BLACK, Stripes()).members(64, 2).sum(1).tolist() == [1, 1]  # one stays


def test_other_settings_ask_other_questions():
    changes = ({}, {"size": 0.2}, {"subsets": 60}, {"seed": 1}, {"features": "pixels"}, {"baseline": "mean"})
    assert len({FaithfulnessCorrelation(**changed).probes(None, 64)[0] for changed in changes}) == len(changes)
