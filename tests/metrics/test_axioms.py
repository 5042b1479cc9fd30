"""Conservation and sensitivity: exact where theory says so, and one forward per channel elsewhere."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from camfaith.metrics import Case, Conservation, Engine, Maps
from camfaith.models import Classifier
from camfaith.models.inside.ablation import tail
from camfaith.models.speed.setup import Setup


class Branches(nn.Module):
    """The target layer `side` is one of two branches that are joined: the rest cannot take many of it for one image."""

    def __init__(self) -> None:
        super().__init__()
        self.side, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2, 3)
        self.last = nn.Conv2d(6, 5, 3)
        self.head = nn.Linear(5 * 16, 3)

    def forward(self, x):
        both = torch.cat([F.relu(self.side(x)), F.relu(self.other(x))], 1)
        return self.head(F.relu(self.last(both)).flatten(1))


class CountsItsBatch(nn.Module):
    """Its code uses the number of images it was given behind the target layer `side`."""

    def __init__(self, check: bool = False) -> None:
        super().__init__()
        self.side, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 3)
        self.check = check

    def forward(self, x):
        grown = torch.tanh(self.side(x))
        assert len(grown) == len(x) or not self.check
        return self.head(grown.view(len(x), -1))


class Skips(nn.Module):
    """The input joins again behind the target layer `side` by addition: one image can meet many activations."""

    def __init__(self) -> None:
        super().__init__()
        self.side, self.head = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3 * 64, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.side(x) + x).flatten(1))


NETWORKS = {
    "branches": (Branches, False),
    "batch": (CountsItsBatch, False),
    "assertion": (lambda: CountsItsBatch(check=True), False),
    "skips": (Skips, True),
}
"""And whether the rest behind `side` runs alone."""


def build(name):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return NETWORKS[name][0]().double().eval()


def gradcam(classifier, layer, images, targets):
    """GradCAM's map before ReLU, and what each channel adds to its sum, straight from the definition."""
    kept = []
    handle = classifier.network.get_submodule(layer).register_forward_hook(lambda _m, _i, out: kept.append(out))
    score = classifier(images)[torch.arange(len(images)), targets].sum()
    handle.remove()
    weights = torch.autograd.grad(score, kept[0])[0].mean((2, 3), keepdim=True)
    each = (weights * kept[0]).detach()
    return each.sum(1), each.sum((2, 3))


def slow_sensitivity(classifier, layer, image, target, contributions):
    """Σ|Δ − contribution| / Σ|Δ|, each channel switched off by a hook of its own in a forward of its own."""

    def logit_without(channel):
        def off(_module, _inputs, output):
            changed = output.clone()
            if channel is not None:
                changed[:, channel] = 0
            return changed

        handle = classifier.network.get_submodule(layer).register_forward_hook(off)
        with torch.no_grad():
            logits = classifier(image[None])
        handle.remove()
        return float(logits[0, target])

    whole = logit_without(None)
    drops = [whole - logit_without(channel) for channel in range(len(contributions))]
    gaps = [abs(drop - float(added)) for drop, added in zip(drops, contributions, strict=True)]
    return sum(gaps) / sum(map(abs, drops))


@pytest.mark.parametrize("biased", [False, True])
def test_gradcam_is_conserved_up_to_the_bias_of_a_gap_linear_head(biased, tiny, classifier, images):
    if not biased:
        nn.init.zeros_(tiny.head.bias)
    pictures, targets = images(4, 9), torch.tensor([0, 1, 2, 2])
    raw, contributions = gradcam(classifier, "relu2", pictures, targets)
    found = Conservation()(classifier, pictures, targets, raw, layer="relu2", contributions=contributions)
    logits = classifier(pictures).detach()[torch.arange(4), targets]
    bias = tiny.head.bias.detach()[targets]
    torch.testing.assert_close(found["residual"], (bias / logits).abs(), atol=1e-12, rtol=0)
    assert found["residual_corrected"].max() < 1e-12
    assert found["sensitivity"].max() < 1e-12
    torch.testing.assert_close(found["logit"], logits)
    torch.testing.assert_close(found["explainable"], logits - bias)
    torch.testing.assert_close(found["map_sum"], logits - bias)


@pytest.mark.parametrize("name", ["conv1", "relu1", *NETWORKS])
def test_sensitivity_is_one_forward_per_channel_whether_the_head_runs_alone_or_not(name, classifier, images):
    layer, alone = ("side", NETWORKS[name][1]) if name in NETWORKS else (name, True)
    classifier = Classifier(build(name)) if name in NETWORKS else classifier
    pictures, targets = images(3, 8), torch.tensor([0, 1, 2])
    raw, contributions = gradcam(classifier, layer, pictures, targets)
    for batch_size in (1, 64):
        found = Conservation()(
            classifier, pictures, targets, raw, batch_size=batch_size, layer=layer, contributions=contributions
        )["sensitivity"]
        for i in range(3):
            expected = slow_sensitivity(classifier, layer, pictures[i], int(targets[i]), contributions[i])
            assert expected > 0.01
            assert float(found[i]) == pytest.approx(expected, abs=1e-10)
    assert tail(classifier, layer, pictures[:1]).alone is alone


