"""Score-CAM and its kin, AblationCAM and RISE: known values, the papers with loops, and the libraries."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from camfaith.methods import CAM, ISCAM, RISE, SSCAM, AblationCAM, Calls, ScoreCAM, masking
from camfaith.models import Classifier
from camfaith.models.ablation import head
from camfaith.models.counting import counting
from camfaith.models.errors import NotApplicable

LAYERS = [("fundus-resnet", "layer3"), ("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")]
KIN = [ScoreCAM, SSCAM, ISCAM]
EVERY = [*KIN, AblationCAM, RISE]
FEW: dict[type, dict[str, Any]] = {SSCAM: {"n_samples": 2}, ISCAM: {"n_steps": 3}, RISE: {"n_masks": 9}}


def close(found: Tensor, expected: Any, relative: float = 1e-9) -> None:
    expected = torch.as_tensor(expected).to(found)
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def named(method: type) -> str:
    return method.name


class Shown(nn.Module):
    """Logits (Σ weight·x, 0) of images of one colour, beside a layer that shows the same channels for every image."""

    def __init__(self, channels: Any, weight: Any) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.channels = torch.tensor(channels, dtype=torch.float64)
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        self.layer(self.channels.expand(len(x), -1, -1, -1))
        score = (x[:, 0] * self.weight).sum((1, 2))
        return torch.stack([score, torch.zeros_like(score)], 1)


ONES = torch.ones(1, 1, 2, 2, dtype=torch.float64)
TWO = [[[0, 2], [0, 0]], [[0, 0], [4, 0]]]
SEEN = [[0, math.log(3)], [0, 0]]
"""Under the first of TWO the logit is log 3 and the probability 3/4; under the second 0 and 1/2."""


def softmax(*scores: float) -> list[float]:
    return [math.exp(score) / sum(map(math.exp, scores)) for score in scores]


def weighted(weights: Any, channels: Any = TWO) -> Tensor:
    return torch.einsum("k,khw->hw", *(torch.as_tensor(given, dtype=torch.float64) for given in (weights, channels)))


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, softmax(3 / 4, 1 / 2)),
        ({"score": "logit"}, [3 / 4, 1 / 4]),
        ({"variant": "authors"}, [3 / 4, 1 / 2]),
        ({"variant": "authors", "score": "logit"}, [math.log(3), 0]),
        ({"variant": "pgc"}, [3 / 4, 1 / 4]),
        ({"variant": "torchcam"}, [3 / 4, 1 / 4]),
        ({"variant": "torchcam", "score": "probability"}, softmax(3 / 4, 1 / 2)),
    ],
    ids=str,
)
def test_scorecam_weighs_channels_by_the_score_of_what_they_leave(options, weights):
    found = ScoreCAM(Shown(TWO, SEEN), "layer", **options).raw(ONES, 0)
    close(found[0], weighted(weights), 1e-7)


@pytest.mark.parametrize("variant", ["paper", "authors"])
def test_a_flat_channel_has_no_weight_and_takes_none(variant):
    without = ScoreCAM(Shown(TWO, SEEN), "layer", variant=variant).raw(ONES, 0)
    flat = [[[5, 5], [5, 5]], *TWO, [[0, 0], [0, 0]]]
    assert torch.equal(ScoreCAM(Shown(flat, SEEN), "layer", variant=variant).raw(ONES, 0), without)


@pytest.mark.parametrize("variant", ["pgc", "torchcam"])
def test_the_libraries_weigh_a_flat_channel_as_one_that_leaves_nothing(variant):
    flat = [[[5, 5], [5, 5]], *TWO]
    found = ScoreCAM(Shown(flat, SEEN), "layer", variant=variant).raw(ONES, 0)
    close(found[0], weighted([1 / 5, 3 / 5, 1 / 5], flat), 1e-7)


@pytest.mark.parametrize("method", KIN, ids=named)
def test_flat_channels_alone_give_a_zero_map(method):
    found = method(Shown([[[5, 5], [5, 5]]], SEEN), "layer", **FEW.get(method, {})).raw(ONES, 0)
    assert (found == 0).all()


@pytest.mark.parametrize(("variant", "mean"), [("paper", 5 / 8), ("authors", 5 / 8), ("torchcam", 5 / 4)])
def test_iscam_of_a_linear_logit_is_scorecam_of_its_share(variant, mean):
    """Mean of i/4, and of its running sums, over i = 1 … 4."""
    scores = [mean * math.log(3), 0.0]
    found = ISCAM(Shown(TWO, SEEN), "layer", n_steps=4, score="logit", variant=variant).raw(ONES, 0)
    close(found[0], weighted(scores if variant == "authors" else softmax(*scores)), 1e-7)


def test_iscam_with_one_step_and_sscam_without_noise_are_scorecam(reference, images):
    classifier, pictures = reference("fundus-resnet"), images(2, 32)
    expected = ScoreCAM(classifier, "layer3").raw(pictures, [0, 2])
    close(ISCAM(classifier, "layer3", n_steps=1).raw(pictures, [0, 2]), expected)
    for noise in ("mask", "input"):
        close(SSCAM(classifier, "layer3", n_samples=1, sigma=0, noise=noise).raw(pictures, [0, 2]), expected)


def slow_bilinear(grid: Tensor, height: int, width: int) -> Tensor:
    """Between the four cells whose centres are nearest, in proportion; beyond the outer centres, as at these."""

    def line(cells: int, pixels: int) -> Tensor:
        matrix = torch.zeros(pixels, cells, dtype=torch.float64)
        for pixel in range(pixels):
            at = min(max((pixel + 0.5) * cells / pixels - 0.5, 0), cells - 1)
            low = min(int(at), cells - 1)
            matrix[pixel, low] += 1 - (at - low)
            matrix[pixel, min(low + 1, cells - 1)] += at - low
        return matrix

    return line(grid.shape[0], height) @ grid @ line(grid.shape[1], width).T


def slow_scorecam(
    classifier: Classifier, picture: Tensor, channels: Tensor, target: int, altered: Callable[[Tensor], list[Tensor]]
) -> Tensor:
    """Algorithm 1, channel by channel but for flat ones; `altered` gives the images whose scores are averaged, from a
    mask."""
    black = float(classifier.scores(torch.zeros_like(picture)[None]).softmax(1)[0, target])
    scores, kept = [], []
    for channel in channels:
        grown = slow_bilinear(channel, *picture.shape[1:])
        seen = altered((grown - grown.min()) / (grown.max() - grown.min()))
        if float(channel.min()) < float(channel.max()):
            asked = [float(classifier.scores(image[None]).softmax(1)[0, target]) - black for image in seen]
            scores.append(sum(asked) / len(asked))
            kept.append(channel)
    return weighted(softmax(*scores), torch.stack(kept))


@pytest.fixture
def evidence(reference, images):
    """Two small images of a shipped network with random weights, each asked about a class of its own."""

    def of(name: str, layer: str) -> Any:
        classifier = reference(name)
        side = 96 if name == "fundus-vgg" else 32
        seeds = torch.tensor([3, 4])
        return classifier, classifier.evidence(images(2, side), [1, 3], [layer], gradients=False, seeds=seeds)

    return of


@pytest.mark.parametrize(("name", "layer"), LAYERS)
def test_scorecam_is_its_algorithm_channel_by_channel(evidence, name, layer):
    classifier, found = evidence(name, layer)
    rows = zip(found.images, found.activations[layer], [1, 3], strict=True)
    expected = [slow_scorecam(classifier, x, a, c, lambda mask, x=x: [x * mask]) for x, a, c in rows]
    close(ScoreCAM(classifier, layer).explain(found, classifier), torch.stack(expected))


@pytest.fixture
def small(tiny, images) -> Any:
    """Two images of the tiny network, behind a normalisation."""
    classifier = Classifier(tiny, mean=(0.5, 0.4, 0.3), std=(0.05, 0.05, 0.05))
    found = classifier.evidence(images(2, 16), [1, 2], ["relu2"], gradients=False, seeds=torch.tensor([3, 4]))
    return classifier, found


def test_iscam_is_the_mean_along_the_masks(small):
    classifier, found = small
    rows = zip(found.images, found.activations["relu2"], [1, 2], strict=True)
    expected = [
        slow_scorecam(classifier, x, a, c, lambda mask, x=x: [x * mask * i / 3 for i in (1, 2, 3)]) for x, a, c in rows
    ]
    close(ISCAM(classifier, "relu2", n_steps=3).explain(found, classifier), torch.stack(expected))


def test_iscam_of_its_authors_is_their_program_channel_by_channel(small):
    """`ISS_CAM2` of their notebook: probabilities along ten steps, one image at a time, averaged and not weighed up."""
    classifier, found = small
    expected = []
    for x, a, c in zip(found.images, found.activations["relu2"], [1, 2], strict=True):
        total = torch.zeros_like(a[0])
        for channel in a:
            grown = slow_bilinear(channel, 16, 16)
            if float(grown.max()) == float(grown.min()):
                continue
            masked = x * (grown - grown.min()) / (grown.max() - grown.min())
            scores = [float(classifier.scores((masked * 0.1 * i)[None]).softmax(1)[0, c]) for i in range(1, 11)]
            total += sum(scores) / len(scores) * channel
        expected.append(total)
    close(ISCAM(classifier, "relu2", variant="authors").explain(found, classifier), torch.stack(expected))


@pytest.mark.parametrize("noise", ["mask", "input"])
def test_sscam_is_the_mean_over_noise_from_each_images_seed(small, noise):
    classifier, found = small
    expected = []
    for x, a, c, seed in zip(found.images, found.activations["relu2"], [1, 2], [3, 4], strict=True):
        source = torch.Generator().manual_seed(seed)
        shape = (2, len(a), 1 if noise == "mask" else 3, 16, 16)
        drawn = iter((0.7 * torch.randn(shape, generator=source)).double().transpose(0, 1))

        def altered(mask: Tensor, x: Tensor = x, drawn: Any = drawn) -> list[Tensor]:
            return [x * (mask + d) if noise == "mask" else x * mask + d for d in next(drawn)]

        expected.append(slow_scorecam(classifier, x, a, c, altered))
    found = SSCAM(classifier, "relu2", n_samples=2, sigma=0.7, noise=noise).explain(found, classifier)
    close(found, torch.stack(expected))


def test_scorecam_of_pgc_agrees_with_pytorch_grad_cam(evidence):
    pgc = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed; pip install 'camfaith[peers]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = "features"  # more channels than go into one batch
    classifier, found = evidence("fundus-effnet", layer)
    a, targets = found.activations[layer], [ClassifierOutputTarget(c) for c in (1, 3)]
    with pgc.ScoreCAM(classifier, [classifier.network.get_submodule(layer)]) as theirs:
        weights = theirs.get_cam_weights(found.images, None, targets, a.numpy(), None)
    ours = ScoreCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", KIN, ids=named)
def test_variants_of_torchcam_agree_with_torchcam(evidence, method, name, layer):
    torchcam = pytest.importorskip(
        "torchcam.methods", reason="torchcam is not installed; pip install 'camfaith[peers]'"
    )
    kind = {ScoreCAM: torchcam.ScoreCAM, SSCAM: torchcam.SSCAM, ISCAM: torchcam.ISCAM}[method]
    asked = {ScoreCAM: {}, SSCAM: {"num_samples": 2}, ISCAM: {"num_samples": 3}}[method]
    classifier, found = evidence(name, layer)
    found = found.select([1])
    with torch.random.fork_rng(), kind(classifier, f"network.{layer}", **asked) as extractor:
        torch.manual_seed(4)  # torchcam draws from the global generator
        (theirs,) = extractor([3], classifier(found.images), normalized=False)
    ours = method(classifier, layer, variant="torchcam", **FEW.get(method, {})).explain(found, classifier)
    close(ours.clamp(min=0), theirs.detach(), 1e-5)


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer3"), ("fundus-effnet", "features")])
def test_before_a_pooled_linear_head_ablationcam_weighs_by_what_cam_adds(reference, images, name, layer):
    """y − y_k = w_ck mean(A^k)."""
    classifier, pictures = reference(name), images(3, 40)
    targets = classifier.scores(pictures).argmin(1)
    evidence = classifier.evidence(pictures, targets, [layer], gradients=False)
    added = CAM(classifier, layer)._weighted(evidence).mean((2, 3))
    y = evidence.logits.gather(1, targets[:, None])
    assert (y < 0).any(), "the sign is what this is about"
    expected = torch.einsum("bk,bkhw->bhw", added / y.abs(), evidence.activations[layer])
    close(AblationCAM(classifier, layer).explain(evidence, classifier), expected)


def slow_ablationcam(classifier: Classifier, layer: str, picture: Tensor, channels: Tensor, target: int) -> Tensor:
    """One channel after the other at zero, each with a forward of the whole network."""
    module = classifier.network.get_submodule(layer)
    y, total = float(classifier.scores(picture[None])[0, target]), torch.zeros_like(channels[0])
    for k, channel in enumerate(channels):

        def zero(_module: nn.Module, _inputs: Any, output: Tensor, k: int = k) -> Tensor:
            output = output.clone()
            output[:, k] = 0
            return output

        handle = module.register_forward_hook(zero)
        total += (y - float(classifier.scores(picture[None])[0, target])) / abs(y) * channel
        handle.remove()
    return total


@pytest.mark.parametrize(("name", "layer"), [("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")])
def test_ablationcam_is_one_channel_after_the_other_at_zero(evidence, name, layer):
    classifier, found = evidence(name, layer)
    rows = zip(found.images, found.activations[layer], [1, 3], strict=True)
    expected = torch.stack([slow_ablationcam(classifier, layer, x, a, c) for x, a, c in rows])
    close(AblationCAM(classifier, layer).explain(found, classifier), expected, 1e-8)


def test_where_the_logit_is_zero_ablationcam_divides_nothing(evidence):
    classifier, found = evidence("fundus-vgg", "features.4")
    cam, y = AblationCAM(classifier, "features.4"), found.logits.gather(1, found.targets[:, None])
    zero = replace(found, logits=torch.zeros_like(found.logits))
    dropped = cam.explain(found, classifier) * y.abs()[..., None]
    close(cam.explain(zero, classifier), dropped - y[..., None] * found.activations["features.4"].sum(1), 1e-8)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_channel_that_speaks_for_a_class_has_a_positive_weight_whatever_its_logit(sign):
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    nn.init.ones_(network[0].weight)
    network[3].weight.data, network[3].bias.data = torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([sign * 10.0, 0])
    found = {
        variant: AblationCAM(network, "0", variant=variant).raw(torch.ones(1, 3, 4, 4), 0)
        for variant in ("paper", "pgc")
    }
    assert (found["paper"] > 0).all()
    assert (sign * found["pgc"] > 0).all()


@pytest.mark.parametrize(
    ("name", "layer"), [("fundus-vgg", "features.4"), ("fundus-effnet", "features.2"), ("fundus-effnet", "features")]
)
def test_ablationcam_of_pgc_agrees_with_pytorch_grad_cam(evidence, name, layer):
    pgc = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed; pip install 'camfaith[peers]'")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier, found = evidence(name, layer)
    a, targets = found.activations[layer], [ClassifierOutputTarget(c) for c in (1, 3)]
    module = classifier.network.get_submodule(layer)
    with pgc.AblationCAM(classifier, [module]) as theirs:
        weights = theirs.get_cam_weights(found.images, module, targets, a.numpy(), None)
    ours = AblationCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


OF_TIMM = {
    "tokens": (
        "vit_base_patch16_siglip_gap_224",
        {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 40, "num_heads": 2},
        "blocks.1.norm1",
        lambda tokens: tokens.mT.unflatten(2, (4, 4)),
    ),
    "channels last": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "window_size": 2, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
        "layers.0.blocks.1",
        lambda cells: cells.permute(0, 3, 1, 2),
    ),
    "a class token": (
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2},
        "blocks.1.norm1",
        None,
    ),
}


@pytest.fixture
def of_timm() -> Callable[[str], Any]:
    """A small transformer in double precision, a layer of it, and where its cells lie."""

    def make(name: str) -> Any:
        model, sizes, layer, cells = OF_TIMM[name]
        network, source = timm.create_model(model, num_classes=4, **sizes).double().eval(), torch.Generator()
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0, 0.3, generator=source.manual_seed(parameter.numel()))
        return network, layer, cells

    return make


@pytest.mark.parametrize("name", ["tokens", "channels last"])
def test_ablationcam_of_pgc_agrees_with_pytorch_grad_cam_on_transformers(of_timm, images, name):
    pgc = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed; pip install 'camfaith[peers]'")
    from pytorch_grad_cam.ablation_layer import AblationLayerVit
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    network, layer, cells = of_timm(name)
    classifier, module = Classifier(network), network.get_submodule(layer)
    found = classifier.evidence(images(2, 32), [1, 3], [layer], gradients=False)
    a, targets = found.activations[layer], [ClassifierOutputTarget(c) for c in (1, 3)]
    with pgc.AblationCAM(network, [module], cells, AblationLayerVit()) as theirs:
        weights = theirs.get_cam_weights(found.images, module, targets, a.numpy(), None)
    ours = AblationCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


def test_where_pytorch_grad_cam_takes_a_class_tokens_channel_too_its_variant_is_refused(of_timm, images):
    network, layer, _ = of_timm("a class token")
    with pytest.raises(NotApplicable, match=r"'pgc' of ablationcam .*'blocks.1.norm1'.* 1 of them .* variant='paper'"):
        AblationCAM(network, layer, variant="pgc").raw(images(1, 32), 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer", ["conv2", "relu2"])
def test_ablationcam_of_pgc_in_half_precision_is_one_channel_after_the_other(tiny, images, layer, dtype):
    tiny.to(dtype)
    cam, picture = AblationCAM(tiny, layer, variant="pgc"), images(1, 16).to(dtype)
    evidence = cam.classifier.evidence(picture, 1, [layer])
    lowest = evidence.activations[layer].min()
    if layer == "conv2" and dtype == torch.float16:
        with pytest.raises(NotApplicable, match=r"1e7 and less, which float16 does not hold; .*network.float"):
            cam.explain(evidence, cam.classifier)
        return
    y, expected = evidence.logits[0, 1], 0
    for k, channel in enumerate(evidence.activations[layer][0]):

        def switched_off(_module: nn.Module, _inputs: Any, output: Tensor, k: int = k) -> Tensor:
            output = output.clone()
            output[:, k] = 0 if lowest == 0 else lowest - 1e7 * (k + 1)
            return output

        handle = tiny.get_submodule(layer).register_forward_hook(switched_off)
        expected = expected + (y - cam.classifier.scores(picture)[0, 1].float()) / y * channel
        handle.remove()
    close(cam.explain(evidence, cam.classifier)[0], expected, 1e-2)


class Shared(nn.Module):
    """Logits that grow with the number of images sent together, which a head that runs alone does not see."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * len(x)


