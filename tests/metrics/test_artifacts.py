"""Mass in corners, borders and outside the content, and whether the model supports it."""

import pytest
import torch
from torch import nn

from camfaith.metrics import CornerArtifact
from camfaith.metrics.artifacts import Partition
from camfaith.metrics.probing.case import Case

PLACES = {"": "corners", "border_": "border", "outside_": "outside"}


def corners(side=12, reach=2):
    """The four corner cells of a 6×6 grid, drawn one by one."""
    plane = torch.zeros(side, side, dtype=torch.bool)
    for rows in (slice(0, reach), slice(side - reach, side)):
        for columns in (slice(0, reach), slice(side - reach, side)):
            plane[rows, columns] = True
    return plane


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


def test_a_uniform_map_has_the_area_as_its_share_and_no_excess(classifier, images):
    contents = torch.ones(2, 12, 12, dtype=torch.bool)
    contents[:, :3] = False
    found = judge(classifier, torch.full((2, 12, 12), 0.3), images(2, 12), contents)
    for prefix, area in (("", 16 / 144), ("border_", 44 / 144), ("outside_", 36 / 144)):
        assert found[prefix + "share"].tolist() == pytest.approx([area] * 2)
        assert found[prefix + "excess"].tolist() == pytest.approx([0, 0])
        assert found[prefix + "peak"].tolist() == pytest.approx([area] * 2)


def test_corners_that_the_model_does_not_see_are_unsupported(pixel_sum, images):
    found = judge(pixel_sum((~corners()).double()), corners()[None].double(), images(1, 12))
    assert [float(found[name]) for name in ("share", "support", "unsupported", "peak")] == [1, 0, 1, 1]
    assert float(found["excess"]) == pytest.approx(1 - 16 / 144)


def test_corners_that_are_all_the_model_sees_are_supported(pixel_sum, images):
    pictures = torch.ones_like(images(1, 12))
    found = judge(pixel_sum(corners().double()), corners()[None].double(), pictures)
    assert [float(found[name]) for name in ("share", "support", "unsupported")] == pytest.approx([1, 1, 0])


def test_a_corner_that_the_model_uses_excuses_no_mass_in_the_others(pixel_sum):
    """The model reads the top left corner alone; the map has a quarter of its mass in each."""
    used = corners() & (torch.arange(12)[:, None] < 6) & (torch.arange(12) < 6)
    found = judge(pixel_sum(used.double()), corners()[None].double(), torch.ones(1, 3, 12, 12))
    assert [float(found[name]) for name in ("share", "support", "unsupported")] == pytest.approx([1, 1, 0.75])


@pytest.mark.parametrize("logit", [-14.17, 16.1])  # p = 7e-7 and 1 − 1e-7
def test_support_counts_however_near_to_0_or_1_the_probability_is(logit):
    class Sure(nn.Module):
        """The corner at the top left makes the odds a third smaller; no other pixel counts."""

        def forward(self, x):
            seen = logit - 0.4 * x[:, 0, 0, 0]
            return torch.stack([torch.zeros_like(seen), seen], 1)

    found = CornerArtifact()(Sure(), torch.ones(1, 3, 12, 12), 1, corners()[None].double())
    assert [float(found[name]) for name in ("support", "unsupported")] == pytest.approx([1, 0.75])


def test_support_is_the_share_of_what_the_model_feels(pixel_sum):
    """Each corner pixel weighs 4 and each other 1: 16·4 of 16·4 + 128 is a third."""
    model = pixel_sum(torch.where(corners(), 4.0, 1.0))
    found = judge(model, corners()[None].double(), torch.ones(1, 3, 12, 12, dtype=torch.float64))
    assert float(found["support"]) == pytest.approx(1 / 3)
    assert float(found["unsupported"]) == pytest.approx(2 / 3)


def test_a_map_that_shows_less_than_the_model_uses_is_not_marked_down(pixel_sum, images):
    found = judge(pixel_sum(corners().double()), (~corners())[None].double(), images(1, 12))
    assert [float(found[name]) for name in ("share", "support", "unsupported")] == [0, 1, 0]


def test_a_model_that_feels_nothing_supports_nothing(pixel_sum, images):
    found = judge(pixel_sum(torch.zeros(12, 12)), torch.ones(1, 12, 12), images(1, 12))
    assert float(found["support"]) == 0
    assert float(found["unsupported"]) == pytest.approx(16 / 144)


def test_mass_is_counted_by_its_absolute_value(classifier, images, noise_maps):
    maps, signs = noise_maps(2, 12, 12).abs() + 0.1, noise_maps(2, 12, 12, seed=8).sign()
    plain, signed = judge(classifier, maps, images(2, 12)), judge(classifier, maps * signs, images(2, 12))
    for name in ("share", "border_share", "unsupported", "border_unsupported"):
        torch.testing.assert_close(plain[name], signed[name])


