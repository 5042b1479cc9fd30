"""Which layers a network has, in what order they ran, and which is the target."""

import warnings
from collections import OrderedDict

import pytest
import torch
from torch import nn

from camfaith.models import Classifier, LayerError, survey, target_layer
from camfaith.models.layers import Layer, last_spatial_layer
from camfaith.models.tokens import Grid


def network() -> nn.Module:
    inner = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))
    layers = OrderedDict(inner=inner, avg=nn.AvgPool2d(2), pool=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten())
    return nn.Sequential(layers, ).append(nn.Linear(4, 2)).eval()  # fmt: skip


def test_layers_are_listed_as_they_finished():
    found = survey(Classifier(network()), torch.rand(2, 3, 8, 8))
    assert [(layer.name, layer.shape) for layer in found] == [
        ("inner.conv", (4, 6, 6)),
        ("inner.norm", (4, 6, 6)),
        ("inner", (4, 6, 6)),
        ("avg", (4, 3, 3)),
        ("pool", (4, 1, 1)),
        ("flat", (4,)),
        ("4", (2,)),
    ]
    assert [layer.name for layer in found if layer.passive] == ["avg", "pool", "4"]


def test_a_survey_leaves_no_hook_and_no_mode_behind():
    model = network().train()
    before = model.inner.norm.running_mean.clone()
    survey(Classifier(model), torch.rand(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        survey(Classifier(model), torch.rand(2, 1, 8, 8))
    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert torch.equal(model.inner.norm.running_mean, before)


def test_the_last_layer_that_is_more_than_pooling_is_the_target():
    assert target_layer(Classifier(network()), torch.rand(1, 3, 8, 8)) == "inner"
    assert target_layer(Classifier(network(), layer="inner.conv"), torch.rand(1, 3, 8, 8)) == "inner.conv"


def test_a_network_without_a_spatial_layer_has_no_target():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(LayerError, match="no layer with a spatial output"):
        target_layer(Classifier(flat), torch.rand(1, 3, 4, 4))


PATCHES, TOKENS = Grid(14, 14), Grid(14, 14, "B×T×K", 1)
EMBED = Layer("embed", "Conv2d", (16, 14, 14), False, PATCHES)
NORM = Layer("norm", "LayerNorm", (197, 16), False, TOKENS)
VALUES = Layer("values", "Linear", (197, 16), True, TOKENS)
POSITION = Layer("position", "Conv2d", (8, 14, 14), False, PATCHES)
UNREAD = Layer("block", "Block", (197, 16), False, TOKENS, reached=False)
EARLY = Layer("early", "Block", (196, 8), False, Grid(14, 14, "B×T×K"))


@pytest.mark.parametrize(
    ("layers", "found"),
    [
        ([EMBED, NORM, VALUES, UNREAD], "norm"),
        ([UNREAD, VALUES, NORM, EMBED], "embed"),
        ([EMBED, NORM, POSITION, UNREAD], "norm"),  # a convolution inside a block whose tokens the score does not read
        ([EMBED, NORM, POSITION], "position"),
        ([EARLY, Layer("class", "Block", (1, 16), False)], "early"),
    ],
)
def test_a_layer_after_which_the_score_reads_no_token_is_passed_over(layers, found):
    assert last_spatial_layer(layers) == found


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([EMBED, UNREAD], "'block' gives tokens, and the score depends on no patch"),
        (
            [EARLY, Layer("late", "Block", (49, 16), False)],
            r"'late' gives rows \(B×49×16\), no convolution's cells.*name an earlier one",
        ),
    ],
)
def test_where_the_last_tokens_are_not_read_or_not_placed_there_is_no_target(layers, message):
    with pytest.raises(LayerError, match=message):
        last_spatial_layer(layers)