@pytest.mark.parametrize("shared", [False, True])
def test_a_head_of_zeros_tells_nothing_about_the_one_that_is_trained(tiny, images, shared):
    classifier, layer = (Classifier(Shared(tiny)), "network.relu2") if shared else (Classifier(tiny), "relu2")
    trained = tiny.head.weight.clone()
    with torch.no_grad():
        tiny.head.weight.zero_()
        tiny.head.bias.zero_()
        assert not head(classifier, layer, images(1, 16)).alone
        tiny.head.weight.copy_(trained)
    assert head(classifier, layer, images(1, 16)).alone != shared


def test_rise_with_masks_that_hide_nothing_is_the_score_everywhere(reference, images):
    classifier, pictures = reference("fundus-resnet"), images(2, 32)
    expected = classifier.scores(pictures).softmax(1)[range(2), [0, 2]]
    found = RISE(classifier, n_masks=3, p=1.0).raw(pictures, [0, 2])
    close(found, expected[:, None, None].expand(2, 32, 32))


def slow_rise(classifier: Classifier, picture: Tensor, target: int, seed: int, count: int, grid: int, p: float) -> Any:
    """Mask by mask, from the same random numbers."""
    height, width = picture.shape[1:]
    high, wide = math.ceil(height / grid), math.ceil(width / grid)
    source = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, grid, grid, generator=source)
    down, right = (torch.randint(cell, (count,), generator=source) for cell in (high, wide))
    total = torch.zeros(height, width, dtype=torch.float64)
    for i in range(count):
        grown = slow_bilinear((drawn[i] < p).double(), (grid + 1) * high, (grid + 1) * wide)
        mask = grown[down[i] : down[i] + height, right[i] : right[i] + width]
        total += float(classifier.scores((picture * mask)[None]).softmax(1)[0, target]) * mask
    return total / (p * count)


