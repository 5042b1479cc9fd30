"""Parameter randomisation and its two repairs, by networks that are made random one copy at a time."""

import copy
import zlib

import numpy as np
import pytest
import torch
from scipy.stats import entropy, spearmanr

from camfaith.methods import GradCAM, HiResCAM
from camfaith.metrics import EfficientMPRT, ParameterRandomisation, SmoothMPRT
from camfaith.metrics.functional import efficient_mprt, parameter_randomisation
from camfaith.models.maps import rectify, upsample

RANDOM = {
    "cascading": [["head"], ["head", "conv2"], ["head", "conv2", "conv1"]],
    "independent": [["head"], ["conv2"], ["conv1"]],
}


def random_copy(network, layers, seed):
    """A network with those layers new, as Quantus makes one, but each from a seed of its own."""
    made = copy.deepcopy(network)
    for name in layers:
        with torch.random.fork_rng():
            torch.manual_seed(seed * 1_000_003 + zlib.crc32(name.encode()))
            new = made.get_submodule(name).float()
            new.reset_parameters()
            new.double()
    return made


def shown(kind, network, pictures, targets):
    method = kind(network, "relu1")
    raw = method.raw(pictures, targets)
    return rectify(raw) if method.rectified else raw


def rho(a, b):
    return spearmanr(a.flatten(), b.flatten()).statistic


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM])
@pytest.mark.parametrize("order", RANDOM)
def test_it_is_the_mean_likeness_to_the_maps_of_random_networks(order, kind, tiny, images):
    pictures, targets, method = images(2, 9), [1, 2], kind(tiny, "relu1")
    metric = ParameterRandomisation(order=order, steps=3, seed=4)
    given = (tiny, pictures, targets, method.raw(pictures, targets))
    found, before = metric(*given, method=method), shown(kind, tiny, pictures, targets)
    others = [shown(kind, random_copy(tiny, layers, 4), pictures, targets) for layers in RANDOM[order]]
    for place in range(2):
        every = [rho(before[place], other[place]) for other in others if other[place].unique().numel() > 1]
        assert found["spearman"][place].item() == pytest.approx(np.mean(every))
        assert found["varied"][place].item() == pytest.approx(len(every) / 3)
    assert found["spearman"].max() < 0.99


def test_few_steps_are_spread_evenly_and_the_last_is_all_random(tiny, images):
    pictures, method = images(1, 9), HiResCAM(tiny, "relu1")
    metric = ParameterRandomisation(steps=2)
    found = metric(tiny, pictures, 0, method.raw(pictures, 0), method=method)["spearman"]
    before = shown(HiResCAM, tiny, pictures, 0)
    expected = [
        rho(before, shown(HiResCAM, random_copy(tiny, RANDOM["cascading"][many - 1], 0), pictures, 0))
        for many in (2, 3)
    ]
    assert found.item() == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("metric", [ParameterRandomisation(), SmoothMPRT()], ids=str)
def test_a_map_that_does_not_look_at_the_network_is_wholly_alike(metric, tiny, images, brightness):
    pictures = images(2, 9)
    found = metric(tiny, pictures, 0, pictures.sum(1), method=brightness)
    assert found["spearman"].tolist() == pytest.approx([1, 1])
    with pytest.raises(ValueError, match="maps of 4×4 cannot be compared with the method's of 9×9: give its raw maps"):
        metric(tiny, pictures, 0, torch.rand(2, 4, 4), method=brightness)


def test_constant_maps_are_counted_and_a_failed_one_leaves_no_value():
    maps, others = torch.rand(4, 3, 3), torch.rand(4, 4, 3, 3)
    others[1, :3], others[2], others[3, 0, 0, 0], maps[0] = 0, 5, torch.nan, 1
    found = parameter_randomisation(maps, others)
    one = rho(maps[1], others[1, 3])
    assert found["spearman"].tolist() == pytest.approx([torch.nan, one, torch.nan, torch.nan], nan_ok=True)
    assert found["varied"].tolist() == pytest.approx([1, 0.25, 0, torch.nan], nan_ok=True)


def test_complexity_is_the_entropy_of_numpys_histogram(noise_maps):
    a, b = noise_maps(3, 8, 9), noise_maps(3, 8, 9, levels=6, seed=2)
    a[2], expected = 7, []
    for one, other in zip(a, b, strict=True):
        before, after = (entropy(np.histogram(each, bins=20)[0]) for each in (one.numpy(), other.numpy()))
        expected.append((before, after, (after - before) / before if before else torch.nan))
    found = efficient_mprt(a, b, bins=20)
    told = zip(*(found[column].tolist() for column in ("complexity", "complexity_random", "rise")), strict=True)
    for got, wanted in zip(told, expected, strict=True):
        assert got == pytest.approx(wanted, nan_ok=True)


def test_efficient_mprt_compares_with_the_network_that_is_all_random(tiny, images):
    pictures, method = images(2, 12), GradCAM(tiny, "relu1")
    found = EfficientMPRT(bins=30, seed=2)(tiny, pictures, 1, method.raw(pictures, 1), method=method)
    after = shown(GradCAM, random_copy(tiny, RANDOM["cascading"][-1], 2), pictures, 1)
    expected = efficient_mprt(*(upsample(m, (12, 12)) for m in (shown(GradCAM, tiny, pictures, 1), after)), 30)
    for column, values in found.items():
        torch.testing.assert_close(values, expected[column], equal_nan=True)


def test_smooth_mprt_compares_mean_maps_over_the_same_noise(tiny, images):
    pictures, seeds, method = images(2, 9), [3, 8], GradCAM(tiny, "relu1")
    metric = SmoothMPRT(steps=1, samples=4, noise=0.2, seed=6)
    raw = method.raw(pictures, 0)
    found = metric(tiny, pictures, 0, raw, method=method, seeds=torch.tensor(seeds))["spearman"]
    random = random_copy(tiny, RANDOM["cascading"][-1], 6)
    for place, (picture, seed) in enumerate(zip(pictures, seeds, strict=True)):
        sources = [torch.Generator().manual_seed(seed * 1_000_003 + 6 * 10_007 + sample) for sample in range(3)]
        noise = torch.stack([torch.randn(picture.shape, generator=source) for source in sources]).double()
        noisy = torch.cat([picture[None], picture + 0.2 * (picture.max() - picture.min()) * noise])
        means = [shown(GradCAM, network, noisy, 0).mean(0) for network in (tiny, random)]
        assert found[place].item() == pytest.approx(rho(*means))
