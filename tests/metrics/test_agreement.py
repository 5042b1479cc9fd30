"""Methods that agree, worked out by scipy pair by pair; and maps of several methods in one call."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import spearmanr

from camfaith.metrics import AverageDrop, Conservation, Deletion, MaxSensitivity, SpearmanAgreement
from camfaith.metrics.agreement import agreement


class Squares:
    """A method whose map is the sum of the squared colours."""

    needs_layer = needs_gradients = False

    def explain(self, evidence, classifier):
        return evidence.images.square().sum(1)


class Lot(Squares):
    """A control."""

    control = True


def test_agreement_is_the_mean_and_the_highest_of_scipys_rank_correlations(tiny, images, noise_maps):
    maps = {name: noise_maps(3, 6, 5, levels=7, seed=place) for place, name in enumerate("abcd")}
    maps["b"][:2] += 2 * maps["a"][:2]
    maps["c"][1] = 0.5  # constant: compared with none
    maps["a"][2] = maps["b"][2] = 1.0  # a says nothing, and of the others c alone does
    shown = {"a": None, "b": None, "c": Squares(), "d": Lot()}
    found = SpearmanAgreement()(tiny, images(3, 6, 5), [0, 1, 2], maps, method=shown)
    for image in range(3):
        for name, own in maps.items():
            told = {other: of[image] for other, of in maps.items() if other not in (name, "d") and of[image].std() > 0}
            rho = [
                spearmanr(own[image].flatten(), of.flatten()).statistic for of in told.values() if own[image].std() > 0
            ]
            got = {column: float(values[image]) for column, values in found[name].items()}
            assert got["others"] == len(rho)
            expected = [sum(rho) / len(rho), max(rho)] if rho else [torch.nan] * 2
            assert [got["spearman"], got["nearest"]] == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert found["d"]["others"].tolist() == [3, 2, 1]


def test_the_pure_function_takes_any_precision(noise_maps):
    maps = torch.stack([noise_maps(2, 4, 4, seed=place) for place in range(3)])
    expected, found = (agreement(given, [True, False, True]) for given in (maps, maps.float()))
    torch.testing.assert_close(found, expected)


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