@pytest.mark.parametrize(("grid", "p"), [(7, 0.5), (3, 0.2)])
def test_rise_is_its_masks_weighed_by_the_probability(reference, images, grid, p):
    classifier, pictures, seeds = reference("fundus-resnet"), images(2, 33, 38), [5, 6]
    evidence = classifier.evidence(pictures, [1, 3], seeds=torch.tensor(seeds))
    expected = [
        slow_rise(classifier, x, c, seed, 12, grid, p) for x, c, seed in zip(pictures, [1, 3], seeds, strict=True)
    ]
    found = RISE(classifier, n_masks=12, grid=grid, p=p).explain(evidence, classifier)
    close(found, torch.stack(expected))


def test_rise_shows_every_pixel_equally_often(tiny, images):
    """A mean of n values in [0, 1] lies within 5/(2√n) of its expectation."""
    masks = torch.cat(list(RISE(tiny, n_masks=3000, p=0.3).masks(images(1, 17, 30)[0], 0)))
    assert masks.shape == (3000, 17, 30)
    assert float((masks.mean(0) - 0.3).abs().max()) < 5 / (2 * math.sqrt(3000))
    assert float(masks.var(0).min()) > 0.02


def test_rise_is_highest_where_the_network_looks():
    weight = torch.zeros(28, 28)
    weight[20, 6] = 4
    cam = RISE(Shown([[[0.0]]], weight.tolist()), n_masks=500, score="logit")
    found = cam.raw(torch.ones(1, 1, 28, 28).double(), 0)
    row, column = divmod(int(found[0].argmax()), 28)
    assert abs(row - 20) <= 2
    assert abs(column - 6) <= 2


