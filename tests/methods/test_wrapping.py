"""Methods over methods: a class against its nearest, and several layers in one map."""

import copy
import itertools
import math

import pytest
import torch
from torch import Tensor

from camfaith.methods import EigenCAM, FinerCAM, Fused, GradCAM, HiResCAM, LayerCAM, ShapleyCAM, find
from camfaith.models import Classifier, UnknownName, maps
from camfaith.models.contract import Bound
from camfaith.models.naming import find_module
from camfaith.models.speed.counting import counting

LAYERS = [("fundus-resnet", "layer2"), ("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")]


def close(found: Tensor, expected: Tensor, relative: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def nearest(logits: list[float], target: int, count: int) -> list[int]:
    others = [c for c in range(len(logits)) if c != target]
    return sorted(others, key=lambda c: abs(logits[c] - logits[target]))[:count]


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("similar", [1, 3, 9])
def test_finercam_of_gradcam_is_its_map_less_those_of_the_nearest_classes(reference, images, name, layer, similar):
    classifier, pictures, targets = reference(name), images(2, 96), [1, 3]
    logits = classifier.scores(pictures).tolist()
    gradcam, expected = GradCAM(classifier, layer), []
    for image, target in enumerate(targets):
        others = nearest(logits[image], target, similar)
        assert len(others) == min(similar, 4)
        one = pictures[image : image + 1]
        against = sum(gradcam.raw(one, other) for other in others) / len(others)
        expected.append(gradcam.raw(one, target) - 0.8 * against)
    found = FinerCAM(classifier, layer, alpha=0.8, similar=similar).raw(pictures, targets)
    close(found, torch.cat(expected))


def test_a_call_of_finercam_alone_sends_each_image_once_forward_and_once_backward(tiny, images):
    cam, pictures = FinerCAM(tiny, "relu1"), images(2, 9)
    shared = cam.classifier.evidence(pictures, [1, 2], ["relu1"])
    with counting(cam.classifier.network) as tally:
        found = cam.raw(pictures, [1, 2])
    assert (tally.forwards, tally.backwards) == (2, 2)
    close(found, cam.explain(shared, cam.classifier))


@pytest.mark.parametrize("variant", ["paper", "pgc"])
def test_finercam_of_layercam_rectifies_the_gradient_of_the_difference(tiny, images, variant):
    pictures, targets = images(2, 9), [0, 2]
    a = tiny[:2](pictures).detach().requires_grad_()
    logits = tiny[2:](a)
    differences = []
    for row, target in zip(logits, targets, strict=True):
        near = nearest(row.tolist(), target, 2)
        p = row.exp() / row.exp().sum()
        weight = {d: 0.5 if variant == "paper" else p[d] / sum(p[e] for e in near) for d in near}
        differences.append(sum(weight[d] * (row[target] - 0.7 * row[d]) for d in near))
    (g,) = torch.autograd.grad(sum(differences), a)
    cam = FinerCAM(tiny, "relu1", method="layercam", alpha=0.7, similar=2, variant=variant)
    close(cam.raw(pictures, targets), (g.clamp(min=0) * a.detach()).sum(1), 1e-6)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", {"name": "gradcam++", "variant": "pgc"}, "eigengradcam"])
def test_finercam_ends_in_a_relu_where_its_method_does_and_takes_the_methods_settings(tiny, images, method):
    name, settings = (method, {}) if isinstance(method, str) else ("gradcam++", {"variant": "pgc"})
    inner = find(name)(tiny, "relu1", **settings)
    cam = FinerCAM(tiny, "relu1", method=method, alpha=0)
    assert cam.rectified == Bound.of(cam, cam.classifier).rectified == inner.rectified
    assert torch.equal(cam.raw(images(1, 9), 1), inner.raw(images(1, 9), 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_class_that_leaves_nothing_to_the_others_has_a_finite_map_in_every_precision(tiny, images, dtype):
    """The others' probabilities, and 10⁻⁹, are zero in half precision."""
    tiny.head.bias.data = torch.tensor([19.0, 0.0, 0.0]).double()
    tiny.to(dtype)
    for variant in ("paper", "pgc"):
        found = FinerCAM(tiny, "relu2", variant=variant).raw(images(1, 9), 0)
        assert bool(found.isfinite().all())
    precise = FinerCAM(copy.deepcopy(tiny).double(), "relu2", variant="pgc").raw(images(1, 9).to(dtype).double(), 0)
    close(found.double(), precise, 0.05)


def test_of_classes_that_are_equally_near_the_first_is_taken(tiny):
    logits = torch.tensor([[2.0, 3.0, 1.0, 2.0, 5.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    found = FinerCAM(tiny, similar=2)._nearest(logits, torch.tensor([0, 1]))
    assert found.tolist() == [[3, 1], [0, 2]]


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", ["gradcam", "layercam"])
def test_finercam_agrees_with_torchcam(torchcam, reference, images, name, layer, method):
    base = {"gradcam": torchcam.GradCAM, "layercam": torchcam.LayerCAM}[method]
    classifier, pictures = reference(name), images(2, 96)
    with torchcam.FinerCAM(classifier, f"network.{layer}", base_method=base) as theirs:
        (expected,) = theirs([1, 3], classifier(pictures.requires_grad_()), normalized=False)
    found = FinerCAM(classifier, layer, method=method).raw(pictures.detach(), [1, 3])
    close(maps.rectify(found), expected.detach(), 1e-5)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_finercam_of_pgc_agrees_with_pytorch_grad_cam(pgc, reference, images, name, layer):
    classifier, pictures = copy.deepcopy(reference(name)), images(2, 96)
    with pgc.FinerCAM(classifier, [find_module(classifier.network, layer)]) as theirs:
        expected = torch.from_numpy(theirs(pictures, alpha=1.0, target_idx=3)).double()
    found = FinerCAM(classifier, layer, alpha=1.0, variant="pgc")(pictures, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found - FinerCAM(classifier, layer, alpha=1.0)(pictures, 3)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "saliency"}, "method must be one that explains a layer.*got 'saliency'"),
        ({"method": "eigencam"}, "method must be one that reads gradients.*got 'eigencam'"),
        ({"method": "gradcm"}, "did you mean 'gradcam'"),
        ({"similar": 0}, "similar must be a whole number, 1 or more; got 0"),
        ({"method": {"name": "gradcam++", "variant": "mine"}}, "variant must be .* got 'mine'"),
    ],
)
def test_what_cannot_be_compared_is_refused(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        FinerCAM(tiny, **options)


def slow_fused(raw: list[Tensor], how: str, gamma: float, size: tuple[int, int]) -> Tensor:
    """Image by image and cell by cell, from the raw maps of the layers."""
    grown = []
    for one in raw:
        images = []
        for image_map in one.tolist():
            top = max(abs(v) for row in image_map for v in row)
            images.append([[math.tanh(gamma * v / top) if top else 0.0 for v in row] for row in image_map])
        grown.append(maps.upsample(torch.tensor(images, dtype=torch.float64), size).tolist())
    count, (height, width) = len(raw[0]), size
    join = max if how == "max" else lambda values: sum(values) / len(values)
    cells = [[[join([g[n][i][j] for g in grown]) for j in range(width)] for i in range(height)] for n in range(count)]
    return torch.tensor(cells, dtype=torch.float64)


@pytest.mark.parametrize("how", ["max", "mean"])
@pytest.mark.parametrize(
    ("name", "method"), [("layercam", LayerCAM), ("gradcam", GradCAM), ("hirescam", HiResCAM), ("eigencam", EigenCAM)]
)
def test_fused_is_its_layers_maps_joined_by_hand(reference, images, name, method, how):
    classifier, pictures, targets = reference("fundus-resnet"), images(2, 48), [1, 3]
    layers = ["layer3", "layer1", "layer2"]
    raw = [method(classifier, layer).raw(pictures, targets) for layer in layers]
    raw = [maps.rectify(one) if method.rectified else one for one in raw]
    found = Fused(classifier, method=name, layers=layers, how=how, gamma=1.5).raw(pictures, targets)
    close(found, slow_fused(raw, how, 1.5, (24, 24)), 1e-9)


def test_layers_to_fuse_are_names_or_modules(tiny, images):
    named = Fused(tiny, layers=["relu1", "relu2"])
    given = Fused(tiny, layers=[tiny.relu1, tiny.relu2])
    assert given.layers == named.layers
    assert torch.equal(given.raw(images(1, 9), 1), named.raw(images(1, 9), 1))
    with pytest.raises(ValueError, match="got ReLU, which is none of its modules"):
        Fused(tiny, layers=[torch.nn.ReLU()])
    with pytest.raises(ValueError, match="layers must be a list, each entry a text or a Module"):
        Fused(tiny, layers="relu1")


@pytest.mark.parametrize("layers", [["layer3", "layer1", "layer2"], ["layer2"]], ids=["three layers", "one layer"])
@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("gradcam", "GradCAM"),
        ("layercam", "LayerCAM"),
        ({"name": "gradcam++", "variant": "torchcam"}, "GradCAMpp"),
        ({"name": "scorecam", "variant": "torchcam"}, "ScoreCAM"),
    ],
    ids=str,
)
def test_maps_joined_as_in_torchcam_agree_with_torchcam(torchcam, reference, images, method, theirs, layers):
    classifier, pictures = reference("fundus-resnet"), images(2, 48, 32)
    with getattr(torchcam, theirs)(classifier, [f"network.{layer}" for layer in layers]) as library:
        cams = library([1, 3], classifier(pictures.clone().requires_grad_()))
        expected = library.fuse_cams(cams).detach()
    found = Fused(classifier, method=method, layers=layers, variant="torchcam").raw(pictures, [1, 3])
    close(found, expected, 1e-5)
    assert float((found - Fused(classifier, method=method, layers=layers).raw(pictures, [1, 3])).abs().max()) > 1e-3


@pytest.mark.parametrize("layers", [["layer3", "layer1", "layer2"], ["layer2"]], ids=["three layers", "one layer"])
@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("gradcam", "GradCAM"),
        ("hirescam", "HiResCAM"),
        ("layercam", "LayerCAM"),
        ({"name": "gradcam++", "variant": "pgc"}, "GradCAMPlusPlus"),
        ({"name": "scorecam", "variant": "pgc"}, "ScoreCAM"),
    ],
    ids=str,
)
def test_maps_joined_as_in_pytorch_grad_cam_agree_with_pytorch_grad_cam(
    logit_of, pgc, reference, images, method, theirs, layers
):
    classifier, pictures = copy.deepcopy(reference("fundus-resnet")), images(2, 48, 32)
    with getattr(pgc, theirs)(classifier, [find_module(classifier.network, layer) for layer in layers]) as library:
        expected = torch.from_numpy(library(pictures, [logit_of(c) for c in (1, 3)])).double()
    cam = Fused(classifier, method=method, layers=layers, variant="pgc")
    assert cam.raw(pictures, [1, 3]).shape == (2, 48, 32)
    torch.testing.assert_close(cam(pictures, [1, 3]), expected, rtol=0, atol=1e-5)
    if len(layers) > 1:
        for how in ("max", "mean"):
            ours = Fused(classifier, method=method, layers=layers, how=how)(pictures, [1, 3])
            assert float((ours - expected).abs().max()) > 1e-2