def test_a_head_alone_needs_one_forward_per_image_and_any_other_one_per_channel_in_batches(images, watched):
    for name, forwards, tails, batch in (("skips", 2, 8, 1), ("branches", 10, 0, 3)):
        classifier = Classifier(build(name))
        case = Case.of(classifier, images(2, 8), 0)
        tail(classifier, "side", case.images[:1])
        seen = watched(classifier.network)
        engine, metric = Engine(classifier, Setup(3)), Conservation()
        given = Maps(torch.rand(2, 4, 4), case, layer="side")
        engine.answer(case, {"it": (given, metric.probes("side", 64))})
        assert (engine.meter.forwards, engine.meter.tails) == (forwards, tails)
        assert max(map(len, seen)) == batch


@pytest.mark.parametrize("grid", [(4, 5), (9, 7)])
def test_the_ledger_leads_from_the_sum_of_the_map_to_that_of_the_heat_map(grid, classifier, images, noise_maps):
    pictures, raw = images(3, 9, 7), noise_maps(3, *grid)
    raw[2] = -raw[2].abs() - 1  # nothing speaks for the class
    found = Conservation()(classifier, pictures, 0, raw, layer="conv1")
    shown = F.interpolate(raw.clamp(min=0)[:, None], size=(9, 7), mode="bilinear", align_corners=False)[:, 0]
    for i in range(3):
        low, high = float(shown[i].min()), float(shown[i].max())
        heat = (shown[i] - low) / (high - low) if high - low > 1e-12 else (shown[i] > 0).double()
        logit = abs(float(found["logit"][i]))
        end = float(heat.sum()) * grid[0] * grid[1] / 63 / logit
        steps = sum(float(found[name][i]) for name in ("relu", "upsampling", "normalisation"))
        assert float(found["map_sum"][i]) / logit + steps == pytest.approx(end, abs=1e-10)
        assert float(found["map_sum"][i]) == pytest.approx(float(raw[i].sum()))
        grown = float(shown[i].sum()) * grid[0] * grid[1] / 63 - float(raw[i].clamp(min=0).sum())
        assert float(found["upsampling"][i]) == pytest.approx(grown / logit, abs=1e-10)
        assert float(found["relu"][i]) == pytest.approx(-float(raw[i].clamp(max=0).sum()) / logit)


@pytest.mark.parametrize("kind", ["black", "mean"])
def test_a_map_of_the_input_is_held_against_the_baseline(kind, pixel_sum, images, noise_maps):
    weight, pictures = noise_maps(1, 6, 6)[0], images(3, 6)
    model = pixel_sum(weight, bias=2.0)
    blank = torch.zeros_like(pictures) if kind == "black" else pictures.mean((2, 3), keepdim=True).expand_as(pictures)
    maps = (pictures - blank).sum(1) * weight  # integrated gradients of a linear model
    found = Conservation(baseline=kind)(model, pictures, 1, maps)
    logit, empty = (model(x).detach()[:, 1] for x in (pictures, blank))
    torch.testing.assert_close(found["explainable"], logit - empty)
    assert found["residual_corrected"].max() < 1e-12
    torch.testing.assert_close(found["residual"], (empty / logit).abs(), atol=1e-12, rtol=0)
    assert found["sensitivity"].isnan().all()


def test_a_negative_logit_is_a_score_like_any_other(pixel_sum):
    image = torch.full((1, 3, 2, 2), 1 / 3, dtype=torch.float64)
    model = pixel_sum(torch.full((2, 2), -0.5))  # the logit is −2, and so is what black leaves to explain
    for total, expected in ((-2, 0), (-1, 0.5), (0, 1), (2, 2)):
        found = Conservation()(model, image, 1, torch.full((1, 2, 2), total / 4))
        assert float(found["residual"]) == pytest.approx(expected)
        assert float(found["residual_corrected"]) == pytest.approx(expected)


def test_a_tiny_denominator_leaves_its_column_undefined(pixel_sum):
    class Balanced(nn.Module):
        """Class 1 is at zero for the image and far from it for its baseline; class 2 never moves from 5."""

        def forward(self, x):
            seen = x.mean((1, 2, 3))
            return torch.stack([torch.full_like(seen, 9), 4 * seen - 2, torch.full_like(seen, 5)], 1)

    image, maps = torch.full((2, 3, 2, 2), 0.5, dtype=torch.float64), torch.ones(2, 2, 2)
    found = Conservation()(Balanced(), image, [1, 2], maps)
    assert found["residual"].isnan().tolist() == [True, False]
    assert found["relu"].isnan().tolist() == [True, False]
    assert found["residual_corrected"].isnan().tolist() == [False, True]
    assert float(found["residual"][1]) == pytest.approx(1 / 5)
    assert float(found["residual_corrected"][0]) == pytest.approx(1)
    assert Conservation()(pixel_sum(torch.zeros(2, 2)), image, 1, maps)["residual"].isnan().all()


def test_sensitivity_needs_what_each_channel_adds_and_channels_that_matter(tiny, images):
    given, raw = (tiny, images(2, 9), 0), torch.rand(2, 4, 4)
    found = Conservation()(*given, raw, layer="relu2")
    assert found["sensitivity"].isnan().all()
    assert found["residual"].isfinite().all()
    nn.init.zeros_(tiny.head.weight)
    assert Conservation()(*given, raw, layer="relu2", contributions=torch.zeros(2, 5))["sensitivity"].isnan().all()


@pytest.mark.parametrize("shape", [(2, 1), (1, 5), (5,)])
def test_contributions_are_one_per_image_and_channel(shape, classifier, images):
    with pytest.raises(ValueError, match="contributions: expected 2×5, one per image and channel, got"):
        Conservation()(classifier, images(2, 9), 0, torch.rand(2, 4, 4), layer="relu2", contributions=torch.rand(shape))
