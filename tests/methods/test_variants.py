"""Variants compute what the libraries of that name compute: by their formulas, and as installed."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camfaith.methods import KPCACAM, EigenCAM, EigenGradCAM, GradCAMPlusPlus, XGradCAM
from camfaith.methods.decomposition import first_projection

LAYERS = [("fundus-resnet", "layer3"), ("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")]
WEIGHTS = {
    ("gradcam++", "pgc"): lambda a, g: sum(
        v**2 / (2 * v**2 + a.sum() * v**3 + 1e-6) * max(v, 0) for v in g.flatten().tolist() if v != 0
    ),
    ("gradcam++", "torchcam"): lambda _, g: sum(max(v, 0) ** 3 for v in g.flatten().tolist()),
    ("xgradcam", "pgc"): lambda a, g: (g * a / (a.sum() + 1e-7)).sum(),
    ("xgradcam", "torchcam"): lambda a, g: (g * a).sum() / (a.sum() + 1e-8),
}
GRADIENT = {"gradcam++": GradCAMPlusPlus, "xgradcam": XGradCAM}


def close(found: Tensor, expected: Any, relative: float) -> None:
    expected = torch.as_tensor(expected).to(found)
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def same_up_to_sign(found: Tensor, expected: Any, relative: float) -> None:
    for one, other in zip(found, torch.as_tensor(expected).to(found), strict=True):
        close(one, other if float((one * other).sum()) >= 0 else -other, relative)


@pytest.fixture
def evidence(reference, images):
    """Two images of a shipped network with random weights, each asked about a class of its own."""

    def of(name: str, layer: str) -> Any:
        classifier = reference(name)
        return classifier, classifier.evidence(images(2, 96), [1, 3], [layer])

    return of


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize(("method", "variant"), WEIGHTS)
def test_a_variant_is_its_librarys_formula(evidence, method, variant, name, layer):
    classifier, found = evidence(name, layer)
    a, g = found.activations[layer], found.gradients[layer]
    slow = WEIGHTS[method, variant]
    weights = torch.tensor([[float(slow(a[i, k], g[i, k])) for k in range(a.shape[1])] for i in range(len(a))])
    expected = (weights[..., None, None] * a).sum(1)
    close(GRADIENT[method](classifier, layer, variant=variant).explain(found, classifier), expected, 1e-6)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", ["gradcam++", "xgradcam"])
def test_pgc_variants_agree_with_pytorch_grad_cam(pgc, evidence, method, name, layer):
    theirs = {"gradcam++": pgc.GradCAMPlusPlus, "xgradcam": pgc.XGradCAM}[method]
    classifier, found = evidence(name, layer)
    a, g = found.activations[layer], found.gradients[layer]
    weights = theirs.get_cam_weights(None, None, None, None, a.numpy(), g.numpy())
    ours = GRADIENT[method](classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, (torch.from_numpy(weights)[..., None, None] * a).sum(1), 1e-5)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", ["gradcam++", "xgradcam"])
def test_torchcam_variants_agree_with_torchcam(torchcam, evidence, images, method, name, layer):
    theirs = {"gradcam++": torchcam.GradCAMpp, "xgradcam": torchcam.XGradCAM}[method]
    classifier, found = evidence(name, layer)
    with theirs(classifier, f"network.{layer}") as extractor:
        (map_,) = extractor([1, 3], classifier(images(2, 96).requires_grad_()), normalized=False)
    ours = GRADIENT[method](classifier, layer, variant="torchcam").explain(found, classifier)
    close(ours.clamp(min=0), map_.detach(), 1e-5)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", [EigenCAM, EigenGradCAM], ids=lambda method: method.name)
def test_centred_singular_maps_are_principal_components(evidence, method, name, layer):
    """The scores of the first principal component, from the eigenvectors of the cells' covariance."""
    classifier, found = evidence(name, layer)
    cam = method(classifier, layer, variant="pgc")
    features = cam.features(found, layer).flatten(2).mT.numpy()
    expected = [(m - m.mean(0)) @ np.linalg.eigh(np.cov(m.T))[1][:, -1] for m in features]
    ours = cam.explain(found, classifier)
    same_up_to_sign(ours.flatten(1), np.stack(expected), 1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("weights", ["random", "shipped"])
@pytest.mark.parametrize(("name", "layer"), [*LAYERS, ("fundus-vgg", "features"), ("fundus-effnet", "features")])
def test_singular_maps_of_pgc_agree_with_pytorch_grad_cam_sign_and_all(
    logit_of, pgc, reference, images, name, layer, weights, dtype
):
    classifier = copy.deepcopy(reference(name, weights)).to(dtype)
    pictures, targets = images(8, 96).to(dtype), [i % 5 for i in range(8)]
    asked = [logit_of(target) for target in targets]
    for method, theirs in ((EigenCAM, pgc.EigenCAM), (EigenGradCAM, pgc.EigenGradCAM)):
        with theirs(classifier, [classifier.network.get_submodule(layer)]) as library:
            expected = torch.from_numpy(library(pictures, asked))
        found = method(classifier, layer, variant="pgc")(pictures, targets).float()
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_the_sign_of_pytorch_grad_cam_is_not_ours(reference, images):
    """So that agreement with it is no matter of course: of the maps of some images it is the other one."""
    classifier, pictures = reference("fundus-vgg", "shipped"), images(16, 96)
    evidence = classifier.evidence(pictures, None, ["features.4"])
    cells = evidence.activations["features.4"].flatten(2).mT
    theirs = EigenCAM(classifier, "features.4", variant="pgc").explain(evidence, classifier).flatten(1)
    ours = first_projection(cells - cells.mean(1, keepdim=True))
    assert set((ours * theirs).sum(1).sign().tolist()) == {1.0, -1.0}


def slow_kernel_component(cells: np.ndarray, gamma: float) -> np.ndarray:
    """√λ₁ v₁ of the doubly centred sigmoid kernel, one pair of cells at a time, by power iteration."""
    n = len(cells)
    x = cells - cells.mean(0)
    kernel = np.array([[np.tanh(gamma * sum(u * v) + 1) for v in x] for u in x])
    means, mean = kernel.mean(0), kernel.mean()
    centred = np.array([[kernel[i, j] - means[i] - means[j] + mean for j in range(n)] for i in range(n)])
    shift = abs(centred).sum(1).max()  # makes the greatest eigenvalue the one of greatest size
    v = np.random.default_rng(0).standard_normal(n)
    for _ in range(200_000):
        before, v = v, centred @ v + shift * v
        v /= np.linalg.norm(v)
        if abs(v - before).max() < 1e-14:
            break
    component = v * np.sqrt(max(v @ centred @ v, 0))
    return component if component @ cells.sum(1) >= 0 else -component


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer3"), ("fundus-vgg", "features")])
@pytest.mark.parametrize("gamma", [None, 0.3])
def test_kpca_cam_is_the_component_found_by_hand(evidence, gamma, name, layer):
    classifier, found = evidence(name, layer)
    cells = found.activations[layer].flatten(2).mT.numpy()
    expected = [slow_kernel_component(m, gamma or 1 / m.shape[1]) for m in cells]
    close(KPCACAM(classifier, layer, gamma=gamma).explain(found, classifier).flatten(1), np.stack(expected), 1e-6)


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer3"), ("fundus-vgg", "features")])
def test_kpca_cam_agrees_with_pytorch_grad_cam(evidence, name, layer):
    projections = pytest.importorskip(
        "pytorch_grad_cam.utils.svd_on_activations", reason="grad-cam is not installed; pip install 'camfaith[peers]'"
    )
    classifier, found = evidence(name, layer)
    theirs = projections.get_2d_projection_kernel(found.activations[layer].numpy())
    same_up_to_sign(KPCACAM(classifier, layer).explain(found, classifier), theirs, 1e-5)


def test_cells_that_are_all_alike_have_no_component(reference):
    classifier = reference("fundus-vgg")
    cells = torch.full((1, 3, 4, 4), 0.7).flatten(2).mT
    assert (KPCACAM(classifier, "features").project(cells) == 0).all()
