"""EigenCAM and EigenGradCAM against a singular value decomposition found by hand, one cell and channel at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from camfaith.methods import KPCACAM, EigenCAM, EigenGradCAM
from camfaith.methods.decomposition import first_projection
from camfaith.models import Classifier, Evidence

LAYERS = [
    ("fundus-resnet", "layer1"),  # more cells than channels
    ("fundus-resnet", "layer3"),
    ("fundus-vgg", "features.4"),
    ("fundus-vgg", "features"),  # more channels than cells
    ("fundus-effnet", "features.2"),  # signed activations
    ("fundus-effnet", "features"),
]
Matrix = list[list[float]]


def slow_projection(rows: Matrix) -> list[float]:
    """M v₁ by power iteration on MᵀM: v ← MᵀMv/|MᵀMv| until it stands still; then Σ_k v_k ≥ 0."""
    matrix = torch.tensor(rows, dtype=torch.float64)
    square = matrix.T @ matrix
    v = torch.rand(square.shape[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for _ in range(100_000):
        before, v = v, square @ v
        v = v / math.sqrt(sum(x * x for x in v.tolist()))
        if float((v - before).abs().max()) < 1e-15:
            break
    weights = v.tolist()
    sign = 1 if sum(weights) >= 0 else -1
    return [sign * sum(m * w for m, w in zip(row, weights, strict=True)) for row in rows]


def slow_map(features: Tensor) -> Tensor:
    """One image's K×h×w features as rows of cells, projected, and laid out as h×w again."""
    _, height, width = features.shape
    rows = [features[:, i, j].tolist() for i in range(height) for j in range(width)]
    return torch.tensor(slow_projection(rows), dtype=torch.float64).view(height, width)


def close(found: Tensor, expected: Tensor, relative: float = 1e-8) -> None:
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def explained(method: type, activations: Tensor, gradients: Tensor | None = None) -> Tensor:
    """The raw maps of a method for these activations (B×K×h×w) at layer `conv1` of a network that is not asked."""
    blank = torch.zeros(len(activations), 3, 2, 2, dtype=activations.dtype)
    found = {} if gradients is None else {"conv1": gradients}
    evidence = Evidence(
        blank, torch.zeros(len(activations), dtype=torch.long), blank[..., 0, 0], {"conv1": activations}, found
    )
    cam = method(Classifier(torch.nn.Sequential()))
    cam.layer = "conv1"
    return cam.explain(evidence, cam.classifier)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", [EigenCAM, EigenGradCAM], ids=lambda method: method.name)
def test_every_map_is_the_projection_found_by_hand(reference, images, method, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    evidence = classifier.evidence(pictures, [1, 3], [layer])
    features = evidence.activations[layer]
    if method is EigenGradCAM:
        features = features * evidence.gradients[layer]
    close(method(classifier, layer).raw(pictures, [1, 3]), torch.stack([slow_map(f) for f in features]), 1e-6)


def test_one_channel_is_its_own_map():
    a = torch.tensor([[[[3.0, 0.0], [1.0, 2.0]]]])
    close(explained(EigenCAM, a), a[:, 0])


def test_two_channels_by_hand():
    """M = u·(3, 4) has one singular vector, (3, 4)/5, so M v₁ = 5u."""
    u = torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    close(explained(EigenCAM, torch.stack([3 * u, 4 * u])[None]), 5 * u[None])


def test_columns_are_not_centred():
    """Channels that do not vary would vanish if they were."""
    a = torch.full((1, 3, 4, 5), 2.0, dtype=torch.float64)
    close(explained(EigenCAM, a), torch.full((1, 4, 5), 2 * math.sqrt(3), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 8, 8)], ids=["few cells", "many cells"])
def test_the_map_points_where_the_sum_of_the_channels_does(shape):
    a = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, total = explained(EigenCAM, a), a.sum(1)
    assert ((found * total).sum((1, 2)) >= 0).all()
    close(explained(EigenCAM, -a), -found)


