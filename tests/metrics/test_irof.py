"""IROF by its definition, superpixels that tie, and how many SLIC makes."""

from __future__ import annotations

import sys

import pytest
import torch

from camfaith.metrics import IROF, Case
from camfaith.metrics.irof import Superpixels, segment_ranks
from camfaith.models.superpixels import superpixels


def slow_irof(score, logits, picture, labels, saliency, seed, target):
    """From the paper: superpixels by falling mean of the map leave one by one, the mean colour instead."""
    count = int(labels.max()) + 1
    means = [saliency[labels == each].mean().item() for each in range(count)]
    lots = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    order = sorted(range(count), key=lambda each: (-means[each], lots.index(each)))
    left, colour = picture.clone(), picture.mean((1, 2))
    curve, kept = [1.0], []
    for each in order:
        left[:, labels == each] = colour[:, None]
        curve.append(score(left) / score(picture))
        kept.append(float(logits(left).argmax() == target))
    over = [1 - (curve[at] + curve[at + 1]) / 2 for at in range(count)]
    return {"irof": sum(over) / count, "kept": sum(kept) / count, "segments": count}


def test_it_is_the_area_over_the_curve_of_removed_superpixels(tiny, images, noise_maps, slow_score):
    pictures, seeds = images(4, 14, 11), [3, 4, 5, 6]
    pictures[1] = pictures[1].round(decimals=0)  # images differ in their number of superpixels
    with torch.no_grad():
        tiny.head.weight *= 300
        tiny.head.bias -= tiny(pictures).mean(0)  # no class leads on all images
        targets = tiny(pictures).argmax(1).tolist()
    maps = noise_maps(4, 14, 11)
    maps[3] = 0  # all superpixels tie
    found = IROF(segments=9)(tiny, pictures, targets, maps, seeds=torch.tensor(seeds), batch_size=5)
    assert len(set(found["segments"].tolist())) > 1, "the longest curve pads the others"
    assert len(set(found["kept"].tolist())) > 1
    for place, (picture, seed, target) in enumerate(zip(pictures, seeds, targets, strict=True)):
        expected = slow_irof(
            lambda x, c=target: slow_score(tiny, x, c, "probability"),
            lambda x: tiny(x[None])[0],
            picture,
            Superpixels(9)(picture, 0),
            maps[place],
            seed,
            target,
        )
        assert {column: found[column][place].item() for column in expected} == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("size", [(32, 32), (20, 45)])
def test_slic_never_makes_more_than_asked_for(size, images):
    (picture,) = images(1, *size)
    found = [int(Superpixels(segments)(picture, 0).max()) + 1 for segments in (1, 30, 100)]
    assert all(count <= segments for count, segments in zip(found, (1, 30, 100), strict=True))
    assert int(superpixels(images(1, 32)[0], 100).max()) >= 100, "which SLIC alone does here"


def test_superpixels_of_one_value_tie_whatever_their_size_and_place():
    labels = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 2, 2, 2]])
    ranks = torch.stack([segment_ranks(torch.full((1, 10), 0.1, dtype=torch.float64), labels, s) for s in range(300)])
    assert ranks.double().mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.15)


def test_a_case_cuts_each_image_once_for_all_its_copies(classifier, images, monkeypatch):
    asked = []
    monkeypatch.setattr("camfaith.metrics.irof.superpixels", lambda x, n: asked.append(n) or superpixels(x, n))
    case = Case.of(classifier, images(3, 12), 0)
    found = [each.once(Superpixels(6)) for each in (case, case.copy(), case.copy())]
    assert asked == [6, 6, 6]
    found[1][0].fill_(-1)
    assert torch.equal(case.once(Superpixels(6))[0], found[2][0])
    assert int(found[2][0].min()) == 0


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ImportError, match=r"need scikit-image: pip install 'camfaith\[superpixels\]'"):
        IROF()
