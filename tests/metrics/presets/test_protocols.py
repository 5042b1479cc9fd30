"""Every preset against its protocol written anew, slowly, for one image as the network takes it."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr
from skimage.transform import resize
from torch.nn import functional as F

from camfaith.methods import GradCAM
from camfaith.metrics import Case, preset
from camfaith.metrics.presets import PRESETS, quantus, xplique

SIZE = (24, 32)
CLOSE = 1e-4
"""How far an imputed pixel may be from the exact solution."""


@pytest.fixture
def scene(classifier, images, noise_maps):
    """Two images, a class and a map each: one of few values, one that is zero on a fifth of the pixels."""
    maps = torch.cat([noise_maps(1, *SIZE, levels=6), noise_maps(1, *SIZE)])
    maps[1] = (maps[1] - maps[1].flatten().kthvalue(160).values).clamp(min=0)
    return classifier, images(2, *SIZE), [0, 2], maps


@pytest.fixture
def each(scene):
    """Each image: the network's logits of arrays as it takes them, the image as such an array, its class and map."""
    classifier, pictures, targets, maps = scene

    def logits(array):
        with torch.no_grad():
            return classifier.network(torch.from_numpy(np.ascontiguousarray(array))[None])[0].numpy()

    taken = classifier.normalised(pictures).numpy()
    return [(logits, *row) for row in zip(taken, targets, maps.numpy(), strict=True)]


def probability(logits, array, target):
    return float(np.exp(logits(array)[target]) / np.exp(logits(array)).sum())


def logit(logits, array, target):
    return float(logits(array)[target])


def curve(score, f, z, target, order, counts, end, *, insert=False):
    """The score with the first so many pixels of an order exchanged."""
    start, end = (end, z) if insert else (z, end)
    found = []
    for count in counts:
        altered = start.copy().reshape(3, -1)
        altered[:, order[:count]] = end.reshape(3, -1)[:, order[:count]]
        found.append(score(f, altered.reshape(z.shape), target))
    return found


def rise(f, z, target, saliency, *, insert):
    dirac = np.zeros((11, 11))
    dirac[5, 5] = 1
    kernel = torch.from_numpy(gaussian_filter(dirac, 5)).expand(3, 1, 11, 11)
    blurred = F.conv2d(torch.from_numpy(z)[None], kernel, padding=5, groups=3)[0].numpy()
    order = np.flip(np.argsort(saliency.ravel(), kind="stable"))
    end = blurred if insert else np.zeros_like(z)
    told = np.array(curve(probability, f, z, target, order, [0, 224, 448, 672, 768], end, insert=insert))
    return (told.sum() - told[0] / 2 - told[-1] / 2) / (len(told) - 1)


def torchcam(f, z, target, saliency, *, insert):
    order = np.argsort(-saliency.ravel(), kind="stable")
    counts = [*range(0, 768, 39), 768]
    told = curve(probability, f, z, target, order, counts, np.zeros_like(z), insert=insert)
    return np.trapezoid(told, np.array(counts) / 768)


