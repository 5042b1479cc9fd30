"""Sensitivity-n and faithfulness correlation against scipy, subset by subset, and where their values are known."""

import pytest
import torch
from scipy.stats import pearsonr
from torch import nn
from torch.nn import functional as F

from camfaith.metrics import Engine, FaithfulnessCorrelation, SensitivityN
from camfaith.metrics.probing.baselines import baseline
from camfaith.metrics.probing.case import Case, Maps
from camfaith.metrics.probing.probes import Subsets
from camfaith.models import Classifier

BLACK = baseline("black")


def curve_of(metric, model, images, targets, maps, **reading):
    classifier = Classifier.of(model)
    case = Case.of(classifier, images, targets)
    given = Maps(maps, case, **reading)
    answers = Engine(classifier).answer(case, {"it": (given, metric.probes(None, case.pixels))})["it"]
    return metric.line(case, given, answers)


@pytest.fixture
def slow_correlation(slow_score):
    """Pearson's correlation of one image and subset size, one subset and one forward at a time."""

    def correlation(model, image, target, saliency, blank, subsets, score):
        sums, drops, whole = [], [], slow_score(model, image, target, score)
        for subset in subsets:
            altered, total = image.clone(), 0.0
            for pixel in subset.nonzero().flatten().tolist():
                row, column = divmod(pixel, image.shape[-1])
                altered[:, row, column] = blank[:, row, column]
                total += float(saliency[row, column])
            sums.append(total)
            drops.append(whole - slow_score(model, altered, target, score))
        return pearsonr(sums, drops).statistic

    return correlation


@pytest.fixture
def linear(pixel_sum, noise_maps):
    """A linear model of 8×8 pixels, its images' true contributions, and what makes them."""
    weight = noise_maps(1, 8, 8, seed=1)[0]

    def contributions(pictures):
        return pictures.sum(1) * weight

    return pixel_sum(weight, bias=0.7), contributions


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("kind", ["black", "mean"])
def test_the_correlation_is_that_of_scipy_subset_by_subset(
    score, kind, classifier, images, noise_maps, slow_correlation
):
    metric = SensitivityN(sizes=(1, 5, 0.5), subsets=8, baseline=kind, score=score, seed=4)
    pictures, maps, targets = images(4, 6), noise_maps(4, 3, 2), [0, 1, 2, 1]
    grown = F.interpolate(maps[:, None], size=(6, 6), mode="bilinear", align_corners=False)[:, 0]
    blanks = baseline(kind)(pictures, torch.zeros(4))
    (probe,) = metric.probes(None, 36)
    members = probe.members(36).view(3, 8, 36)
    line = curve_of(metric, classifier, pictures, targets, maps)
    found = metric(classifier, pictures, targets, maps, batch_size=5)["correlation"]
    assert line.x.tolist() == pytest.approx([1 / 36, 5 / 36, 0.5])
    for i in range(4):
        expected = [
            slow_correlation(classifier, pictures[i], targets[i], grown[i], blanks[i], subsets, score)
            for subsets in members
        ]
        assert line.y[i].tolist() == pytest.approx(expected, abs=1e-8)
        assert float(found[i]) == pytest.approx(sum(expected) / 3, abs=1e-8)


def test_the_contributions_of_a_linear_model_have_correlation_one(linear, images):
    model, contributions = linear
    pictures = images(3, 8)
    line = curve_of(SensitivityN(), model, pictures, 1, contributions(pictures))
    torch.testing.assert_close(line.y, torch.ones_like(line.y))
    opposite = SensitivityN()(model, pictures, 1, -contributions(pictures))["correlation"]
    torch.testing.assert_close(opposite, -torch.ones(3, dtype=torch.float64))


def test_scale_and_offset_of_the_map_do_not_matter(classifier, images, noise_maps):
    pictures, maps = images(3, 8), noise_maps(3, 8, 8)
    metric = SensitivityN(subsets=16)
    expected = metric(classifier, pictures, 0, maps)["correlation"]
    for changed in (maps * 1e-6, maps * 1e6, maps + 100, 3 * maps - 5):
        torch.testing.assert_close(metric(classifier, pictures, 0, changed)["correlation"], expected, atol=1e-8, rtol=0)


def test_the_map_is_read_with_its_signs_even_where_the_method_rectifies(linear, images):
    model, contributions = linear
    pictures = images(2, 8)
    line = curve_of(SensitivityN(), model, pictures, 1, contributions(pictures), rectified=True)
    torch.testing.assert_close(line.y, torch.ones_like(line.y))


