"""CAMs of second derivatives and of derivatives averaged over noise: known values, slow references, other libraries."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian

from camfaith.methods import Calls, GradCAM, GradCAMPlusPlus, ShapleyCAM, SmoothGradCAMPlusPlus, smooth
from camfaith.models import Classifier, maps
from camfaith.models.naming import find_module
from camfaith.models.speed.counting import counting


def close(found: Tensor, expected: Tensor, relative: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


class Quadratic(nn.Module):
    """S_c = ½ aᵀQ_c a + v_c·a, a being the activations of `conv` in one row."""

    def __init__(self, side: int) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(2)
        self.conv = nn.Conv2d(3, 2, 3).double()
        nn.init.normal_(self.conv.weight, generator=source)
        count = 2 * (side - 2) ** 2
        square = torch.randn(2, count, count, generator=source, dtype=torch.float64)
        self.q = nn.Parameter(square + square.mT)
        self.v = nn.Parameter(torch.randn(2, count, generator=source, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        a = self.conv(x).flatten(1)
        return torch.einsum("bi,cij,bj->bc", a, self.q, a) / 2 + a @ self.v.T


def test_of_a_quadratic_logit_the_weights_are_exact(images):
    """g = Qa + v and H·A = Qa, so that g − ½ H·A = ½ Qa + v."""
    network, pictures = Quadratic(5), images(3, 5)
    a = network.conv(pictures).detach()
    rows = torch.stack([network.q[c] @ a[i].flatten() / 2 + network.v[c] for i, c in enumerate((0, 1, 1))])
    weights = rows.detach().view_as(a).mean((2, 3), keepdim=True)
    found = ShapleyCAM(network, "conv", utility="logit").raw(pictures, [0, 1, 1])
    close(found, (weights * a).sum(1))
    assert not torch.allclose(found, GradCAM(network, "conv").raw(pictures, [0, 1, 1]))


@pytest.mark.parametrize("layer", ["conv1", "relu1", "relu2"])
def test_of_a_logit_behind_relus_shapleycam_is_gradcam(tiny, images, layer):
    found = ShapleyCAM(tiny, layer, utility="logit").raw(images(2, 9), [0, 2])
    close(found, GradCAM(tiny, layer).raw(images(2, 9), [0, 2]))


@pytest.mark.parametrize(("layer", "cut"), [("relu1", 2), ("relu2", 4)])
def test_shapleycam_of_the_residual_softmax_is_summed_by_hand_from_the_whole_hessian(tiny, images, layer, cut):
    pictures, targets = images(2, 7), [2, 0]
    a = tiny[:cut](pictures).detach()
    expected = torch.zeros(2, *a.shape[2:], dtype=torch.float64)
    for image, target in enumerate(targets):

        def utility(flat: Tensor, target: int = target) -> Tensor:
            logits = tiny[cut:](flat.view(1, *a.shape[1:]))[0]
            return logits[target] + (logits[target].exp() / logits.exp().sum()).log()

        flat = a[image].flatten()
        g, h = jacobian(utility, flat).tolist(), hessian(utility, flat).tolist()
        values, cells = flat.tolist(), a[0, 0].numel()
        assert max(abs(v) for row in h for v in row) > 1e-6
        for k in range(a.shape[1]):
            weight = 0.0
            for i in range(k * cells, (k + 1) * cells):
                weight += (g[i] - 0.5 * sum(h[i][j] * values[j] for j in range(len(values)))) / cells
            expected[image] += weight * a[image, k]
    close(ShapleyCAM(tiny, layer).raw(pictures, targets), expected)


@pytest.mark.parametrize("utility", ["rest", "logit"])
def test_shapleycam_agrees_with_pytorch_grad_cam(pgc, reference, images, utility):
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget

    kind = {"rest": ClassifierOutputReST, "logit": ClassifierOutputTarget}[utility]
    classifier, pictures, layer = reference("fundus-effnet"), images(2, 48), "features.2"
    with pgc.ShapleyCAM(classifier, [find_module(classifier.network, layer)]) as theirs:
        expected = torch.from_numpy(theirs(pictures, [kind(1), kind(3)])).double()
    found = ShapleyCAM(classifier, layer, utility=utility)(pictures, [1, 3])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - GradCAM(classifier, layer)(pictures, [1, 3])).abs().max() > 1e-3


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer2"), ("fundus-effnet", "features.2")])
def test_without_noise_smoothgradcam_plus_plus_is_gradcam_plus_plus(reference, images, name, layer):
    found = SmoothGradCAMPlusPlus(reference(name), layer, samples=3, sigma=0).raw(images(2, 48), [1, 3])
    close(found, GradCAMPlusPlus(reference(name), layer).raw(images(2, 48), [1, 3]))


def noise_of(seed: int, samples: int, shape: tuple[int, ...], sigma: float) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return (sigma * torch.randn((samples, *shape), generator=source)).double()


def gradient_at(network: nn.Module, cut: int, picture: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """A and ∂S_c/∂A of one picture at the place where the network is cut."""
    a = network[:cut](picture[None]).detach().requires_grad_()
    network[cut:](a)[0, target].backward()
    network.zero_grad()
    return a.detach()[0], a.grad[0]


@pytest.mark.parametrize("variant", ["paper", "guarded", "torchcam"])
@pytest.mark.parametrize("samples", [1, 3])
def test_smoothgradcam_plus_plus_is_summed_by_hand(tiny, images, variant, samples):
    pictures, seeds, targets, sigma = images(2, 9), [7, 8], [0, 2], 0.4
    evidence = Classifier(tiny).evidence(pictures, targets, ["conv2"], seeds=torch.tensor(seeds))
    expected = []
    for picture, seed, target in zip(pictures, seeds, targets, strict=True):
        clean, _ = gradient_at(tiny, 3, picture, target)
        noisy = [gradient_at(tiny, 3, picture + n, target) for n in noise_of(seed, samples, picture.shape, sigma)]
        drawn = torch.zeros_like(clean[0])
        for k, a in enumerate(clean):
            d1, d2, d3 = (sum(g[k] ** p for _, g in noisy) / samples for p in (1, 2, 3))
            weight = 0.0
            for i in range(a.shape[0]):
                for j in range(a.shape[1]):
                    if variant == "guarded":
                        below = 2 * d2[i, j] + a.clamp(min=0).sum() * d3[i, j].clamp(min=0)
                        weight += float(d2[i, j] / below * max(d1[i, j], 0)) if below else 0
                    elif variant == "paper":
                        below = 2 * d2[i, j] + a.sum() * d3[i, j]
                        alpha = d2[i, j] / below if below != 0 else 0
                        weight += float(alpha * max(d1[i, j], 0))
                    else:
                        below = 2 * d2[i, j] + (a * d3).sum() + 1e-8
                        weight += float(d2[i, j] / below * max(noisy[-1][1][k, i, j], 0))
            drawn += weight * (noisy[-1][0][k] if variant == "torchcam" else a)
        expected.append(drawn)
    cam = SmoothGradCAMPlusPlus(tiny, "conv2", samples=samples, sigma=sigma, variant=variant)
    close(cam.explain(evidence, Classifier(tiny)), torch.stack(expected))


def test_smoothgradcam_plus_plus_without_noise_tells_what_gradcam_plus_plus_tells(tiny, images):
    evidence = Classifier(tiny).evidence(images(2, 9), [0, 2], ["conv2"])
    smooth, plain = SmoothGradCAMPlusPlus(tiny, "conv2", samples=2, sigma=0), GradCAMPlusPlus(tiny, "conv2")
    smooth.explain(evidence, Classifier(tiny))
    close(*(cam.diagnostics(evidence)["weights_move"].double() for cam in (smooth, plain)), 1e-4)


@pytest.mark.parametrize("variant", ["paper", "torchcam"])
@pytest.mark.parametrize(
    ("together", "sent"), [(2, [3, *[2, 2, 1] * 3]), (5, [3, 5, 5, 5]), (11, [3, 10, 5]), (15, [3, 15])]
)
def test_copies_of_one_image_or_several_go_together_and_the_maps_stay_the_same(
    tiny, images, monkeypatch, together, sent, variant
):
    cam = SmoothGradCAMPlusPlus(tiny, "relu1", samples=5, variant=variant)
    alone = torch.cat([cam.raw(image[None], target) for image, target in zip(images(3, 9), (0, 1, 1), strict=True)])
    monkeypatch.setattr(smooth, "batch_size", lambda _images: together)
    sizes = []
    handle = tiny.register_forward_hook(lambda _m, _i, output: sizes.append(len(output)))
    close(cam.raw(images(3, 9), [0, 1, 1]), alone)
    handle.remove()
    assert sizes == sent


class Small(nn.Module):
    def __init__(self, network: nn.Module, scale: float) -> None:
        super().__init__()
        self.network, self.scale = network, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * self.network(x)


def test_gradients_whose_cube_is_no_single_precision_number_keep_their_weight(tiny, images):
    network, pictures = Small(tiny.float(), 1e-20), images(1, 9).float()
    cam = SmoothGradCAMPlusPlus(network, "network.relu2", samples=2, sigma=0)
    found = cam.raw(pictures, 1)
    assert found.dtype == torch.float32
    assert found.abs().max() > 0
    close(found * 1e20, GradCAMPlusPlus(network, "network.relu2").raw(pictures, 1) * 1e20, 1e-5)


def test_a_layer_whose_gradient_is_zero_gives_a_zero_map(tiny, images):
    nn.init.zeros_(tiny.head.weight)
    assert (SmoothGradCAMPlusPlus(tiny, "relu2", samples=2).raw(images(1, 9), 1) == 0).all()


@pytest.mark.parametrize(("name", "layer"), [("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")])
def test_smoothgradcam_plus_plus_of_torchcam_agrees_with_torchcam(torchcam, reference, images, name, layer):
    classifier, picture = reference(name), images(1, 96)
    drawn = iter(noise_of(9, 3, picture.shape[1:], 0.2))
    with torchcam.SmoothGradCAMpp(classifier, f"network.{layer}", num_samples=3, std=0.2) as theirs:
        theirs._distrib = SimpleNamespace(sample=lambda size: next(drawn).expand(size))
        classifier(picture)
        (expected,) = theirs(3, normalized=False)
    evidence = classifier.evidence(picture, 3, [layer], seeds=torch.tensor([9]))
    cam = SmoothGradCAMPlusPlus(classifier, layer, samples=3, sigma=0.2, variant="torchcam")
    close(maps.rectify(cam.explain(evidence, classifier)), expected.detach(), 1e-5)


@pytest.mark.parametrize(
    ("method", "options", "calls"),
    [
        (ShapleyCAM, {}, Calls(1, 2)),
        (ShapleyCAM, {"utility": "logit"}, Calls(1, 1)),
        (SmoothGradCAMPlusPlus, {"samples": 5}, Calls(5, 5)),
    ],
)
def test_the_declared_cost_is_what_is_called(tiny, images, method, options, calls):
    classifier = Classifier(tiny)
    cam = method(tiny, "relu2", **options)
    evidence = classifier.evidence(images(3, 9), None, ["relu2"])
    with counting(tiny) as tally:
        cam.explain(evidence, classifier)
    assert cam.cost(evidence.images[:1]) == calls
    assert Calls(tally.forwards, tally.backwards) == calls * 3