def fel(f, z, target, saliency, *, insert):
    order = np.argsort(saliency.ravel(), kind="stable")[::-1]
    told = np.array(
        curve(logit, f, z, target, order, [i * 768 // 10 for i in range(11)], np.zeros_like(z), insert=insert)
    )
    return np.mean(told[1:] + told[:-1]) / 2


def flipping(f, z, target, saliency):
    worth = np.broadcast_to(saliency, z.shape).ravel()
    order, altered, told = np.argsort(-worth, kind="stable"), z.copy().ravel(), []
    for start in range(0, z.size, 32):
        altered[order[start : start + 32]] = z.min()
        told.append(probability(f, altered.reshape(z.shape), target))
    return sum(told) - told[0] / 2 - told[-1] / 2


def patches(f, z, target, saliency):
    """The probability as patches of 8×8 pixels become black."""
    places = [(y, x) for y in range(0, 24, 8) for x in range(0, 32, 8)]
    sums = [saliency[y : y + 8, x : x + 8].sum() for y, x in places]
    altered, told = z.copy(), []
    for at in sorted(range(12), key=lambda at: (-sums[at], at)):
        y, x = places[at]
        altered[:, y : y + 8, x : x + 8] = z.min()
        told.append(probability(f, altered, target))
    return told


SLOW = {
    ("rise", "deletion", "auc"): lambda *one: rise(*one, insert=False),
    ("rise", "insertion", "auc"): lambda *one: rise(*one, insert=True),
    ("torchcam", "deletion", "auc"): lambda *one: torchcam(*one, insert=False),
    ("torchcam", "insertion", "auc"): lambda *one: torchcam(*one, insert=True),
    ("xplique", "deletion", "auc"): lambda *one: fel(*one, insert=False),
    ("xplique", "insertion", "auc"): lambda *one: fel(*one, insert=True),
    ("quantus", "pixel-flipping", "auc"): flipping,
    ("quantus", "region-perturbation", "aopc"): lambda *one: probability(*one[:3]) - np.mean(patches(*one)),
    ("quantus", "selectivity", "auc"): lambda *one: np.trapezoid(patches(*one)),
}


@pytest.mark.parametrize(("name", "metric", "column"), SLOW)
def test_a_curve_is_that_of_its_protocol(name, metric, column, scene, each):
    settings = {"features_in_step": 32} if metric == "pixel-flipping" else {}
    expected = [SLOW[name, metric, column](*one) for one in each]
    assert preset(name, metric, **settings)(*scene)[column].tolist() == pytest.approx(expected, abs=1e-8)


def stretched(values, eps):
    values = values - values.min()
    return values / (values.max() + eps)


def grown(values):
    return F.interpolate(torch.from_numpy(values)[None, None], SIZE, mode="bilinear", align_corners=False)[0, 0].numpy()


def heat(raw):
    return stretched(grown(stretched(np.maximum(raw, 0), 1e-7)), 1e-7)


SHOWN = {
    "torchcam": lambda raw: grown(stretched(np.maximum(raw, 0), 1e-8)),
    "pgc": heat,
    "xplique": lambda raw: stretched(np.abs(grown(raw)), 1e-8),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_map_shows_is_that_of_its_protocol(name, scene, each, noise_maps):
    coarse = noise_maps(2, 6, 8)
    found = preset(name, "average-drop")(*scene[:3], coarse)
    for i, (f, z, target, _) in enumerate(each):
        Y, O = (probability(f, array, target) for array in (z, z * SHOWN[name](coarse[i].numpy())))  # noqa: E741
        absolute = name == "pgc"
        assert float(found["drop"][i]) == pytest.approx(max(Y - O, 0) / (1 if absolute else Y), abs=1e-6)
        assert float(found["increase"][i]) == float(O > Y)
        if name == "xplique":
            assert float(found["gain"][i]) == pytest.approx(max(O - Y, 0) / (1 - Y), abs=1e-6)


def debiased(f, z, target, mask, percentiles, slow_imputed):
    """The means over percentiles with the most and with the least relevant pixels filled in."""
    means = []
    for worth in (mask, 1 - mask):
        told = []
        for percentile in percentiles:
            gone = worth >= np.percentile(worth, percentile)
            filled = np.zeros_like(z) if gone.all() else slow_imputed(torch.from_numpy(z), torch.from_numpy(gone))
            told.append(probability(f, np.asarray(filled), target))
        means.append(np.mean(told))
    return means


def test_pgc_is_arcc_and_all_that_it_is_made_of(scene, each, slow_imputed):
    """Thresholds remove tied pixels together: with a fifth of them at zero, at the percentile 10 all that there are."""
    classifier, _, _, maps = scene
    cam = GradCAM(classifier, target_layer="relu2")
    told = {name: preset("pgc", name, **({"noise": 0} if name in ("road", "arcc") else {})) for name in PRESETS["pgc"]}
    found = {name: metric(*scene, method=cam) for name, metric in told.items() if name != "average-drop"}
    for i, (f, z, target, raw) in enumerate(each):
        mask = heat(raw)
        shown = torch.from_numpy(z * mask * np.array(classifier.std)[:, None, None])
        shown = shown + torch.tensor(classifier.mean)[:, None, None]
        second = heat(cam.raw(shown[None], target)[0].numpy())
        coherency = (pearsonr(mask.ravel(), second.ravel())[0] + 1) / 2
        morf, lerf = debiased(f, z, target, mask, range(10, 100, 10), slow_imputed)
        road = [float(found["road"][column][i]) for column in ("road", "lerf", "morf")]
        assert road == pytest.approx([(lerf - morf) / 2, lerf, morf], abs=CLOSE)
        assert float(found["coherency"]["coherency"][i]) == pytest.approx(coherency, abs=1e-6)
        assert float(found["complexity"]["complexity"][i]) == pytest.approx(mask.mean())
        morf, lerf = debiased(f, z, target, mask, (20, 40, 60, 80), slow_imputed)
        parts = np.array([coherency, 1 - mask.mean(), np.clip(lerf - morf, 0, 1)]) + 1e-8
        assert float(found["arcc"]["arcc"][i]) == pytest.approx(3 / (1 / parts).sum(), rel=0.01, abs=CLOSE)
    assert (maps[1] == 0).double().mean() > 0.2


def test_noise_of_pgc_is_that_of_the_network_and_of_road_that_of_the_image(scene, watched):
    classifier, pictures, targets, maps = scene
    for name, sigma in (("pgc", 0.03 * torch.tensor(classifier.std)), ("road", torch.full((3,), 0.03))):
        seen, added = watched(classifier.network), []
        for noise in (0.03, 0):
            preset(name, "road", noise=noise)(classifier, pictures[:1], targets[:1], maps[:1], batch_size=1)
            added.append(torch.cat(seen)[1:] * torch.tensor(classifier.std)[:, None, None])
            seen.clear()
        drawn = added[0] - added[1]
        changed = drawn.abs().amax(1, keepdim=True) > 1e-9
        assert drawn.masked_select(changed).numel() > 10_000
        assert drawn.square().sum((0, 2, 3)).div(changed.sum()).sqrt().tolist() == pytest.approx(
            sigma.tolist(), rel=0.1
        )


def test_road_keeps_the_class_where_the_filled_in_image_does(scene, each, slow_imputed):
    jitter = torch.randn(SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    found = preset("road", "road", noise=0)(*scene)
    for i, (f, z, target, raw) in enumerate(each):
        order = np.argsort(-(stretched(raw, 1e-5) + 1e-4 * jitter).ravel(), kind="stable")
        for column in ("morf", "lerf"):
            right = []
            for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9):
                gone = np.zeros(768, bool)
                gone[order[: int(768 * share)] if column == "morf" else order[int(768 * share) :]] = True
                filled = slow_imputed(torch.from_numpy(z), torch.from_numpy(gone.reshape(SIZE)))
                right.append(np.argmax(f(filled.numpy())) == target)
            assert float(found[column][i]) == pytest.approx(np.mean(right))


def test_faithfulness_correlation_of_quantus_is_over_single_colours(scene, each):
    classifier, pictures, targets, _ = scene
    case = Case.of(classifier, pictures, targets)
    found = preset("quantus", "faithfulness-correlation", nr_runs=20, subset_size=50)(*scene)["correlation"]
    for i, (f, z, target, raw) in enumerate(each):
        sums, drops = [], []
        for member in quantus.RandomFeatures(20, 50).members(case, i).numpy():
            assert member.sum() == 50
            sums.append(np.broadcast_to(raw, z.shape)[member].sum())
            drops.append(logit(f, z, target) - logit(f, np.where(member, z.min(), z), target))
        assert float(found[i]) == pytest.approx(pearsonr(sums, drops)[0])


def test_mu_fidelity_is_spearmans_over_cells_and_zero_where_nothing_varies(scene, each):
    classifier, pictures, targets, maps = scene
    cells = torch.rand(40, 9, 9, generator=torch.Generator().manual_seed(3)) <= 0.2
    assert float(cells.double().mean()) == pytest.approx(0.2, abs=0.03)
    removed = [resize(one.numpy(), SIZE, order=0, anti_aliasing=False) > 0 for one in cells]
    assert np.array_equal(xplique.RandomCells(40, 0.2, 3).removed(SIZE).numpy(), removed)
    metric = preset("xplique", "mu-fidelity", nb_samples=40, seed=3)
    found = metric(classifier, pictures, targets, maps)["correlation"]
    for i, (f, z, target, raw) in enumerate(each):
        drops = [logit(f, z, target) - logit(f, z * ~gone, target) for gone in removed]
        assert float(found[i]) == pytest.approx(spearmanr(drops, [raw[gone].sum() for gone in removed])[0])
    assert metric(classifier, pictures, targets, torch.zeros_like(maps))["correlation"].tolist() == [0, 0]


@pytest.mark.parametrize(("arguments", "why"), [(("risse", "deletion"), "rise"), (("rise", "delection"), "deletion")])
def test_what_no_preset_has_is_told_with_what_is_near(arguments, why):
    with pytest.raises(ValueError, match=f"did you mean '{why}'"):
        preset(*arguments)


def test_steps_and_patches_must_fit(scene):
    with pytest.raises(ValueError, match="must divide the 768 pixels, got 224"):
        preset("quantus", "pixel-flipping")(*scene)
    classifier, pictures, targets, maps = scene
    with pytest.raises(ValueError, match="patches of 8×8 px do not fit into 24×30 px"):
        preset("quantus", "selectivity")(classifier, pictures[..., :30], targets, maps[..., :30])