def test_the_correlation_is_within_an_image_not_across_images(pixel_sum, images, noise_maps):
    weight = noise_maps(1, 8, 8)[0].abs()
    model = pixel_sum(weight)
    pictures = images(6, 8) * torch.tensor([0.01, 0.1, 0.3, 0.5, 0.8, 1]).view(-1, 1, 1, 1)
    true = pictures.sum(1) * weight
    # Every map is upside down, but bright images get more of it: pooled over images, sums and drops rise together.
    maps = 30 * true.mean((1, 2), keepdim=True) - true
    metric = SensitivityN(sizes=(16,))
    (probe,) = metric.probes(None, 64)
    member = probe.members(64).to(torch.float64)
    pooled = pearsonr((maps.flatten(1) @ member.T).flatten(), (true.flatten(1) @ member.T).flatten()).statistic
    assert pooled > 0.5
    torch.testing.assert_close(metric(model, pictures, 1, maps)["correlation"], -torch.ones(6, dtype=torch.float64))


def test_random_maps_have_no_correlation(linear, images, noise_maps):
    model, _ = linear
    found = SensitivityN(sizes=(4, 0.25, 0.5), subsets=32)(model, images(200, 8), 1, noise_maps(200, 8, 8))
    assert abs(float(found["correlation"].mean())) < 0.05
    assert found["correlation"].abs().max() < 0.6


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e7])
@pytest.mark.parametrize("grid", [3, 8])
def test_a_constant_map_has_no_correlation(value, grid, classifier, images):
    maps = torch.full((2, grid, grid), value)
    assert SensitivityN(subsets=8)(classifier, images(2, 8), 0, maps)["correlation"].isnan().all()


