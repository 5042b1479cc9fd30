"""Lattices whose energy can be counted, the spectrum by Fourier, and a shortcut of stride 2 that makes one."""

from itertools import permutations

import numpy as np
import pytest
import torch
from torch import nn

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import Checkerboard, functional


def drawn(height, width, shows):
    return torch.tensor([[[float(shows(i, j)) for j in range(width)] for i in range(height)]])


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (2, 3)])
@pytest.mark.parametrize(
    ("shows", "expected"),
    [
        (lambda i, j: i % 2 == 0 and j % 2 == 0, (1, 1, 1)),
        (lambda i, j: (i % 2 == 1 and j % 2 == 0) * (-1) ** i / (1 + i), (1, 1, 1)),  # of any sign, and fading
        (lambda i, j: 3 - 2 * (j % 2), (0, 0.5, 0)),
        (lambda i, j: (i + j) % 2, (0, 0, 1)),
        (lambda i, j: -2, (0, 0, 0)),
    ],
    ids=["comb", "other comb", "faint columns", "chess", "constant"],
)
def test_lattices_have_the_energy_that_they_are_drawn_with(shows, expected, size):
    found = {name: float(value) for name, value in functional.checkerboard(drawn(*size, shows)).items()}
    assert (found["rows"], found["columns"], found["both"]) == pytest.approx(expected)


def test_it_is_the_spectrum_of_the_mass_at_the_lattices_frequency(noise_maps):
    maps = noise_maps(3, 6, 10)
    found = functional.checkerboard(maps)
    spectrum = np.abs(np.fft.fft2(maps.abs().numpy()))
    for name, (u, v) in {"rows": (3, 0), "columns": (0, 5), "both": (3, 5)}.items():
        assert found[name].tolist() == pytest.approx(spectrum[:, u, v] / spectrum[:, 0, 0])
    energy = sum(found[name] ** 2 for name in ("rows", "columns", "both")) / 3
    assert found["energy"].tolist() == pytest.approx(energy.tolist())


def test_the_excess_is_none_over_all_arrangements_of_a_maps_values():
    found = functional.checkerboard(torch.tensor([*permutations([0.0, 0, 1, 2, 3, 3, 5, 9])]).view(-1, 2, 4))
    assert float(found["excess"].mean()) == pytest.approx(0, abs=1e-12)
    assert found["energy"].std() > 0.05


def test_a_layer_read_at_every_other_place_shows_in_hirescam_and_not_in_gradcam(images):
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    pictures, found = images(2, 16), {}
    for kind in (HiResCAM, GradCAM):
        method = kind(network, "1")
        found[kind] = Checkerboard()(network, pictures, 1, method.raw(pictures, 1), method=method)
    assert found[HiResCAM]["energy"].tolist() == pytest.approx([1, 1])
    assert (found[HiResCAM]["excess"] > 0.9).all()
    assert (found[GradCAM]["energy"] < 0.02).all()


def test_a_method_that_ends_in_a_relu_is_judged_after_it(tiny, images, noise_maps, worked_out):
    maps = noise_maps(2, 6, 7)
    _, found = worked_out(Checkerboard(), tiny, images(2, 12), 0, maps, rectified=True)
    torch.testing.assert_close(found, functional.checkerboard(maps.clamp(min=0)))


def test_a_zero_map_and_a_single_row_have_no_lattice():
    assert all(value.isnan().all() for value in functional.checkerboard(torch.zeros(1, 4, 4)).values())
    assert all(value.isnan().all() for value in functional.checkerboard(torch.rand(2, 1, 4)).values())