def test_how_maps_are_joined_and_whose_maps_they_are_are_said_apart(reference, images):
    classifier, pictures, layers = reference("fundus-resnet"), images(1, 48), ["layer2", "layer3"]
    maps_of = {
        (inner, outer): Fused(
            classifier, method={"name": "gradcam++", "variant": inner}, layers=layers, variant=outer
        ).raw(pictures, 1)
        for inner in ("paper", "pgc")
        for outer in ("paper", "torchcam")
    }
    close(Fused(classifier, method="gradcam++", layers=layers).raw(pictures, 1), maps_of["paper", "paper"])
    for one, other in itertools.combinations(maps_of.values(), 2):
        assert float((one - other).abs().max()) > 1e-6


def test_without_layers_the_target_layer_alone_is_taken(tiny, images):
    for cam in (Fused(tiny, "relu1"), Fused(Classifier(tiny, layer="relu1"))):
        assert cam.layers == ("relu1",)
        assert cam.raw(images(1, 9), 1).shape == (1, 9, 9)
    assert Fused(tiny).raw(images(1, 9), 1).shape == (1, 4, 4)  # found on the image


def test_only_the_named_layers_are_asked_for_evidence(tiny, images):
    cam = Fused(tiny, "conv1", method="eigencam", layers=["relu2", "relu1"])
    assert cam.layers == ("relu2", "relu1")
    assert not cam.needs_gradients
    assert Fused(tiny, layers=["relu2"]).needs_gradients
    bound = Bound.of(cam, Classifier(tiny))
    assert (bound.needed_layers, bound.goes_back) == (("relu2", "relu1"), False)
    assert Bound.of(GradCAM(tiny), Classifier(tiny), "relu1").needed_layers == ("relu1",)
    evidence = Classifier(tiny).evidence(images(1, 9), 1, bound.needed_layers, gradients=False)
    assert bound.explain(evidence).shape == (1, 9, 9)