@pytest.mark.parametrize(("method", "seeded"), [(m, m in (SSCAM, RISE)) for m in EVERY], ids=str)
def test_chance_comes_from_the_seed_of_the_image_alone(tiny, images, method, seeded):
    classifier, before = Classifier(tiny), torch.random.get_rng_state()
    cam = method(classifier, "relu2", **FEW.get(method, {}))
    pictures = images(1, 16).expand(3, -1, -1, -1)
    evidence = classifier.evidence(pictures, 1, ["relu2"], gradients=False, seeds=torch.tensor([7, 8, 7]))
    found = cam.explain(evidence, classifier)
    close(found[0], found[2], 1e-12)
    assert torch.allclose(found[0], found[1], rtol=1e-9) != seeded
    close(cam.explain(evidence.select([1]), classifier), found[1:2], 1e-12)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_the_network_and_the_evidence_are_left_as_they_were(tiny, images, method):
    tiny.relu1.inplace = True
    tiny.train()
    classifier = Classifier(tiny, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2))
    evidence = classifier.evidence(images(2, 16), 1, ["relu2"], gradients=False)
    kept = evidence.copy()
    found = method(classifier, "relu2", **FEW.get(method, {})).explain(evidence, classifier)
    assert torch.equal(evidence.images, kept.images)
    assert torch.equal(evidence.activations["relu2"], kept.activations["relu2"])
    assert all(module.training and not module._forward_hooks for module in tiny.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tiny.parameters())
    assert not found.requires_grad
    assert not found.is_inference()