def test_equal_largest_values_share_the_peak(classifier, images):
    maps = torch.zeros(3, 12, 12)
    for place in ((0, 0), (5, 5), (0, 5), (7, 7)):  # one in a corner, two in the border
        maps[0][place] = 2
    maps[1, 11, 10], maps[2, 6, 6], maps[2, 0, 0] = 1, 3, -4
    found = judge(classifier, maps, images(3, 12))
    assert found["peak"].tolist() == [0.25, 1, 0]
    assert found["border_peak"].tolist() == [0.5, 1, 0]


def test_outside_is_all_that_the_content_leaves(pixel_sum, images):
    contents = torch.zeros(1, 12, 12, dtype=torch.bool)
    contents[0, 2:10, 3:9] = True
    found = judge(pixel_sum(contents[0].double()), (~contents).double(), images(1, 12), contents)
    assert [float(found["outside_" + name]) for name in ("share", "support", "unsupported")] == [1, 0, 1]
    found = judge(pixel_sum((~contents[0]).double()), (~contents).double(), images(1, 12), contents)
    assert [float(found["outside_" + name]) for name in ("share", "support", "unsupported")] == [1, 1, 0]


def test_without_a_content_mask_nothing_is_outside(classifier, images):
    contents = torch.ones(3, 12, 12, dtype=torch.bool)
    contents[0] = False  # no mask
    contents[1, 0, 0] = False
    found = judge(classifier, torch.ones(3, 12, 12), images(3, 12), contents)
    none = judge(classifier, torch.ones(3, 12, 12), images(3, 12))
    for name in ("share", "excess", "peak", "support", "unsupported"):
        assert found["outside_" + name].isnan().tolist() == [True, False, True]
        assert none["outside_" + name].isnan().all()
        assert none[name].isfinite().all()
        assert none["border_" + name].isfinite().all()


@pytest.mark.parametrize("place", PLACES.values())
@pytest.mark.parametrize("size", [(12, 12), (13, 7), (5, 9), (3, 3), (37, 50), (224, 224)])
@pytest.mark.parametrize("cells", [3, 6, 11])
def test_the_parts_cover_every_pixel_exactly_once(place, size, cells, noise_maps):
    contents = noise_maps(1, *size) > 0
    unknown = Case(torch.zeros(1, 3, *size), torch.zeros(1), torch.zeros(1, 2), torch.zeros(1))
    known = Case(torch.zeros(1, 3, *size), torch.zeros(1), torch.zeros(1, 2), torch.zeros(1), None, contents)
    partition = Partition(place, cells)
    for case in (known, unknown):
        planes = partition(case, 0)
        assert planes.shape == (partition.count, *size)
        assert (planes.sum(0) == 1).all()
    expected = {"outside": ~contents[0]}.get(place, partition.region(unknown, 0))
    assert torch.equal(partition(known, 0)[: partition.parts].any(0), expected)
    if size != (224, 224):
        assert torch.equal(partition(known, 0), slow_planes(place, *size, cells, contents[0]))


def test_a_zero_map_has_no_share_of_anything(classifier, images):
    maps = torch.stack([torch.zeros(12, 12), torch.ones(12, 12)])
    contents = torch.ones(2, 12, 12, dtype=torch.bool)
    contents[:, 0] = False
    for value in judge(classifier, maps, images(2, 12), contents).values():
        assert value.isnan().tolist() == [True, False]


def test_a_model_that_answers_nan_supports_nothing_that_could_be_known(images):
    class Fragile(nn.Module):
        def forward(self, x):
            seen = torch.where((x == 0).flatten(1).any(1), torch.nan, x.mean((1, 2, 3)))
            return torch.stack([-seen, seen], 1)

    found = judge(Fragile(), torch.ones(2, 12, 12), images(2, 12))
    assert found["support"].isnan().all()
    assert found["unsupported"].isnan().all()
    assert found["share"].tolist() == pytest.approx([16 / 144] * 2)


def test_what_is_felt_no_more_than_rounding_supports_nothing():
    class Noisy(torch.nn.Module):
        """Logits that a removal changes by little more than rounding."""

        def forward(self, images):
            return torch.stack([5 + 2e-6 * images[:, 0, 0, 0], 0 * images[:, 0, 0, 0]], 1)

    images, maps = torch.rand(2, 3, 12, 12), torch.zeros(2, 12, 12)
    maps[:, 0, 0] = 1
    found = CornerArtifact(score="logit")(Noisy(), images, 0, maps)
    assert found["support"].tolist() == [0, 0]
    assert found["unsupported"].tolist() == [1, 1]