class Attending(nn.Module):
    """Attention spelt out in modules, as many people write it: its matrix has four axes and is no grid."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8)
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.softmax, self.out, self.head = nn.Softmax(3), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, images):
        patches = self.embed(images).flatten(2).mT
        return self.head(self.mix(torch.cat([patches.mean(1, keepdim=True).detach(), patches], 1))[:, 0])

    def mix(self, tokens):
        x = self.norm(tokens)
        q, k, v = (part(x).unflatten(2, (2, 4)).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = self.softmax(q @ k.mT) @ v
        return tokens + self.out(mixed.transpose(1, 2).flatten(2))


def test_the_last_norm_before_attention_is_the_target_and_not_what_is_inside_it():
    found = survey(Classifier(Attending().eval()), torch.rand(1, 3, 16, 16))
    assert [(layer.name, layer.cells, layer.reached) for layer in found] == [
        ("embed", 16, True),
        ("norm", 16, True),
        ("query", 16, False),
        ("key", 16, True),
        ("value", 16, True),
        ("softmax", 0, True),
        ("out", 16, False),
        ("head", 0, True),
    ]
    assert last_spatial_layer(found) == "norm"


class Merging(nn.Module):
    """Tokens merged two by two by a linear layer, as in Swin, then seen in windows side by side along the batch.

    Without `places`, as many tokens are made by attention: each is a mean of all."""

    def __init__(self, *, places: bool = True) -> None:
        super().__init__()
        self.places = places
        self.embed, self.merge, self.norm = nn.Conv2d(3, 4, 4, 4), nn.Linear(16, 6), nn.LayerNorm(6)
        self.inside, self.pool, self.head = nn.LayerNorm(6), nn.AdaptiveAvgPool1d(1), nn.Linear(6, 2)

    def forward(self, images):
        cells = self.embed(images).unflatten(2, (-1, 2)).unflatten(4, (-1, 2))  # B×K×h×2×w×2
        merged = self.merge(cells.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
        latent = merged.mean(1, keepdim=True) * torch.linspace(1, 2, 24)[:, None]
        tokens = self.norm(merged if self.places else latent)
        windows = self.inside(tokens.unflatten(1, (2, -1)).flatten(0, 1)).unflatten(0, (-1, 2)).flatten(1, 2)
        return self.head(self.pool((tokens + windows).mT).flatten(1))


def test_tokens_merged_without_a_convolution_have_their_cells_and_windows_of_them_are_passed_over():
    network, image = Merging().eval(), torch.rand(1, 3, 32, 48)
    found = {layer.name: layer for layer in survey(Classifier(network), image)}
    assert found["norm"].grid == Grid(4, 6, "B×T×K", merged=True)
    assert not found["inside"].of_images
    assert target_layer(Classifier(network), image) == "norm"
    before, changed = image, image.clone()
    changed[:, :, 16:24, 40:48] += 1
    one, other = (Classifier(network).evidence(x, 0, ["norm"]).activations["norm"] for x in (before, changed))
    assert (one != other).any(1)[0].nonzero().tolist() == [[2, 5]]
    with pytest.raises(LayerError, match=r"'norm' gives rows \(B×24×6\), no convolution's cells, whole or merged, in"):
        target_layer(Classifier(Merging(places=False).eval()), image)
    with pytest.raises(LayerError, match=r"'norm' has no spatial output.*merged in their places.*got 1×24×6"):
        Classifier(Merging(places=False).eval()).evidence(image, 0, ["norm"])


class Shared(nn.Module):
    """One norm for the patches and for their mean, in either order."""

    def __init__(self, *, mean_first: bool) -> None:
        super().__init__()
        self.mean_first = mean_first
        self.embed, self.block = nn.Conv2d(3, 4, 4, 4), nn.GELU()
        self.norm, self.head = nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, images):
        tokens = self.block(self.embed(images).flatten(2).mT)
        if self.mean_first:
            mean = self.norm(tokens.mean(1))
            return self.head(mean + self.norm(tokens).mean(1))
        return self.head(self.norm(self.norm(tokens).mean(1)))


@pytest.mark.parametrize("mean_first", [False, True])
def test_a_module_that_runs_on_tokens_and_on_less_is_no_target(mean_first):
    assert target_layer(Classifier(Shared(mean_first=mean_first)), torch.rand(1, 3, 16, 16)) == "block"


class Again(nn.Module):
    """One block of attention that runs three times."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.block, self.head = nn.Conv2d(3, 8, 4, 4), Attending(), nn.Linear(8, 3)
        self.block.norm.weight.data.uniform_(0.5, 1.5)

    def forward(self, images):
        patches = self.embed(images).flatten(2).mT
        tokens = torch.cat([patches.mean(1, keepdim=True).detach(), patches], 1)
        for _ in range(3):
            tokens = self.block.mix(tokens)
        return self.head(tokens[:, 0])


def test_of_a_layer_of_tokens_that_runs_again_the_last_run_is_found():
    network, images = Again().eval(), torch.rand(1, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert target_layer(Classifier(network), images) == "block.norm"
    with pytest.warns(UserWarning, match=r"'block.norm' runs more than once.*last call"):
        assert Classifier(network).evidence(images, 1, ["block.norm"]).gradients["block.norm"].any()