def test_methods_with_calls_of_their_own_can_be_fused(tiny, images):
    layers = ["relu1", "relu2"]
    raw = [maps.rectify(ShapleyCAM(tiny, layer).raw(images(2, 9), 1)) for layer in layers]
    close(Fused(tiny, method="shapleycam", layers=layers).raw(images(2, 9), 1), slow_fused(raw, "max", 2, (9, 9)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "sobel"}, ValueError, "method must be one that explains a layer.*got 'sobel'"),
        ({"layers": ["relu9"]}, UnknownName, "unknown layer 'relu9'"),
        ({"gamma": 0}, ValueError, "gamma must be a number above 0; got 0"),
        ({"variant": "pgc", "how": "mean"}, ValueError, "'pgc' joins .* leave out how and gamma, got 'mean' and None"),
        ({"variant": "torchcam", "gamma": 2.0}, ValueError, "leave out how and gamma, got None and 2.0"),
        ({"method": {"variant": "pgc"}}, ValueError, "method of fused needs a name beside its settings"),
        ({"method": {"name": "gradcam++", "variant": "mine"}}, ValueError, "variant must be .* got 'mine'"),
    ],
)
def test_what_cannot_be_fused_is_refused(tiny, options, error, message):
    with pytest.raises(error, match=message):
        Fused(tiny, **options)