@pytest.mark.parametrize("shape", [(64, 3, 3), (4, 8, 8)], ids=["few cells", "many cells"])
def test_activations_that_are_nowhere_negative_give_a_map_that_is_nowhere_negative(shape):
    a = torch.randn(50, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(min=0)
    assert (explained(EigenCAM, a) >= -1e-12).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("shape", [(64, 3, 3), (4, 8, 8)], ids=["few cells", "many cells"])
def test_gradients_far_from_one_scale_the_map_and_no_more(shape, scale):
    a, g = torch.rand(2, 2, *shape, generator=torch.Generator().manual_seed(0))
    close(explained(EigenGradCAM, a, g * scale) / scale, explained(EigenGradCAM, a, g), 1e-5)


@pytest.mark.parametrize("method", [EigenCAM, EigenGradCAM], ids=lambda method: method.name)
def test_contributions_are_what_the_map_gains_from_each_channel(reference, images, method):
    classifier, cam = reference("fundus-effnet"), method(reference("fundus-effnet"), "features")
    evidence = classifier.evidence(images(2, 96), 2, ["features"])
    found, heat = cam.contributions(evidence), cam.explain(evidence, classifier)
    features = cam.features(evidence, "features")
    v = torch.linalg.svd(features.flatten(2).mT).Vh[:, 0]
    sign = torch.einsum("bk,bkhw,bhw->b", v, features, heat).sign()[:, None]
    close(found, sign * v * features.sum((2, 3)))
    close(found.sum(1), heat.sum((1, 2)))


def test_channels_whose_mean_is_taken_off_add_nothing(reference, images):
    classifier, cam = reference("fundus-vgg"), EigenCAM(reference("fundus-vgg"), "features", variant="pgc")
    evidence = classifier.evidence(images(2, 96), 2, ["features"])
    assert float(cam.contributions(evidence).abs().max()) < 1e-12 * float(cam.explain(evidence, classifier).abs().max())


def test_contributions_of_features_that_are_zero_are_zero(tiny, images):
    evidence = Classifier(tiny).evidence(images(1, 16), None, ["conv1"])
    dark = replace(evidence, activations={"conv1": torch.zeros_like(evidence.activations["conv1"])})
    assert (EigenCAM(tiny, "conv1").contributions(dark) == 0).all()


def test_a_kernel_of_cells_has_no_share_for_a_channel(tiny):
    assert KPCACAM(tiny, "conv1").contributions is None


@pytest.mark.parametrize("precision", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("method", [EigenCAM, KPCACAM], ids=lambda method: method.name)
def test_behind_a_layer_norm_where_channels_sum_to_zero_the_sign_does_not_hang_on_rounding(method, precision):
    a = torch.randn(6, 5, 5, 16, generator=torch.Generator().manual_seed(0), dtype=precision) + torch.arange(16)
    a = torch.nn.functional.layer_norm(a, (16,)).permute(0, 3, 1, 2)
    found = explained(method, a)
    for seed in range(4):
        channels = torch.randperm(16, generator=torch.Generator().manual_seed(seed))
        close(explained(method, a[:, channels]), found, 1e-4)
    assert (found.flatten(1).gather(1, found.abs().flatten(1).argmax(1, keepdim=True)) > 0).all()


def test_close_singular_values_are_told_apart_in_single_precision_too():
    source = torch.Generator().manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(8, 8, generator=source, dtype=torch.float64)).Q for _ in range(2))
    values = torch.tensor([1, 1 - 1e-5, *[1e-4] * 6], dtype=torch.float64)
    cells = (left * values @ right.T)[None]
    expected = left[:, 0] * values[0] * torch.sign(right[:, 0].sum())
    close(first_projection(cells)[0], expected, 1e-9)
    close(first_projection(cells.float()).double(), first_projection(cells.float().double()), 1e-6)


@pytest.mark.parametrize("cells", [6, 40])
def test_matrices_are_decomposed_in_double_precision(monkeypatch, cells):
    seen, decompose = [], torch.linalg.eigh
    monkeypatch.setattr(torch.linalg, "eigh", lambda matrix: seen.append(matrix.dtype) or decompose(matrix))
    assert first_projection(torch.rand(2, cells, 8)).dtype == torch.float32
    assert seen == [torch.float64]
