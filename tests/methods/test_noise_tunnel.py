"""Noise tunnels: loops with the same noise, captum's own call, and what they wrap."""

import pytest
import torch
from torch import Tensor

from camfaith.methods import Calls, GradientShap, GuidedGradCam, NoiseTunnel, Saliency
from camfaith.models import Classifier
from camfaith.models.speed.counting import counting
from camfaith.models.superpixels import superpixels


def explained(method, classifier: Classifier, pictures: Tensor, target: int, seed: int) -> Tensor:
    evidence = classifier.evidence(pictures, target, seeds=torch.arange(len(pictures)) + seed)
    return method.explain(evidence, classifier)


def noises(picture: Tensor, seed: int, samples: int, sigma: float) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return list(picture + sigma * torch.randn(samples, *picture.shape, generator=source))


def gradient(network, x: Tensor, target: int) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(network(x[None])[0, target], x)[0]


def test_smoothgrad_is_the_mean_gradient_of_noisy_images(tiny, images):
    pictures, found = images(2, 11), []
    for row, picture in enumerate(pictures):
        total = torch.zeros_like(picture)
        for x in noises(picture, 40 + row, 20, 0.2):
            total += gradient(tiny, x, 1).abs() / 20
        found.append(total.amax(0))
    method = NoiseTunnel(tiny, samples=20, sigma=0.2)
    torch.testing.assert_close(explained(method, Classifier(tiny), pictures, 1, 40), torch.stack(found))


@pytest.mark.parametrize("kind", ["smoothgrad-squared", "vargrad"])
def test_the_square_and_the_variance_are_those_of_each_colour(tiny, images, kind):
    picture = images(1, 11)
    each = [x * gradient(tiny, x, 1) for x in noises(picture[0], 40, 5, 0.3)]
    square, mean = sum(m**2 for m in each) / 5, sum(each) / 5
    expected = square if kind == "smoothgrad-squared" else square - mean**2
    method = NoiseTunnel(tiny, method="input-x-gradient", kind=kind, samples=5, sigma=0.3)
    torch.testing.assert_close(explained(method, Classifier(tiny), picture, 1, 40)[0], expected.sum(0))


def test_noise_changes_nothing_of_a_linear_model(linear_model, images):
    model, pictures = linear_model(5, 6), images(2, 5, 6)
    plain = Saliency(model).raw(pictures, 1)
    torch.testing.assert_close(NoiseTunnel(model).raw(pictures, 1), plain)
    torch.testing.assert_close(NoiseTunnel(model, kind="smoothgrad-squared").raw(pictures, 1), plain**2)
    assert float(NoiseTunnel(model, kind="vargrad").raw(pictures, 1).abs().max()) < 1e-20


def test_the_method_draws_anew_for_every_noisy_image(tiny, images):
    picture, classifier = images(1, 9), Classifier(tiny)
    source = torch.Generator().manual_seed(3)
    torch.randn(2, 3, 9, 9, generator=source)
    seeds = torch.randint(2**31, (2,), generator=source).tolist()
    shap = {"name": "gradient-shap", "samples": 4, "baselines": 3}
    own = [explained(GradientShap(tiny, samples=4, baselines=3), classifier, picture, 1, seed) for seed in seeds]
    assert not torch.allclose(*own)
    found = explained(NoiseTunnel(tiny, method=shap, samples=2, sigma=0.0), classifier, picture, 1, 3)
    torch.testing.assert_close(found, (own[0] + own[1]) / 2)


def test_superpixels_are_those_of_the_image_without_noise(tiny, images):
    picture, few = images(1, 13), {"segments": 6, "compactness": 50}
    tunnel = NoiseTunnel(tiny, method={"name": "feature-ablation", **few}, samples=4, sigma=0.5)
    found, labels = explained(tunnel, Classifier(tiny), picture, 1, 3)[0], superpixels(picture[0], **few)
    assert all(len(found[labels == i].unique()) == 1 for i in labels.unique())
    assert len(found.unique()) == len(labels.unique())


def test_what_the_method_reads_at_a_layer_is_that_of_the_noisy_images(tiny, images):
    picture, classifier = images(1, 11), Classifier(tiny)
    expected = sum(GuidedGradCam(tiny, "relu2").raw(x[None], 1) for x in noises(picture[0], 40, 3, 0.3)) / 3
    tunnel = NoiseTunnel(tiny, "relu2", method="guided-gradcam", samples=3, sigma=0.3)
    with counting(tiny) as tally:
        found = explained(tunnel, classifier, picture, 1, 40)
    torch.testing.assert_close(found, expected)
    assert tunnel.cost(picture) == Calls(forwards=6, backwards=6)
    assert (tally.forwards, tally.backwards) == (7, 6)  # and one for the evidence


def test_a_layer_that_the_method_needs_is_found(tiny, images):
    found, named = (NoiseTunnel(tiny, layer, method="captum-gradcam", samples=2) for layer in (None, "relu2"))
    torch.testing.assert_close(found.raw(images(1, 16), 1), named.raw(images(1, 16), 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "smooth"}, "kind must be one of smoothgrad, smoothgrad-squared, vargrad; got 'smooth'"),
        ({"method": "gradcam"}, "takes an attribution of pixels, such as 'saliency'; got 'gradcam'"),
        ({"method": {"n_steps": 4}}, "needs a name beside its settings"),
    ],
)
def test_what_it_cannot_wrap_is_said(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        NoiseTunnel(tiny, "relu2", **options)


@pytest.mark.parametrize("kind", ["smoothgrad-squared", "vargrad"])
def test_squares_of_small_gradients_are_no_zeros_in_half_precision(tiny, images, kind):
    tiny.head.weight.data /= 100
    whole, half = (NoiseTunnel(tiny.to(kept), kind=kind).raw(images(1, 8), 1) for kept in (torch.float64, torch.half))
    torch.testing.assert_close(half.double(), whole, rtol=0.1, atol=0.1 * float(whole.max()))
