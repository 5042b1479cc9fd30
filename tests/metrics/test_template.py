"""Maps that are the same whatever the image, maps that are not, and the mean map by its definition."""

import numpy as np
import pytest
import torch

from camfaith.methods import Random
from camfaith.metrics import Pool, TemplateScore


class Mixed:
    """A method that shows the image, times a number of the class, and a pattern."""

    needs_layer = needs_gradients = False

    def __init__(self, pattern, share):
        self.pattern, self.share = pattern, share

    def explain(self, evidence, classifier):
        of_image = evidence.images.sum(1) * (evidence.targets - 1)[:, None, None]
        return self.share * self.pattern + (1 - self.share) * of_image


def judge(network, pictures, pool, pattern, share, targets=2):
    method = Mixed(pattern, share)
    maps = share * pattern + (1 - share) * pictures.sum(1) * (torch.as_tensor(targets) - 1).view(-1, 1, 1)
    return TemplateScore(pool=pool)(network, pictures, targets, maps, method=method)


def test_the_template_is_the_mean_of_the_others_maps_for_the_images_class(tiny, images):
    pictures, pool, (pattern,) = images(3, 9), images(4, 9, seed=3), images(1, 9, seed=4).sum(1)
    found, targets = judge(tiny, pictures, pool, pattern, 0.6, [0, 2, 2]), [0, 2, 2]
    for place, (picture, target) in enumerate(zip(pictures, targets, strict=True)):
        own, *others = ((0.6 * pattern + 0.4 * (target - 1) * x.sum(0)).numpy().ravel() for x in (picture, *pool))
        template = np.mean([(other - other.mean()) / other.std() for other in others], axis=0)
        expected = {
            "template": np.corrcoef(own, template)[0, 1],
            "nearest": max(np.corrcoef(own, other)[0, 1] for other in others),
            "others": 4,
        }
        assert {name: float(value[place]) for name, value in found.items()} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("share", "expected"), [(1.0, 1), (0.0, 0)], ids=["a pattern alone", "the image alone"])
def test_a_pattern_whatever_the_image_has_1(share, expected, tiny, images):
    pattern = images(1, 30, seed=4).sum(1)[0]
    found = judge(tiny, images(4, 30), images(6, 30, seed=3), pattern, share)
    assert found["template"].tolist() == pytest.approx([expected] * 4, abs=0.12 * (1 - share))


def test_lots_are_drawn_anew_for_the_others(classifier, images):
    pictures, seeds, method = images(4, 9), torch.arange(4), Random(classifier, grid=40)
    maps = method.explain(classifier.evidence(pictures, 0, seeds=seeds, gradients=False), classifier)
    judged = TemplateScore(pool=images(3, 9, seed=3))
    found = judged(classifier, pictures, 0, maps, method=method, seeds=seeds)
    assert found["template"].abs().max() < 0.1


def test_the_image_itself_and_maps_that_say_nothing_are_left_out(tiny, images):
    pictures, (pattern,) = images(4, 9).float(), images(1, 9, seed=4).sum(1)
    pool = torch.cat([pictures[:2], torch.full((1, 3, 9, 9), 0.5), pictures[3:]])
    found = judge(tiny, pictures[:3], pool, pattern, 0.0)
    assert found["others"].tolist() == [2, 2, 3]
    without = judge(tiny, pictures[:1], torch.cat([pictures[1:2], pictures[3:]]), pattern, 0.0)
    assert found["template"][0] == pytest.approx(float(without["template"][0]))
    assert judge(tiny, pictures[:1], pictures[:1], pattern, 0.0)["template"].isnan().all()
    short = judge(tiny, pictures[:3], Pool(6, "of six, two cannot be read", lambda: list(pool)), pattern, 0.0)
    assert short["template"].tolist() == pytest.approx(found["template"].tolist())
    assert short["others"].tolist() == [2, 2, 3]
