"""Where the cells of an output lie: what is told from a forward, and the way to B×K×h×w and back."""

import pytest
import torch
from torch import nn

from camfaith.models import Classifier, LayerError
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.ablation import ablate_channels
from camfaith.models.tokens import Grid, GridFinder, watched


def seen(size, *grids, widths=(12,), count=1, tokens_first=False) -> GridFinder:
    finder = GridFinder(set(widths), tokens_first=tokens_first)
    finder.begin(torch.zeros(count, 3, *size))
    for grid in grids:
        finder.note(torch.zeros(count, 5, *grid))
    return finder


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 6, 4, 2), Grid(4, 2)),
        ((1, 4, 2, 12), Grid(4, 2, "B×h×w×K")),
        ((1, 12, 4, 2), Grid(4, 2)),
        ((1, 4, 2, 7), Grid(2, 7)),  # no linear layer takes 7 numbers
        ((1, 2, 8, 12), Grid(8, 12)),  # 2×8 cells would lie across the image
        ((1, 8, 12), Grid(4, 2, "B×T×K")),
        ((1, 9, 12), Grid(4, 2, "B×T×K", prefix=1)),
        ((1, 15, 12), Grid(4, 2, "B×T×K", prefix=7)),
        ((1, 16, 12), None),  # as many left over as there are cells
        ((1, 7, 12), Grid(2, 3, "B×T×K", prefix=1)),  # the cells of another convolution
        ((1, 32, 12), Grid(8, 4, "B×T×K", merged=True)),  # 16×8 merged two by two
        ((1, 33, 12), None),  # a class token is not merged
        ((1, 32, 1), None),  # 32 channels, pooled
        ((1, 5, 12), None),
        ((1, 12), None),
        ((1,), None),
    ],
)
def test_a_shape_is_read_by_what_the_forward_has_shown(shape, expected):
    assert seen((64, 32), (1, 1), (16, 8), (4, 2), (2, 3)).grid(torch.zeros(shape)) == expected


def test_as_many_channels_as_rows_and_columns_are_channels_first():
    assert seen((32, 32)).grid(torch.zeros(1, 12, 12, 12)) == Grid(12, 12)


@pytest.mark.parametrize("shape", [(12, 4, 2), (4, 2, 12), (8, 12)], ids=str)
def test_what_has_not_one_entry_for_each_image_has_no_cells_of_it(shape):
    finder = seen((64, 32), (4, 2), count=3)
    assert finder.grid(torch.zeros(3, *shape)) is not None
    assert [finder.grid(torch.zeros(count, *shape)) for count in (1, 6, 12)] == [None] * 3


def test_a_convolution_of_windows_has_no_cells_of_the_image():
    finder = seen((64, 32))
    finder.note(torch.zeros(4, 5, 4, 2))
    assert finder.grid(torch.zeros(1, 8, 12)) is None


def test_as_many_images_as_tokens_are_told_apart_only_where_tokens_never_come_first():
    rows = torch.zeros(8, 8, 12)
    assert seen((64, 32), (4, 2), count=8).grid(rows) == Grid(4, 2, "B×T×K")
    assert seen((64, 32), (4, 2), count=8, tokens_first=True).grid(rows) is None
    assert seen((64, 32), (4, 2), count=5, tokens_first=True).grid(rows[:5]) == Grid(4, 2, "B×T×K")


@pytest.mark.parametrize("batch_first", [True, False])
def test_pytorchs_attention_says_whether_tokens_come_first(batch_first):
    with watched(nn.MultiheadAttention(4, 1, batch_first=batch_first)) as finder:
        finder.begin(torch.zeros(8, 3, 8, 4))
        finder.note(torch.zeros(8, 4, 4, 2))
    assert (finder.grid(torch.zeros(8, 8, 4)) is None) is not batch_first


def test_a_new_forward_forgets_the_grids_of_the_last():
    network = nn.Sequential(nn.Conv2d(3, 4, 2, 2), nn.Flatten(2))
    with watched(network) as finder:
        network(torch.zeros(1, 3, 8, 4))
        assert finder.grid(torch.zeros(1, 8, 4)) == Grid(4, 2, "B×T×K")
        network(torch.zeros(1, 3, 12, 12))
        assert finder.size == (12, 12)
        assert finder.grid(torch.zeros(1, 8, 4)) is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize(
    ("grid", "shape", "place"),
    [
        (Grid(2, 3), (2, 5, 2, 3), lambda k, i, j: (k, i, j)),
        (Grid(2, 3, "B×h×w×K"), (2, 2, 3, 5), lambda k, i, j: (i, j, k)),
        (Grid(2, 3, "B×T×K"), (2, 6, 5), lambda k, i, j: (3 * i + j, k)),
        (Grid(2, 3, "B×T×K", 2), (2, 8, 5), lambda k, i, j: (2 + 3 * i + j, k)),
    ],
    ids=lambda value: value.form if isinstance(value, Grid) else "",
)
def test_cells_are_found_at_their_place_and_put_back_there(grid, shape, place):
    output = torch.rand(shape)
    cells = grid.of(output)
    assert cells.shape == (2, 5, 2, 3)
    for k in range(5):
        for i in range(2):
            for j in range(3):
                assert torch.equal(cells[:, k, i, j], output[(slice(None), *place(k, i, j))])
    assert torch.equal(grid.into(output, cells), output)