@pytest.mark.parametrize("method", [*KIN, RISE], ids=named)
def test_the_size_of_a_batch_changes_nothing(tiny, images, monkeypatch, method):
    evidence = Classifier(tiny).evidence(images(2, 15), 1, ["relu2"], gradients=False)
    cam = method(tiny, "relu2", **FEW.get(method, {}))
    expected = cam.explain(evidence, cam.classifier)
    monkeypatch.setattr(masking, "batch_size", lambda _images: 2)
    close(cam.explain(evidence, cam.classifier), expected, 1e-12)


class Small(nn.Module):
    """Runs out of memory for more than `most` images, or activations, in its head."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most
        network.pool.register_forward_pre_hook(self._hold)

    def _hold(self, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > self.most:
            raise torch.OutOfMemoryError("out of memory")

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_batches_are_halved_where_memory_runs_out(tiny, images, method):
    pictures, options = images(2, 16), FEW.get(method, {})
    expected = method(tiny, "relu2", **options).raw(pictures, 1)
    close(method(Small(tiny, 3), "network.relu2", **options).raw(pictures, 1), expected, 1e-12)


def test_an_image_alone_that_is_too_large_is_an_error(tiny, images):
    cam = ScoreCAM(tiny, "relu2")
    evidence = cam.classifier.evidence(images(1, 16), 1, ["relu2"], gradients=False)
    Small(tiny, 0)
    with pytest.raises(torch.OutOfMemoryError):
        cam.explain(evidence, cam.classifier)


@pytest.mark.parametrize(
    ("method", "calls"), [(ScoreCAM, 5), (SSCAM, 10), (ISCAM, 15), (AblationCAM, 1), (RISE, 9)], ids=str
)
def test_every_channel_is_a_forward_a_head_needs_one_for_all_and_rise_one_for_each_mask(tiny, images, method, calls):
    cam = method(tiny, "relu2", **FEW.get(method, {}))
    assert cam.cost(images(1, 16)) == Calls(forwards=calls)


class Unsplit(nn.Module):
    """Counts its images, so that one image does not do for many activations."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).view(len(x), self.classes)


