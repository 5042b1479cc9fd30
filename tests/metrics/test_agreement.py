"""Methods that agree, worked out by peers pair by pair; and maps of several methods in one call."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from camfaith.metrics import (
    AverageDrop,
    Conservation,
    Deletion,
    MaxSensitivity,
    SpearmanAgreement,
    SSIMAgreement,
    TopKAgreement,
)


class Squares:
    """A method whose map is the sum of the squared colours."""

    needs_layer = needs_gradients = False

    def explain(self, evidence, classifier):
        return evidence.images.square().sum(1)


class Lot(Squares):
    """A control."""

    control = True


def highest(plane):
    """Which of the 132 pixels are among the 13 highest; none of these ties with the next."""
    return set(plane.flatten().argsort(descending=True)[:13].tolist())


def similarity(a, b):
    """scikit-image's, of the maps stretched to [0, 1]."""
    a, b = (((plane - plane.min()) / (plane.max() - plane.min())).numpy() for plane in (a, b))
    return structural_similarity(a, b, gaussian_weights=True, use_sample_covariance=False, data_range=1, full=True)


@pytest.mark.parametrize(
    ("metric", "alike"),
    [
        (SpearmanAgreement(), lambda a, b: spearmanr(a.flatten(), b.flatten()).statistic),
        (SSIMAgreement(), lambda a, b: similarity(a, b)[1][5:-5, 5:-5].mean()),
        (TopKAgreement(), lambda a, b: len(highest(a) & highest(b)) / len(highest(a) | highest(b))),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_agreement_is_the_mean_and_the_highest_of_how_alike_two_maps_are_by_a_peer(
    metric, alike, tiny, images, noise_maps
):
    levels = 7 if metric == SpearmanAgreement() else None
    maps = {name: noise_maps(3, 12, 11, levels=levels, seed=place) for place, name in enumerate("abcd")}
    maps["b"][:2] += 2 * maps["a"][:2]
    maps["c"][1] = 0.5  # constant: compared with none
    maps["a"][2] = maps["b"][2] = 1.0  # a says nothing, and of the others c alone does
    shown = {"a": None, "b": None, "c": Squares(), "d": Lot()}
    found = metric(tiny, images(3, 12, 11), [0, 1, 2], maps, method=shown)
    for image in range(3):
        for name, own in maps.items():
            told = {other: of[image] for other, of in maps.items() if other not in (name, "d") and of[image].std() > 0}
            each = [alike(own[image], of) for of in told.values() if own[image].std() > 0]
            got = {column: float(values[image]) for column, values in found[name].items()}
            assert got["others"] == len(each)
            expected = [sum(each) / len(each), max(each)] if each else [torch.nan] * 2
            assert [got[metric.main], got["nearest"]] == pytest.approx(expected, abs=1e-7, nan_ok=True)
    assert found["d"]["others"].tolist() == [3, 2, 1]


def test_maps_of_several_methods_are_judged_as_each_alone_and_asked_once(tiny, images, noise_maps, watched):
    pictures, targets = images(2, 9), [0, 2]
    maps = {"one": noise_maps(2, 9, 9), "same": noise_maps(2, 9, 9), "other": noise_maps(2, 9, 9, seed=1)}
    settings = {"layer": {"one": "conv2"}, "contributions": {"one": torch.rand(2, 5)}, "method": {"other": Squares()}}
    asked = {
        Deletion(steps=4): settings,
        AverageDrop(): {},
        Conservation(): settings,
        MaxSensitivity(): {"method": Squares()},
    }
    for metric, given in asked.items():
        found = metric(tiny, pictures, targets, maps, **given)
        for name, own in maps.items():
            alone = {what: of.get(name) if isinstance(of, dict) else of for what, of in given.items()}
            torch.testing.assert_close(found[name], metric(tiny, pictures, targets, own, **alone), equal_nan=True)
    seen = watched(tiny)
    Deletion(steps=4)(tiny, pictures, targets, maps)
    assert sum(map(len, seen)) == 2 * (1 + 1 + 2 * 3)  # itself, its baseline, and two orders of pixels


@pytest.mark.parametrize(
    ("metric", "maps", "more", "text"),
    [
        (SpearmanAgreement(), torch.rand(2, 9, 9), {}, "spearman-agreement wants the maps of several methods by name"),
        (
            Deletion(),
            {"a": torch.rand(2, 9, 9)},
            {"layer": {"b": "conv1"}},
            "layer is given for 'b', but maps only for 'a'",
        ),
        (Deletion(), {}, {}, "deletion wants the maps"),
    ],
)
def test_maps_that_cannot_be_judged_are_refused(metric, maps, more, text, tiny, images):
    with pytest.raises(ValueError, match=text):
        metric(tiny, images(2, 9), [0, 1], maps, **more)
