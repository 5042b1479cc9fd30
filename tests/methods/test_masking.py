"""Score-CAM, its variants and RISE: known values, the papers' formulas in loops, and other libraries."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import ISCAM, RISE, SSCAM, ScoreCAM
from camfaith.models import Classifier

LAYERS = [("fundus-resnet", "layer3"), ("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")]
KIN = [ScoreCAM, SSCAM, ISCAM]
FEW: dict[type, dict[str, Any]] = {SSCAM: {"n_samples": 2}, ISCAM: {"n_steps": 3}}


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


def test_scorecam_of_pgc_agrees_with_pytorch_grad_cam(logit_of, pgc, evidence):
    layer = "features"  # more channels than go into one batch
    classifier, found = evidence("fundus-effnet", layer)
    a, targets = found.activations[layer], [logit_of(c) for c in (1, 3)]
    with pgc.ScoreCAM(classifier, [classifier.network.get_submodule(layer)]) as theirs:
        weights = theirs.get_cam_weights(found.images, None, targets, a.numpy(), None)
    ours = ScoreCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


@pytest.mark.parametrize(("name", "layer"), LAYERS)
@pytest.mark.parametrize("method", KIN, ids=named)
def test_variants_of_torchcam_agree_with_torchcam(torchcam, evidence, method, name, layer):
    kind = {ScoreCAM: torchcam.ScoreCAM, SSCAM: torchcam.SSCAM, ISCAM: torchcam.ISCAM}[method]
    asked = {ScoreCAM: {}, SSCAM: {"num_samples": 2}, ISCAM: {"num_samples": 3}}[method]
    classifier, found = evidence(name, layer)
    found = found.select([1])
    with torch.random.fork_rng(), kind(classifier, f"network.{layer}", **asked) as extractor:
        torch.manual_seed(4)  # torchcam draws from the global generator
        (theirs,) = extractor([3], classifier(found.images), normalized=False)
    ours = method(classifier, layer, variant="torchcam", **FEW.get(method, {})).explain(found, classifier)
    close(ours.clamp(min=0), theirs.detach(), 1e-5)


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
