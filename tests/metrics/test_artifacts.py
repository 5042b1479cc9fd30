"""Mass in corners, borders and outside the content, and whether the model supports it."""

import pytest
import torch
from torch import nn

from camfaith.metrics import Case, CornerArtifact
from camfaith.metrics.artifacts import Partition

PLACES = {"": "corners", "border_": "border", "outside_": "outside"}
CORNERS = torch.zeros(12, 12, dtype=torch.bool)
for rows in (slice(0, 2), slice(10, 12)):
    CORNERS[rows, :2] = CORNERS[rows, 10:] = True
TOP_LEFT = CORNERS & (torch.arange(12)[:, None] < 6) & (torch.arange(12) < 6)
EVERYWHERE = torch.ones(12, 12, dtype=torch.bool)


def judge(model, maps, pictures, contents=None, **settings):
    return CornerArtifact(score="logit", **settings)(model, pictures, 1, maps, contents=contents)


def slow_planes(place, height, width, cells, content):
    """The place (the corners one by one) and the nine tiles of the rest, pixel by pixel."""
    parts = 4 if place == "corners" else 1
    planes = [[[False] * width for _ in range(height)] for _ in range(parts + 9)]
    fraction = cells if place == "corners" else 2 * cells
    deep, wide = (max(1, round(side / fraction)) for side in (height, width))
    for r in range(height):
        for c in range(width):
            at_row, at_column = r < deep or r >= height - deep, c < wide or c >= width - wide
            inside = {
                "corners": at_row and at_column,
                "border": at_row or at_column,
                "outside": content is not None and not bool(content[r, c]),
            }[place]
            part = 2 * (r >= height / 2) + (c >= width / 2) if place == "corners" else 0
            planes[part if inside else parts + 3 * (3 * r // height) + 3 * c // width][r][c] = True
    return torch.tensor(planes)


@pytest.mark.parametrize("score", ["probability", "logit"])
def test_every_column_is_what_its_definition_says(score, classifier, images, noise_maps, slow_score):
    pictures, maps, targets = images(3, 13, 10), noise_maps(3, 13, 10), [2, 0, 1]
    contents = noise_maps(3, 13, 10, seed=5) > -1
    metric = CornerArtifact(cells=4, score=score, baseline="mean")
    found = metric(classifier, pictures, targets, maps, contents=contents, batch_size=7)
    for prefix, place in PLACES.items():
        for i in range(3):
            planes = slow_planes(place, 13, 10, 4, contents[i])
            whole, effects = slow_score(classifier, pictures[i], targets[i], score), []
            for plane in planes:
                altered = torch.where(plane, pictures[i].mean((1, 2), keepdim=True), pictures[i])
                effects.append(abs(whole - slow_score(classifier, altered, targets[i], score)))
            mass, parts = maps[i].abs(), planes[:-9]
            shares = [float(mass[part].sum() / mass.sum()) for part in parts]
            supports = [effect / sum(effects) for effect in effects[: len(parts)]]
            expected = {
                "share": sum(shares),
                "excess": sum(shares) - float(parts.any(0).double().mean()),
                "peak": float(parts.any(0).flatten()[maps[i].argmax()]),
                "support": sum(supports),
                "unsupported": sum(max(0.0, m - s) for m, s in zip(shares, supports, strict=True)),
            }
            assert 0.001 < expected["support"] < 0.9
            for name, value in expected.items():
                assert float(found[prefix + name][i]) == pytest.approx(value, abs=1e-9), (prefix, name)


@pytest.mark.parametrize(
    ("shown", "seen", "share", "support", "unsupported"),
    [
        (CORNERS, ~CORNERS, 1, 0, 1),  # the model does not see them
        (CORNERS, CORNERS, 1, 1, 0),  # and sees nothing else
        (CORNERS, TOP_LEFT, 1, 1, 0.75),  # a corner that the model uses excuses no mass in the others
        (CORNERS, 1 + 3 * CORNERS, 1, 1 / 3, 2 / 3),  # 16·4 of 16·4 + 128
        (~CORNERS, CORNERS, 0, 1, 0),  # a map that shows less than the model uses is not marked down
        (EVERYWHERE, 0 * CORNERS, 16 / 144, 0, 16 / 144),  # a model that feels nothing supports nothing
    ],
)
def test_what_the_model_uses_is_supported(shown, seen, share, support, unsupported, pixel_sum):
    found = judge(pixel_sum(seen.double()), shown[None].double(), torch.ones(1, 3, 12, 12))
    columns = [float(found[name]) for name in ("share", "excess", "support", "unsupported")]
    assert columns == pytest.approx([share, share - 16 / 144, support, unsupported])


@pytest.mark.parametrize("logit", [-14.17, 16.1])  # p = 7e-7 and 1 − 1e-7
def test_support_counts_however_near_to_0_or_1_the_probability_is(logit):
    class Sure(nn.Module):
        """The corner at the top left makes the odds a third smaller; no other pixel counts."""

        def forward(self, x):
            seen = logit - 0.4 * x[:, 0, 0, 0]
            return torch.stack([torch.zeros_like(seen), seen], 1)

    found = CornerArtifact()(Sure(), torch.ones(1, 3, 12, 12), 1, CORNERS[None].double())
    assert [float(found[name]) for name in ("support", "unsupported")] == pytest.approx([1, 0.75])


def test_what_is_felt_no_more_than_rounding_supports_nothing():
    class Noisy(nn.Module):
        """Logits that a removal changes by little more than rounding."""

        def forward(self, images):
            return torch.stack([0 * images[:, 0, 0, 0], 5 + 2e-6 * images[:, 0, 0, 0]], 1)

    found = judge(Noisy(), TOP_LEFT[None].double(), torch.rand(1, 3, 12, 12))
    assert [float(found[name]) for name in ("support", "unsupported")] == [0, 1]


def test_equal_largest_values_share_the_peak(classifier, images):
    maps = torch.zeros(3, 12, 12)
    for place in ((0, 0), (5, 5), (0, 5), (7, 7)):  # one in a corner, two in the border
        maps[0][place] = 2
    maps[1, 11, 10], maps[2, 6, 6], maps[2, 0, 0] = 1, 3, -4
    found = judge(classifier, maps, images(3, 12))
    assert found["peak"].tolist() == [0.25, 1, 0]
    assert found["border_peak"].tolist() == [0.5, 1, 0]


def test_outside_is_all_that_the_content_leaves_and_nothing_without_a_mask_of_it(pixel_sum):
    content = torch.zeros(12, 12, dtype=torch.bool)
    content[2:10, 3:9] = True
    contents = torch.stack([content, EVERYWHERE, ~EVERYWHERE])  # all of it, and no mask
    maps, pictures = (~content).double().expand(3, -1, -1), torch.ones(3, 3, 12, 12)
    for seen, support in ((content, 0), (~content, 1)):
        found = judge(pixel_sum(seen.double()), maps, pictures, contents)
        for name, value in (("share", 1), ("support", support), ("unsupported", 1 - support)):
            assert found["outside_" + name].tolist() == pytest.approx([value, torch.nan, torch.nan], nan_ok=True)
            assert found["border_" + name].isfinite().all()
    assert judge(pixel_sum(content.double()), maps, pictures)["outside_share"].isnan().all()


@pytest.mark.parametrize("place", PLACES.values())
@pytest.mark.parametrize("size", [(12, 12), (13, 7), (3, 3), (37, 50)])
@pytest.mark.parametrize("cells", [3, 11])
def test_the_parts_cover_every_pixel_exactly_once(place, size, cells, noise_maps):
    contents = noise_maps(1, *size) > 0
    bare = torch.zeros(1, 3, *size), torch.zeros(1), torch.zeros(1, 2), torch.zeros(1), None
    for known in (contents, None):
        planes = Partition(place, cells)(Case(*bare, known), 0)
        assert torch.equal(planes, slow_planes(place, *size, cells, None if known is None else known[0]))
        assert (planes.sum(0) == 1).all()
        assert len(planes) == Partition(place, cells).count


def test_what_cannot_be_known_is_nan(classifier, images):
    class Fragile(nn.Module):
        def forward(self, x):
            seen = torch.where((x == 0).flatten(1).any(1), torch.nan, x.mean((1, 2, 3)))
            return torch.stack([-seen, seen], 1)

    found = judge(Fragile(), torch.ones(2, 12, 12), images(2, 12))
    assert found["support"].isnan().all()
    assert found["unsupported"].isnan().all()
    assert found["share"].tolist() == pytest.approx([16 / 144] * 2)
    zero = judge(classifier, torch.zeros(1, 12, 12), images(1, 12), CORNERS[None])
    assert all(value.isnan().all() for value in zero.values())
