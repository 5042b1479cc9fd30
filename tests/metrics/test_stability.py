"""Stability against what it must be on a linear network, and against captum's on the same neighbours."""

from __future__ import annotations

import pytest
import torch
from captum.metrics import sensitivity_max

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import LocalLipschitz, MaxSensitivity
from camfaith.models.maps import rectify


def moves(metric, like, of_image=0):
    """The δ of a metric, from its definition: a generator for each sample of each image."""
    every = [of_image * 1_000_003 + metric.seed * 10_007 + sample for sample in range(metric.samples)]
    drawn = [torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)) for seed in every]
    return metric.radius * (2 * torch.stack(drawn).to(like) - 1)


def test_on_a_linear_network_it_is_the_moves_worth_against_the_images(pixel_sum, images, showing):
    pictures, weight, seeds = images(3, 6), torch.linspace(-1, 2, 36).view(6, 6).double(), torch.tensor([4, 9, 4])
    told, maps = {"samples": 7, "radius": 0.3, "seed": 5}, pictures.sum(1) * weight
    given, method = (pixel_sum(weight), pictures, 1, maps), showing(lambda images: images.sum(1) * weight)
    found = MaxSensitivity(**told)(*given, method=method, seeds=seeds)
    fast = LocalLipschitz(**told)(*given, method=method, seeds=seeds)["lipschitz"]
    for place, picture in enumerate(pictures):
        around = moves(MaxSensitivity(**told), picture, int(seeds[place]))
        moved = [float((weight * d.sum(0)).norm() / maps[place].norm()) for d in around]
        assert found["max"][place].item() == pytest.approx(max(moved), rel=1e-6)
        assert found["avg"][place].item() == pytest.approx(sum(moved) / 7, rel=1e-6)
        steep = max(one / float(d.norm()) for one, d in zip(moved, around, strict=True))
        assert fast[place].item() == pytest.approx(steep, rel=1e-6)


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
def test_it_is_captums_on_the_same_neighbours(kind, tiny, images):
    """Captum's has no ReLU unless its function has: here it is the method's own."""
    pictures, targets = images(3, 12), torch.tensor([0, 2, 1])
    method, metric = kind(tiny, "relu1"), MaxSensitivity(samples=4, radius=0.3)

    def perturb(inputs):
        return inputs + moves(metric, pictures[0]).repeat(len(inputs) // 4, 1, 1, 1)

    def explain(inputs, target):
        raw = method.raw(inputs[0] if isinstance(inputs, tuple) else inputs, target)
        return (rectify(raw) if method.rectified else raw,)

    raw = method.raw(pictures, targets)
    assert bool((raw < 0).any()), "else a ReLU would do nothing"
    expected = sensitivity_max(explain, pictures, perturb, n_perturb_samples=4, target=targets)
    found = metric(tiny, pictures, targets, raw, method=method)["max"]
    torch.testing.assert_close(found, expected.double(), rtol=1e-6, atol=0)
    assert float(found.min()) > 0


def test_a_method_that_does_not_look_is_perfectly_stable_and_a_zero_map_has_no_value(tiny, images, showing):
    maps = torch.stack([torch.ones(3, 3), torch.zeros(3, 3)])
    found = MaxSensitivity(samples=2)(
        tiny, images(2, 9), 0, maps, method=showing(lambda images: torch.ones(len(images), 3, 3))
    )
    for value in found.values():
        assert value.tolist() == pytest.approx([0, torch.nan], nan_ok=True)


def test_an_image_on_which_the_method_fails_has_no_value_and_a_warning(tiny, images):
    class Picky:
        needs_layer = needs_gradients = False

        def explain(self, evidence, classifier):
            if bool((evidence.seeds == 1).any()):
                raise ArithmeticError("cannot do this one")
            return evidence.images.sum(1)

    pictures = images(3, 9)
    with pytest.warns(UserWarning, match="no value for image 1: on an altered image, ArithmeticError: cannot do this"):
        found = MaxSensitivity(samples=2)(tiny, pictures, 0, pictures.sum(1), method=Picky(), seeds=torch.arange(3))
    assert found["max"].isnan().tolist() == [False, True, False]


def test_a_method_may_leave_the_layer_to_the_call(tiny, images):
    class Plain:
        def explain(self, evidence, classifier):
            return evidence.activations["relu1"].sum(1)

    found = MaxSensitivity()(tiny, images(1, 9), 0, torch.ones(1, 9, 9), layer="relu1", method=Plain())
    assert bool(found["max"].isfinite().all())


def test_it_wants_the_method_and_maps_of_the_methods_own_grid(tiny, images):
    with pytest.raises(ValueError, match="wants maps of altered images: give the method"):
        MaxSensitivity()(tiny, images(1, 9), 0, torch.rand(1, 9, 9))
    with pytest.raises(ValueError, match="maps of 9×9 cannot be compared with the method's of 4×4: give its raw maps"):
        MaxSensitivity()(tiny, images(1, 9), 0, torch.rand(1, 9, 9), method=GradCAM(tiny, "relu2"))
