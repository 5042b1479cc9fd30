"""Masks and maps whose overlap can be counted, by hand, by the definitions pixel by pixel, and by scikit-learn."""

import pytest
import torch
from sklearn.metrics import average_precision_score, jaccard_score, roc_auc_score

from camfaith.metrics import IoU, LocalisationAUC, RelevanceRank, TopKIntersection, functional

EVERY = (RelevanceRank(), TopKIntersection(share=0.1), IoU(), LocalisationAUC())


@pytest.fixture
def judge(tiny, images):
    def found(metric, maps, masks):
        return metric(tiny, images(len(maps), *maps.shape[1:]), 0, maps, masks=masks)

    return found


@pytest.fixture
def scenes(noise_maps):
    """Six maps, of many values or of few, and masks: small, large, and one that a map shows exactly."""
    maps = torch.cat([noise_maps(3, 9, 7), noise_maps(3, 9, 7, levels=3, seed=3)])
    masks = noise_maps(6, 9, 7, seed=5) > torch.tensor([1.5, 0.3, -1, 1.5, 0.3, -1])[:, None, None]
    maps[1] += 9 * masks[1]
    return maps, masks


def expected_share(plane, mask, count):
    """The share of the `count` highest pixels in the mask, where a lot decides between those that tie."""
    values = sorted(plane.flatten().tolist(), reverse=True)
    surely = [pixel for pixel, value in enumerate(plane.flatten().tolist()) if value > values[count - 1]]
    perhaps = [pixel for pixel, value in enumerate(plane.flatten().tolist()) if value == values[count - 1]]
    chance = (count - len(surely)) / len(perhaps)
    hits = [sum(bool(mask.flatten()[pixel]) for pixel in some) for some in (surely, perhaps)]
    return (hits[0] + chance * hits[1]) / count


def test_the_highest_pixels_lie_inside_as_often_as_on_average_over_their_ties(scenes, judge):
    maps, masks = scenes
    ranked, intersected = judge(RelevanceRank(), maps, masks), judge(TopKIntersection(share=0.1), maps, masks)
    for place, (plane, mask) in enumerate(zip(maps, masks, strict=True)):
        area = float(mask.double().mean())
        for found, column, count in ((ranked, "accuracy", int(mask.sum())), (intersected, "inside", 6)):
            assert float(found[column][place]) == pytest.approx(expected_share(plane, mask, count), abs=1e-12)
        assert float(ranked["excess"][place]) == pytest.approx(float(ranked["accuracy"][place]) - area)
        assert float(intersected["influence"][place]) == pytest.approx(float(intersected["inside"][place]) / area)


def test_iou_and_the_areas_are_scikit_learns(scenes, judge):
    maps, masks = scenes
    overlap, areas = judge(IoU(), maps, masks), judge(LocalisationAUC(), maps, masks)
    for place, (plane, mask) in enumerate(zip(maps, masks, strict=True)):
        values, truth = plane.flatten().numpy(), mask.flatten().numpy()
        shown = [values >= level for level in values]
        best = max((truth & each).sum() / (truth | each).sum() for each in shown)
        expected = {"best": best, "excess": best - truth.mean()}
        expected |= {f"at_{n}": jaccard_score(truth, values >= n / 100 * values.max()) for n in (15, 25, 50)}
        expected |= {"auc": roc_auc_score(truth, values), "average_precision": average_precision_score(truth, values)}
        found = {name: float(of[place]) for name, of in {**overlap, **areas}.items()}
        assert found == pytest.approx(expected, abs=1e-12)
    assert overlap["best"][1] == areas["auc"][1] == areas["average_precision"][1] == 1


@pytest.mark.parametrize(
    ("row", "iou", "fixed", "auc", "precision"),
    [
        ([9, 8, 1, 0, 0, 0], 1, [1, 1, 1], 1, 1),
        ([0, 0, 0, 0, 8, 9], 2 / 6, [0, 0, 0], 1 / 4, 2 / 6),
        ([9, 0, 9, 0, 0, 0], 2 / 6, [1 / 3, 1 / 3, 1 / 3], 5 / 8, (1 / 2 + 2 / 6) / 2),
        ([4, 2, 1, 0, 0, 0], 1, [2 / 3, 2 / 3, 1], 1, 1),
        ([-1, -2, -3, -4, -5, -6], 1, [torch.nan] * 3, 1, 1),
    ],
    ids=["inside", "outside", "ties", "wide", "nowhere positive"],
)
def test_values_by_hand_of_the_first_two_of_six_pixels(row, iou, fixed, auc, precision):
    mask = torch.tensor([[[True, True, False, False, False, False]]])
    found = functional.iou(torch.tensor([[row]]), mask)
    assert float(found["best"]) == pytest.approx(iou)
    assert [float(found[name]) for name in ("at_15", "at_25", "at_50")] == pytest.approx(fixed, nan_ok=True)
    areas = functional.localisation_auc(torch.tensor([[row]]), mask)
    assert [float(of) for of in areas.values()] == pytest.approx([auc, precision])


@pytest.mark.parametrize("metric", EVERY, ids=lambda metric: metric.name)
def test_without_evidence_or_an_order_of_pixels_there_is_no_value(metric, tiny, images, judge):
    one = torch.zeros(4, 5, dtype=torch.bool)
    one[1, 2:] = True
    maps = torch.stack([torch.rand(4, 5), torch.zeros(4, 5), torch.ones(4, 5), torch.rand(4, 5)])
    for column in judge(metric, maps, torch.stack([~one & one, one, one, one])).values():
        assert column.isnan().tolist() == [True, True, True, False]
    for column in metric(tiny, images(4, 4, 5), 0, maps).values():
        assert column.isnan().all()
    full = judge(metric, maps[3:], torch.ones(1, 4, 5, dtype=torch.bool))[metric.main]
    assert full.tolist() == [1] if metric != LocalisationAUC() else full.isnan().all()