def test_a_size_at_which_the_model_sees_nothing_leave_is_left_out(images, noise_maps):
    class NeedsHalf(nn.Module):
        """Sees how many pixels are gone only from half of them on."""

        def forward(self, x):
            gone = (x.amax(1) == 0).to(x.dtype)
            seen = torch.where(gone.sum((1, 2)) >= 32, (gone * torch.arange(64).view(8, 8)).sum((1, 2)), 0.0)
            return torch.stack([seen, -seen], 1)

    line = curve_of(SensitivityN(sizes=(3, 40), subsets=8), NeedsHalf(), images(2, 8), 0, noise_maps(2, 8, 8))
    found = SensitivityN(sizes=(3, 40), subsets=8)(NeedsHalf(), images(2, 8), 0, noise_maps(2, 8, 8))
    assert line.y[:, 0].isnan().all()
    assert torch.equal(found["correlation"], line.y[:, 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_only_rounding_is_no_correlation(dtype, pixel_sum, noise_maps):
    """Every subset of a size costs the same, but a network adds its pixels up in single precision."""
    model = pixel_sum(torch.full((8, 8), 0.37)).to(dtype)
    grey = torch.full((3, 3, 8, 8), 0.61)
    assert SensitivityN()(model, grey, 1, noise_maps(3, 8, 8))["correlation"].isnan().all()


def test_what_a_confident_model_loses_is_more_than_rounding(pixel_sum, images, noise_maps):
    weight, pictures = noise_maps(1, 8, 8)[0] / 10, images(2, 8)
    model = pixel_sum(weight, bias=20.0).float()  # a probability of 1 − 10⁻⁹
    found = SensitivityN(score="probability")(model, pictures, 1, pictures.sum(1) * weight)["correlation"]
    assert found.min() > 0.7


@pytest.mark.parametrize("pixels", [36, 1000])
def test_every_subset_holds_exactly_its_number_of_pixels(pixels):
    probe = Subsets((1, 7, 30), 5, BLACK, seed=9)
    members = probe.members(pixels)
    assert members.dtype == torch.bool
    assert members.sum(1).tolist() == [1] * 5 + [7] * 5 + [30] * 5
    assert members[5:].unique(dim=0).shape[0] == 10
    assert not torch.equal(members, Subsets((1, 7, 30), 5, BLACK, seed=10).members(pixels))


def test_subsets_are_drawn_evenly():
    drawn = Subsets((5,), 4000, BLACK).members(20).to(torch.float64).mean(0)
    assert (drawn - 0.25).abs().max() < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_all_images_meet_the_same_subsets(tiny, watched):
    seen = watched(tiny)
    pictures = torch.ones(3, 3, 6, 6, dtype=torch.float64)
    SensitivityN(sizes=(4, 9), subsets=6)(tiny, pictures, 0, torch.rand(3, 6, 6))
    altered = torch.cat(seen[1:])[:, 0].view(3, 12, 6, 6)
    assert torch.equal(altered[0], altered[1])
    assert torch.equal(altered[0], altered[2])
    assert (altered == 0).sum((2, 3)).tolist() == [[4] * 6 + [9] * 6] * 3


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [((1,), (1,)), ((0.1, 0.5), (10, 50)), ((1, 10.0, 0.25), (1, 10, 25)), ((0.001,), (1,)), ((10, 0.1), (10,))],
)
def test_sizes_are_counts_or_shares(sizes, counts):
    (probe,) = SensitivityN(sizes=sizes).probes(None, 100)
    assert probe.sizes == counts


@pytest.mark.parametrize("sizes", [(), (0,), (-3,), (0.1, -0.1), (2.5,), (float("nan"),)])
def test_sizes_that_are_no_number_of_pixels_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be"):
        SensitivityN(sizes=sizes)


@pytest.mark.parametrize("size", [64, 65, 0.999])
def test_a_subset_never_holds_the_whole_image(size, classifier, images):
    with pytest.raises(ValueError, match="below the image's 64 pixels"):
        SensitivityN(sizes=(3, size))(classifier, images(1, 8), 0, torch.rand(1, 8, 8))


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_faithfulness_correlation_is_that_of_scipy_at_one_size(score, classifier, images, noise_maps, slow_correlation):
    metric = FaithfulnessCorrelation(size=0.25, subsets=12, baseline="mean", score=score, seed=4)
    pictures, maps, targets = images(3, 6), noise_maps(3, 6, 6), [0, 1, 2]
    blanks = baseline("mean")(pictures, torch.zeros(3))
    (probe,) = metric.probes(None, 36)
    members = probe.members(36)
    assert members.sum(1).tolist() == [9] * 12
    found = metric(classifier, pictures, targets, maps)["correlation"]
    for i in range(3):
        expected = slow_correlation(classifier, pictures[i], targets[i], maps[i], blanks[i], members, score)
        assert float(found[i]) == pytest.approx(expected, abs=1e-8)


def test_faithfulness_correlation_of_the_contributions_of_a_linear_model_is_one(linear, images):
    model, contributions = linear
    pictures = images(3, 8)
    found = FaithfulnessCorrelation()(model, pictures, 1, contributions(pictures))["correlation"]
    torch.testing.assert_close(found, torch.ones_like(found))
    opposite = FaithfulnessCorrelation()(model, pictures, 1, -contributions(pictures))["correlation"]
    torch.testing.assert_close(opposite, -torch.ones_like(opposite))


def test_faithfulness_correlation_and_sensitivity_n_ask_once_where_their_settings_are_equal(
    classifier, images, noise_maps, watched
):
    case, seen = Case.of(classifier, images(3, 8), 0), watched(classifier.network)
    single, several = FaithfulnessCorrelation(seed=5), SensitivityN(sizes=(0.1,), subsets=100, seed=5)
    maps = Maps(noise_maps(3, 8, 8), case)
    probes = (*single.probes(None, 64), *several.probes(None, 64))
    answers = Engine(classifier).answer(case, {"it": (maps, probes)})["it"]
    assert sum(map(len, seen)) == 3 * 100
    one, other = (metric.judge(case, maps, answers)["correlation"] for metric in (single, several))
    assert torch.equal(one, other)
    different = [FaithfulnessCorrelation(**changed) for changed in ({"size": 0.2}, {"subsets": 99}, {"seed": 1})]
    assert len({metric.probes(None, 64) for metric in (FaithfulnessCorrelation(), *different)}) == 4


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_faithfulness_correlation_of_a_constant_map_is_undefined(value, classifier, images):
    found = FaithfulnessCorrelation()(classifier, images(2, 8), 0, torch.full((2, 8, 8), value))
    assert found["correlation"].isnan().all()


def test_faithfulness_correlation_of_a_batch_is_that_of_its_images_one_by_one(classifier, images, noise_maps):
    pictures, maps = images(4, 8), noise_maps(4, 3, 3)
    together = FaithfulnessCorrelation(size=7)(classifier, pictures, 1, maps, batch_size=7)["correlation"]
    for i in range(4):
        alone = FaithfulnessCorrelation(size=7)(classifier, pictures[i : i + 1], 1, maps[i : i + 1])["correlation"]
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-10, rtol=0)


@pytest.mark.parametrize("size", [0, -1, 2.5])
def test_a_size_that_is_no_number_of_pixels_is_refused(size):
    with pytest.raises(ValueError, match=r"sizes? must be"):
        FaithfulnessCorrelation(size=size)