@pytest.mark.parametrize("classes", [-1, 3], ids=["another shape", "an error"])
def test_a_head_that_cannot_run_alone_costs_a_forward_for_each_channel(tiny, images, classes):
    pictures, network = images(1, 16), Unsplit(tiny, classes)
    cam = AblationCAM(network, "network.relu2")
    assert not head(cam.classifier, "network.relu2", pictures).alone
    assert cam.cost(pictures) == Calls(forwards=5 + 1)
    evidence = cam.classifier.evidence(pictures, 1, ["network.relu2"], gradients=False)
    with counting(network) as tally:
        found = cam.explain(evidence, cam.classifier)
    assert tally.forwards == 5 + 1
    close(found, AblationCAM(tiny, "relu2").raw(pictures, 1), 1e-12)


@pytest.mark.parametrize("method", [*KIN, AblationCAM], ids=named)
def test_a_layer_is_needed(tiny, images, method):
    cam = method(tiny)
    evidence = cam.classifier.evidence(images(1, 16), 1, ["relu2"], gradients=False)
    with pytest.raises(ValueError, match=f"{method.__name__} needs a target layer"):
        cam.explain(evidence, cam.classifier)
    with pytest.raises(ValueError, match=f"{method.__name__} needs a target layer"):
        cam.cost(images(1, 16))