def test_what_has_no_place_stays_for_every_row_of_cells():
    grid, output = Grid(2, 2, "B×T×K", 1), torch.rand(1, 5, 3)
    found = grid.into(output, torch.zeros(4, 3, 2, 2))
    assert torch.equal(found[:, 0], output[:, 0].expand(4, -1))
    assert not found[:, 1:].any()


def patches_of(size, *before, kernel=4, stride=4) -> Grid | None:
    network = nn.Sequential(*before, nn.Conv2d(3, 5, kernel, stride), nn.Flatten(2))
    with watched(network) as finder:
        return finder.grid(network(torch.zeros(1, 3, *size)).mT)


def test_padding_is_forgotten_with_the_forward_that_had_it():
    finder = seen((8, 10))
    finder.note(torch.zeros(1, 5, 2, 3), padded=True)
    finder.begin(torch.zeros(1, 3, 8, 12))
    finder.note(torch.zeros(1, 5, 2, 3))
    assert finder.grid(torch.zeros(1, 6, 5)) == Grid(2, 3, "B×T×K")


def test_patches_that_reach_beyond_the_image_are_refused_and_not_enlarged_images_and_overlapping_windows():
    with pytest.raises(NotApplicable, match=r"whole patches; those of 8×10 are padded to make 2×3.*resize or crop"):
        patches_of((8, 10), nn.ZeroPad2d((0, 2, 0, 0)))
    assert patches_of((8, 12), nn.ZeroPad2d(0)) == Grid(2, 3, "B×T×K")
    assert patches_of((8, 12), nn.Upsample(scale_factor=2)) == Grid(4, 6, "B×T×K")
    assert patches_of((8, 12), nn.ZeroPad2d(1), stride=2) == Grid(4, 6, "B×T×K")


class Patches(nn.Module):
    """A class token beside 4×2 patches, mixed by a linear layer over the tokens, and a head on the class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 5, 4, 4)
        self.norm = nn.LayerNorm(5)
        self.mix = nn.Linear(9, 9)
        self.head = nn.Linear(5, 3)

    def forward(self, images):
        tokens = self.embed(images).flatten(2).mT
        tokens = self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        return self.head((tokens + self.mix(tokens.mT).mT)[:, 0])


@pytest.fixture
def patches() -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Classifier(Patches().double().eval())


def test_a_channel_is_switched_off_in_the_patches_and_not_in_the_class_token(patches):
    image, network = torch.rand(1, 3, 16, 8, dtype=torch.float64), patches.network
    with torch.no_grad():
        tokens = network.embed(image).flatten(2).mT
        tokens = network.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        expected = []
        for off in [[0], [1], [2], [3], [4], [0, 1, 2, 3, 4]]:
            gated = tokens.clone()
            for channel in off:
                for patch in range(1, 9):
                    gated[0, patch, channel] = 0
            expected.append(network.head((gated + network.mix(gated.mT).mT)[:, 0]))
    for batch in (1, 4, 16):
        found, forwards, tails = ablate_channels(patches, "norm", image, batch)
        torch.testing.assert_close(found, torch.cat(expected))
        assert (forwards, tails) == (-(-6 // batch), 6)


class PlainRows(nn.Module):
    """Rows of tokens in a network without a module that says so."""

    def __init__(self):
        super().__init__()
        self.patches, self.rows, self.head = nn.Conv2d(3, 4, 2, 2), nn.Flatten(2), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.rows(self.patches(x)).mean(1))


class Turned(nn.Flatten):
    def forward(self, x):
        return super().forward(x).mT


class PlainTokens(PlainRows):
    def __init__(self):
        super().__init__()
        self.rows, self.head = Turned(2), nn.Linear(4, 3)


def test_convolutions_are_watched_where_rows_are_met_and_not_elsewhere():
    network, images, hooks = PlainTokens(), torch.rand(2, 3, 6, 4), []
    network.register_forward_hook(lambda *_: hooks.append(len(network.patches._forward_hooks)))
    cells = Classifier(network).evidence(images, 1, ["rows"]).activations["rows"]
    torch.testing.assert_close(cells, network.patches(images).detach())
    Classifier(network).evidence(images, 1, ["patches"])
    assert hooks == [1, 1]  # to watch, and then to record alone


def test_a_layer_that_cannot_be_read_is_named_after_both_looks():
    with pytest.raises(LayerError, match=r"'rows' has no spatial output: expected .*B×T×K.* got 1×4×6; name a layer"):
        Classifier(PlainRows()).evidence(torch.rand(1, 3, 6, 4), 1, ["rows"])
