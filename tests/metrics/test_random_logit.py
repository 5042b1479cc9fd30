"""Random logit and class contrast where the other class's map is known, and by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from skimage.metrics import structural_similarity

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import ClassContrast, RandomLogit
from camfaith.metrics.random_logit import other_class
from camfaith.models import Classifier
from camfaith.models.maps import normalise, rectify, upsample

WINDOWED = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
def test_it_is_the_likeness_of_the_maps_of_two_classes(kind, classifier, images):
    pictures, method, seeds = images(3, 12, 17), kind(classifier, "relu1"), [5, 6, 7]
    raw = method.raw(pictures, [0, 1, 2])
    found = RandomLogit()(classifier, pictures, [0, 1, 2], raw, method=method, seeds=torch.tensor(seeds))
    for place, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
        other = method.raw(picture[None], other_class(place, 3, seed))
        a, b = (upsample(rectify(m) if method.rectified else m, (12, 17)) for m in (raw[[place]], other))
        assert found["spearman"][place].item() == pytest.approx(spearmanr(a.flatten(), b.flatten()).statistic)
        full = structural_similarity(normalise(a)[0].numpy(), normalise(b)[0].numpy(), full=True, **WINDOWED)[1]
        assert found["ssim"][place].item() == pytest.approx(full[5:-5, 5:-5].mean())


@pytest.mark.parametrize(("other", "place"), [("least", 0), ("second", -1)])
def test_class_contrast_is_the_likeness_to_the_map_of_the_class_so_ranked(other, place, classifier, images):
    pictures, method, targets = images(3, 12, 17), HiResCAM(classifier, "relu1"), [0, 1, 2]
    logits, raw = classifier.scores(pictures).tolist(), method.raw(pictures, targets)
    expected = [sorted({0, 1, 2} - {own}, key=of.__getitem__)[place] for own, of in zip(targets, logits, strict=True)]
    found = ClassContrast(other=other)(classifier, pictures, targets, raw, method=method)
    a, b = (upsample(each, (12, 17)).flatten(1).numpy() for each in (raw, method.raw(pictures, expected)))
    assert found["pearson"].tolist() == pytest.approx([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


def test_every_other_class_is_drawn_and_the_own_never():
    drawn = [other_class(2, 4, seed) for seed in range(300)]
    assert {kind: round(drawn.count(kind) / 300, 1) for kind in range(4)} == {0: 0.3, 1: 0.3, 2: 0, 3: 0.3}


class OfTarget:
    """The first colour for class 0, and its negative for class 1."""

    needs_layer = needs_gradients = False

    def explain(self, evidence, classifier):
        return evidence.images[:, 0] * (1 - 2 * evidence.targets)[:, None, None]


def test_a_map_that_turns_with_the_class_is_the_contrary_and_is_undefined_where_there_is_no_other(images, answering):
    pictures = images(2, 12)
    two, one = (answering(torch.zeros(2, classes)) for classes in (2, 1))
    found = RandomLogit()(two, pictures, 1, -pictures[:, 0], method=OfTarget())
    assert found["spearman"].tolist() == pytest.approx([-1, -1])
    assert max(found["ssim"].tolist()) < -0.5
    for metric in (RandomLogit(), ClassContrast(), ClassContrast(other="second")):
        nothing = metric(Classifier(one, head="sigmoid"), pictures, 0, pictures[:, 0], method=OfTarget())
        assert all(value.isnan().all() for value in nothing.values())
