"""What replaces removed pixels."""

import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from camfaith.metrics import Deletion, Insertion, baseline
from camfaith.metrics.probing.baselines import Black, Blur, Given, Mean, Noise
from camfaith.models import UnknownName

NONE = torch.zeros(3, dtype=torch.long)


def test_black_is_zero_and_mean_the_mean_colour_of_each_image(images):
    pictures = images(3, 5, 4)
    assert torch.equal(baseline("black")(pictures, NONE), torch.zeros(3, 3, 5, 4, dtype=torch.float64))
    for picture, found in zip(pictures, baseline("mean")(pictures, NONE), strict=True):
        for colour, plane in zip(picture, found, strict=True):
            assert plane.flatten().tolist() == pytest.approx([sum(colour.flatten().tolist()) / 20] * 20)


@pytest.mark.parametrize(("kernel", "sigma"), [(11, 5.0), (1, 2.0), (13, 0.7)])
def test_blur_is_the_gaussian_filter_of_scipy(images, kernel, sigma):
    pictures = images(2, 20, 15)
    found = baseline({"name": "blur", "kernel": kernel, "sigma": sigma})(pictures, NONE[:2])
    for i in range(2):
        for colour in range(3):
            expected = gaussian_filter(pictures[i, colour].numpy(), sigma, radius=kernel // 2, mode="mirror")
            assert abs(found[i, colour].numpy() - expected).max() < 1e-6


def test_blur_refuses_images_smaller_than_its_window(images):
    with pytest.raises(ValueError, match=r"a blur of 11 px does not fit images of \(5, 9\) px"):
        baseline("blur")(images(1, 5, 9), NONE[:1])


def test_noise_depends_on_the_seed_of_the_image_and_not_on_its_batch(images):
    pictures, seeds = images(3, 6), torch.tensor([4, 9, 4])
    found = baseline("noise")(pictures, seeds)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(baseline("noise")(pictures[1:2], seeds[1:2])[0], found[1])
    assert not torch.equal(baseline({"name": "noise", "seed": 1})(pictures, seeds), found)
    assert torch.equal(baseline("noise")(pictures.float(), seeds), found.float())


def test_noise_is_uniform():
    found = baseline("noise")(torch.empty(1, 3, 100, 100), NONE[:1])
    assert 0 <= float(found.min()) < 0.001
    assert 0.999 < float(found.max()) < 1
    assert float(found.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(found.var()) == pytest.approx(1 / 12, abs=0.002)


def test_a_colour_is_the_same_everywhere_and_grey_where_images_are(images):
    found = baseline({"name": "colour", "rgb": [1, 0.5, 0]})
    assert torch.equal(found(images(1, 2), NONE[:1])[0, :, 1, 1].float(), torch.tensor([1, 0.5, 0]))
    grey = Image.new("RGB", (1, 1), (255, 128, 0)).convert("L").getpixel((0, 0)) / 255
    assert float(found(torch.rand(1, 1, 2, 2), NONE[:1])[0, 0, 0, 0]) == pytest.approx(grey, abs=1 / 255)


def test_pictures_of_the_data_set_give_their_mean_colour_or_one_of_them_that_is_not_the_image_itself(images):
    pictures = images(4, 5, 6).float()
    mean = baseline({"name": "dataset-mean", "pool": pictures})(pictures[:2], NONE[:2])
    expected = [sum(pictures[:, colour].flatten().tolist()) / 120 for colour in range(3)]
    assert mean[1, :, 2, 3].tolist() == pytest.approx(expected)
    another = baseline({"name": "another", "pool": pictures, "seed": 3})
    seeds = torch.arange(40)
    found = another(pictures[:1].expand(40, -1, -1, -1), seeds)
    which = [[torch.equal(one, picture) for picture in pictures].index(True) for one in found]
    assert set(which) == {1, 2, 3}
    assert torch.equal(another(pictures[:1], seeds[7:8])[0], found[7])


@pytest.mark.parametrize("kind", [Deletion, Insertion])
def test_linear_fills_in_from_what_is_left_and_ends_in_the_mean_colour(
    kind, tiny, images, noise_maps, slow_order, slow_imputed, watched
):
    pictures, maps, seeds = images(2, 6, 5), noise_maps(2, 6, 5), torch.tensor([4, 9])
    seen = watched(tiny)
    kind(steps=3, baseline={"name": "linear", "noise": 0.02})(tiny, pictures, 0, maps, seeds=seeds, batch_size=4)
    altered = torch.cat(seen[1:])
    noise = baseline({"name": "linear", "noise": 0.02})(torch.zeros_like(pictures), seeds)
    for i, picture in enumerate(pictures):
        order = slow_order(maps[i], int(seeds[i]))
        for point, count in enumerate((10, 20)):
            leaving = order[:count] if kind is Deletion else order[count:]
            gone = torch.tensor([pixel in leaving for pixel in range(30)]).view(6, 5)
            expected = torch.where(gone, slow_imputed(picture, gone) + noise[i], picture)
            torch.testing.assert_close(altered[2 * i + point], expected, rtol=0, atol=2e-4)
        end = picture.mean((1, 2), keepdim=True) + noise[i]
        torch.testing.assert_close(altered[4 + i], end, rtol=0, atol=1e-12)


def test_an_image_can_be_a_tensor_an_array_a_file_or_a_picture_and_is_made_grey_for_grey_images(tmp_path, images):
    picture = Image.new("RGB", (5, 4), (255, 0, 255))
    picture.save(tmp_path / "purple.png")
    pixels = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 4, 5)
    ways = [pixels, pixels.numpy(), picture, {"image": picture}, {"image": str(tmp_path / "purple.png")}]
    assert len({baseline(way) for way in ways}) == 1
    given = baseline(picture)
    assert torch.equal(given(images(2, 4, 5).float(), NONE[:2]), pixels.expand(2, -1, -1, -1))
    grey = torch.tensor(picture.convert("L").getpixel((0, 0)) / 255)
    torch.testing.assert_close(given(torch.rand(2, 1, 4, 5), NONE[:2]), grey.expand(2, 1, 4, 5), rtol=0, atol=1 / 510)
    wide = baseline(Image.new("F", (5, 4), 0.3))
    assert torch.equal(wide(torch.rand(1, 3, 4, 5), NONE[:1]), torch.full((1, 3, 4, 5), 0.3))


def test_an_image_must_have_the_size_of_the_images(images):
    with pytest.raises(ValueError, match=r"baseline image is \(3, 4, 4\), the images are \(3, 4, 5\)"):
        baseline(torch.zeros(3, 4, 4))(images(1, 4, 5), NONE[:1])
    with pytest.raises(ValueError, match=r"3×H×W floating-point image, got torch\.uint8"):
        baseline(torch.zeros(3, 4, 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"3×H×W floating-point image, got torch.float32 of shape \(1, 3, 4, 4\)"):
        baseline(torch.zeros(1, 3, 4, 4))


def test_a_given_image_does_not_follow_later_changes_of_the_tensor(images):
    pixels = torch.zeros(3, 4, 5)
    given = baseline(pixels)
    pixels += 1
    assert (given(images(1, 4, 5), NONE[:1]) == 0).all()


def test_equal_settings_are_equal_values_and_others_are_not():
    """The blur is that of Petsiuk et al. unless told otherwise."""
    grey = torch.full((3, 4, 4), 0.1)
    same = [
        ("black", Black()),
        ("mean", Mean()),
        ("blur", {"name": "blur", "sigma": 5.0}, Blur(), Blur(11, 5.0)),
        ({"name": "blur", "sigma": 4.0}, Blur(11, 4.0)),
        ("noise", Noise()),
        ({"name": "noise", "seed": 3}, Noise(3)),
        (torch.zeros(3, 4, 4), Given.of(torch.zeros(3, 4, 4))),
        (torch.zeros(3, 2, 8),),
        (grey, grey.clone()),
    ]
    made = [{baseline(way) for way in ways} for ways in same]
    assert [len(ways) for ways in made] == [1] * len(same)
    assert len(set.union(*made)) == len(same)
    assert Deletion(baseline="mean") == Deletion(baseline={"name": "mean"})


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("blurr", "unknown baseline 'blurr'.*'blur'"),
        ("gray", "unknown baseline 'gray'.*known: another, black, blur, colour, dataset-mean, linear, mean"),
        ({"name": "colour"}, "baseline 'colour'.*rgb"),
        ({"name": "colour", "rgb": [1, 2, 0]}, "baseline 'colour'"),
        ({"name": "another", "pool": "all"}, "how many pictures it shall have, got 'all'"),
        (["black", "mean"], "a metric has one baseline"),
        ("panel", "a metric has one baseline"),
        ({"name": "blur", "kernel": 4}, "kernel must be odd"),
        ({"name": "blur", "kernel": -1}, "baseline 'blur'"),
        ({"name": "blur", "sigma": 0}, "baseline 'blur'"),
        ({"name": "colour"}, "baseline 'colour' needs rgb"),
        ({"name": "blur", "radius": 3}, "baseline 'blur'"),
        ({"name": "black", "value": 0}, "baseline 'black'"),
        ({"name": "noise", "kernel": 3}, "baseline 'noise'"),
        ({"image": "grey.png", "sigma": 3}, "a baseline image takes no other settings"),
        ({}, "a name, or a table with a name or an image"),
        *((wanted, "expected a baseline's name, a table, an image or a Baseline") for wanted in (3, None, [0, 0, 0])),
    ],
)
def test_what_means_nothing_is_refused(wanted, said):
    with pytest.raises((ValueError, UnknownName), match=said):
        baseline(wanted)


def test_a_frozen_value_of_ones_own_is_a_baseline():
    class White:
        def __call__(self, pictures, seeds):
            return torch.ones_like(pictures)

    white = White()
    assert baseline(white) is white
    assert Deletion(baseline=white).baseline is white
