"""The gradient CAMs against their papers' formulas, written with a loop over every channel and cell."""

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import (
    EigenGradCAM,
    ElementWiseCAM,
    GradCAM,
    GradCAMPlusPlus,
    GradientCAM,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from camfaith.models import Classifier, Evidence

LAYERS = [
    ("fundus-resnet", "layer1"),
    ("fundus-resnet", "layer2"),
    ("fundus-resnet", "layer3"),
    ("fundus-vgg", "features.4"),
    ("fundus-vgg", "features.10"),
    ("fundus-vgg", "features"),
    ("fundus-effnet", "features.2"),
    ("fundus-effnet", "features.4"),
    ("fundus-effnet", "features"),
]
Grid = list[list[float]]


def halves(network: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """The network cut by hand behind `layer`."""
    if hasattr(network, "stem"):
        stages = {name: getattr(network, name) for name in ("stem", "layer1", "layer2", "layer3", "pool")}
        tail: list[nn.Module] = [nn.Flatten(), network.head]
    else:
        stages = {f"features.{i}": stage for i, stage in enumerate(network.features)}
        stages["features"] = nn.Identity()
        tail = (
            [network.classifier] if not hasattr(network, "pool") else [network.pool, nn.Flatten(), network.classifier]
        )
    cut = list(stages).index(layer) + 1
    parts = list(stages.values())
    return nn.Sequential(*parts[:cut]).eval(), nn.Sequential(*parts[cut:], *tail).eval()


def split(classifier: Classifier, layer: str, images: Tensor, targets: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """A, ∂S_c/∂A and S_c from the two halves of the network, without any hook."""
    before, after = halves(classifier.network, layer)
    mean, std = (torch.tensor(v, dtype=images.dtype).view(1, 3, 1, 1) for v in (classifier.mean, classifier.std))
    activations = before((images - mean) / std).detach().requires_grad_()
    scores = after(activations)[range(len(images)), targets]
    scores.sum().backward()
    return activations.detach(), activations.grad, scores.detach()


def slow_gradcam(a: Grid, g: Grid) -> Grid:
    cells = [v for row in g for v in row]
    weight = sum(cells) / len(cells)
    return [[weight * v for v in row] for row in a]


def slow_gradcam_plus_plus(a: Grid, g: Grid) -> Grid:
    total = sum(v for row in a for v in row)
    weight = 0.0
    for row in g:
        for v in row:
            below = 2 * v**2 + total * v**3
            alpha = v**2 / below if v != 0 else 0.0
            weight += alpha * max(v, 0.0)
    return [[weight * v for v in row] for row in a]


def slow_xgradcam(a: Grid, g: Grid) -> Grid:
    total = sum(v for row in a for v in row)
    weight = 0.0
    for i in range(len(a)):
        for j in range(len(a[0])):
            weight += a[i][j] / total * g[i][j] if total != 0 else 0.0
    return [[weight * v for v in row] for row in a]


def slow_hirescam(a: Grid, g: Grid) -> Grid:
    return [[a[i][j] * g[i][j] for j in range(len(a[0]))] for i in range(len(a))]


def slow_layercam(a: Grid, g: Grid) -> Grid:
    return [[a[i][j] * max(g[i][j], 0.0) for j in range(len(a[0]))] for i in range(len(a))]


def slow_elementwise(a: Grid, g: Grid) -> Grid:
    return [[max(a[i][j] * g[i][j], 0.0) for j in range(len(a[0]))] for i in range(len(a))]


SLOW = {
    GradCAM: slow_gradcam,
    GradCAMPlusPlus: slow_gradcam_plus_plus,
    XGradCAM: slow_xgradcam,
    HiResCAM: slow_hirescam,
    LayerCAM: slow_layercam,
    ElementWiseCAM: slow_elementwise,
}


def make(method: type[GradientCAM], classifier: Classifier, layer: str) -> GradientCAM:
    """XGradCAM without its ε: the paper has none."""
    return XGradCAM(classifier, layer, eps=0) if method is XGradCAM else method(classifier, layer)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", SLOW, ids=lambda method: method.name)
def test_every_cam_is_its_paper_summed_by_hand(reference, images, method, name, layer):
    classifier, pictures = reference(name), images(2, 96)
    activations, gradients, _ = split(classifier, layer, pictures, [1, 3])
    expected = torch.zeros(2, *activations.shape[2:], dtype=torch.float64)
    for image in range(2):
        for a, g in zip(activations[image].tolist(), gradients[image].tolist(), strict=True):
            expected[image] += torch.tensor(SLOW[method](a, g), dtype=torch.float64)
    close(make(method, classifier, layer).raw(pictures, [1, 3]), expected)


def by_hand(a: list, g: list) -> Evidence:
    """One image and one channel with these activations and gradients at layer `conv1`."""
    activations, gradients = (torch.tensor(v, dtype=torch.float64)[None, None] for v in (a, g))
    blank = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    return Evidence(blank, torch.tensor([0]), torch.zeros(1, 3), {"conv1": activations}, {"conv1": gradients})


A = [[1.0, 2.0], [0.0, 1.0]]
G = [[0.5, -1.0], [0.0, 0.25]]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (GradCAM, [[-0.0625, -0.125], [0.0, -0.0625]]),  # w = (0.5 − 1 + 0 + 0.25)/4
        (XGradCAM, [[-0.3125, -0.625], [0.0, -0.3125]]),  # w = (0.5 − 2 + 0 + 0.25)/4
        (HiResCAM, [[0.5, -2.0], [0.0, 0.25]]),
        (LayerCAM, [[0.5, 0.0], [0.0, 0.25]]),
        (ElementWiseCAM, [[0.5, 0.0], [0.0, 0.25]]),
        # α·ReLU(g) = 0.5/(2 + 4·0.5) + 0 + 0 + 0.25/(2 + 4·0.25) = 5/24
        (GradCAMPlusPlus, [[5 / 24, 5 / 12], [0.0, 5 / 24]]),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_four_cells_by_hand(tiny, method, expected):
    found = method(tiny, "conv1").explain(by_hand(A, G), Classifier.of(tiny))
    close(found, torch.tensor([expected], dtype=torch.float64))


def test_gradcam_plus_plus_has_weight_zero_where_the_gradient_is_zero(tiny):
    found = GradCAMPlusPlus(tiny, "conv1").explain(by_hand(A, [[0.0, 0.0], [0.0, 0.0]]), Classifier.of(tiny))
    assert (found == 0).all()


def test_gradcam_plus_plus_keeps_gradients_far_below_one(tiny):
    small = [[v * 1e-120 for v in row] for row in G]  # g³ is 0 in double precision
    found = GradCAMPlusPlus(tiny, "conv1").explain(by_hand(A, small), Classifier.of(tiny))
    close(found / 1e-120, torch.tensor([[[0.375, 0.75], [0.0, 0.375]]], dtype=torch.float64))  # w → Σ ReLU(g)/2


def test_gradcam_plus_plus_is_finite_where_its_denominator_is_zero(tiny):
    found = GradCAMPlusPlus(tiny, "conv1").explain(by_hand([[-1.0, 0.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, 0.0]]), None)
    close(found, torch.tensor([[[-1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64))  # 0 for the cell 2 − 2, 1/(2 − 1)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_xgradcam_holds_a_vanishing_sum_at_eps_and_keeps_its_sign(tiny, sign):
    a = [[1.0, -1.0], [sign * 1e-9, 0.0]]
    method = XGradCAM(tiny, "conv1", eps=0.01)
    weight = method.weights(*(torch.tensor(v, dtype=torch.float64)[None, None] for v in (a, [[3.0, 1.0], [0.0, 0.0]])))
    assert float(weight) == pytest.approx(sign * 2.0 / 0.02, rel=1e-6)
    assert method.diagnostics(by_hand(a, a))["near_zero_channels"].tolist() == [1.0]
    assert method.diagnostics(by_hand(a, a))["negative_channels"].tolist() == [float(sign < 0)]


@pytest.mark.parametrize("channels", ["all", "settled", "positive"])
def test_what_xgradcams_doubtful_channels_carry_is_summed_cell_by_cell_and_left_out_on_request(tiny, channels):
    activations = torch.randn(2, 8, 12, 12).double() + torch.linspace(-0.5, 0.5, 8).view(8, 1, 1)
    gradients = torch.randn(2, 8, 12, 12).double()
    blank = torch.zeros(2, 3, 12, 12, dtype=torch.float64)
    evidence = Evidence(blank, torch.tensor([0, 0]), torch.zeros(2, 3), {"conv1": activations}, {"conv1": gradients})
    method = XGradCAM(tiny, "conv1", eps=0.2, channels=channels)
    told, maps = method.diagnostics(evidence), method.explain(evidence, Classifier.of(tiny))
    ends = (0, 1, 10, 11)  # of 12 rows and columns
    for image in range(2):
        weights = XGradCAM(tiny, "conv1", eps=0.2).weights(activations, gradients)[image, :, 0, 0].tolist()
        carried = {"near_zero": [0.0, 0.0], "negative": [0.0, 0.0], "every": [0.0, 0.0]}
        expected, kinds = torch.zeros(12, 12, dtype=torch.float64), set()
        for a, weight in zip(activations[image], weights, strict=True):
            near, negative = abs(float(a.sum())) < 0.2 * float(a.abs().sum()), float(a.sum()) < 0
            kinds.add((near, negative))
            if (channels == "settled" and near) or (channels == "positive" and negative):
                continue
            expected += weight * a
            for kind, belongs in (("near_zero", near), ("negative", negative), ("every", True)):
                carried[kind][0] += belongs * float((weight * a).abs().sum())
                carried[kind][1] += belongs * sum(abs(weight * float(a[i, j])) for i in ends for j in ends)
        assert len(kinds) == 4, "of every kind of channel there is one"
        close(maps[image], expected)
        for kind in ("near_zero", "negative"):
            for column, place in (("mass", 0), ("in_corners", 1)):
                share = carried[kind][place] / carried["every"][place]
                assert float(told[f"{kind}_{column}"][image]) == pytest.approx(share, rel=1e-9)
        sizes = gradients[image].abs()
        corner = sum(float(sizes[:, i, j].mean()) for i in ends for j in ends) / 16
        assert float(told["small_gradients"][image]) == pytest.approx(corner / float(sizes.mean()))


def test_a_channel_that_is_silent_adds_nothing_to_xgradcam(tiny):
    found = XGradCAM(tiny, "conv1").explain(by_hand([[0.0, 0.0], [0.0, 0.0]], G), Classifier.of(tiny))
    assert (found == 0).all()


@pytest.mark.parametrize("method", SLOW, ids=lambda method: method.name)
def test_contributions_add_up_to_the_map(reference, images, method):
    classifier = reference("fundus-vgg")
    evidence = classifier.evidence(images(2, 96), None, ["features.10"])
    cam = method(classifier, "features.10")
    assert cam.contributions(evidence).shape == (2, 64)
    close(cam.contributions(evidence).sum(1), cam.explain(evidence, classifier).sum((1, 2)))


def test_elementwise_keeps_a_negative_gradient_on_a_negative_activation(tiny):
    a, g = [[-1.0, 2.0], [-3.0, 0.0]], [[-0.5, -1.0], [0.25, 4.0]]
    found = ElementWiseCAM(tiny, "conv1").explain(by_hand(a, g), Classifier.of(tiny))
    close(found, torch.tensor([[[0.5, 0.0], [0.0, 0.0]]], dtype=torch.float64))


CANCELLING = [  # A and g of a channel in which 2 + ΣA·g, and one in which ΣA, is 1e-4
    (GradCAMPlusPlus, [[-3.0, 1.0], [-1.0, 1.0001]], [[1.0, 0.5], [-0.25, 0.0]]),
    (XGradCAM, [[-3.0, 1.0], [1.0, 1.0001]], [[1.0, 0.5], [-0.25, 0.5]]),
]


@pytest.mark.parametrize(("method", "a", "g"), CANCELLING, ids=lambda value: getattr(value, "name", ""))
def test_weights_that_are_rounding_are_measured_counted_and_warned_of(tiny, method, a, g):
    evidence, (a, g) = by_hand(a, g), (torch.tensor(v, dtype=torch.float64)[None, None] for v in (a, g))
    cam = method(tiny, "conv1", eps=0) if method is XGradCAM else method(tiny, "conv1")
    with pytest.warns(UserWarning, match="at conv1: .* more than 1%.*variant='guarded'"):
        told = cam.diagnostics(evidence)
    slow = 0.0  # by differences, a cell at a time
    for cell in range(4):
        step = 1e-6 * a * torch.nn.functional.one_hot(torch.tensor(cell), 4).view(1, 1, 2, 2)
        slow += 1e2 * float((cam.weights(a + step, g) - cam.weights(a - step, g)).abs() / 2 / cam.weights(a, g).abs())
    assert told["weights_move"].tolist() == pytest.approx([slow], rel=1e-3)
    assert (slow > 0.5, told["unstable"].tolist()) == (True, [1.0])
    guarded = method(tiny, "conv1", variant="guarded")
    assert float(guarded.diagnostics(evidence)["weights_move"]) < 3e-4
    assert guarded.weights(a, g).abs().max() <= g.clamp(min=0).sum()


@pytest.mark.parametrize("method", [GradCAMPlusPlus, XGradCAM])
def test_the_guarded_formula_is_the_papers_where_activations_have_one_sign(tiny, images, method):
    evidence = Classifier(tiny).evidence(images(2, 16).double(), None, ["relu2"])
    cams = [method(tiny, "relu2", variant=variant) for variant in ("paper", "guarded")]
    close(*(cam.explain(evidence, Classifier(tiny)) for cam in cams))


@pytest.mark.parametrize("method", [GradCAM, EigenGradCAM], ids=lambda method: method.name)
def test_evidence_without_gradients_is_refused(tiny, images, method):
    evidence = Classifier(tiny).evidence(images(1, 16), None, ["conv1"], gradients=False)
    with pytest.raises(ValueError, match=f"{method.__name__} needs evidence with gradients at 'conv1'"):
        method(tiny, "conv1").explain(evidence, Classifier(tiny))