@pytest.mark.parametrize(
    ("method", "option", "text"),
    [
        (ScoreCAM, {"variant": "mine"}, r"variant must be .*paper, authors, pgc, torchcam; got 'mine'"),
        (SSCAM, {"variant": "pgc"}, r"variant must be .*paper, torchcam; got 'pgc'"),
        (ISCAM, {"variant": "pgc"}, r"variant must be .*paper, authors, torchcam; got 'pgc'"),
        (AblationCAM, {"variant": "torchcam"}, r"variant must be .*paper, pgc; got 'torchcam'"),
        (ScoreCAM, {"score": "p"}, r"score must be one of probability, logit; got 'p'"),
        (RISE, {"score": "p"}, r"score must be one of probability, logit; got 'p'"),
        (SSCAM, {"noise": "both"}, r"noise must be one of mask, input; got 'both'"),
        (RISE, {"p": 0.0}, r"p must be in \(0, 1\].*got 0.0"),
        (RISE, {"n_masks": 0}, "n_masks must be a whole number, 1 or more; got 0"),
        (RISE, {"n_masks": 10.5}, "n_masks must be a whole number, 1 or more; got 10.5"),
        (RISE, {"grid": 0}, "grid must be a whole number, 1 or more; got 0"),
        (SSCAM, {"n_samples": 0}, "n_samples must be a whole number, 1 or more; got 0"),
        (SSCAM, {"n_samples": -3}, "n_samples must be a whole number, 1 or more; got -3"),
        (SSCAM, {"sigma": -1.0}, "sigma must be 0 or more, the deviation of the noise; got -1.0"),
        (SSCAM, {"sigma": math.nan}, "sigma must be 0 or more.* got nan"),
        (SSCAM, {"sigma": math.inf}, "sigma must be 0 or more.* got inf"),
        (ISCAM, {"n_steps": 0}, "n_steps must be a whole number, 1 or more; got 0"),
    ],
    ids=str,
)
def test_an_option_that_there_is_not_is_named(tiny, method, option, text):
    with pytest.raises(ValueError, match=text):
        method(tiny, "relu2", **option)
