"""Attributions to superpixels: exact on linear models, loops with the same draws, and captum's own calls."""

import itertools
import sys

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLasso
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn

from camfaith.methods import FeatureAblation, KernelShap, Lime, ShapleyValueSampling
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.superpixels import superpixels

FEW = {"segments": 6, "compactness": 50}


class Game:
    """v of one image's superpixels: the logit of class `target` with the superpixels of a set there, others black."""

    def __init__(self, network: nn.Module, picture: Tensor, target: int, **options: float) -> None:
        self.network, self.picture, self.target = network, picture, target
        self.labels = superpixels(picture, **options)
        self.players = range(int(self.labels.max()) + 1)

    def __call__(self, there: set[int]) -> float:
        mask = sum((self.labels == player for player in there), torch.zeros_like(self.labels)).bool()
        with torch.no_grad():
            return float(self.network((mask * self.picture)[None])[0, self.target])

    def map(self, values: list[float]) -> Tensor:
        found = torch.zeros(self.labels.shape, dtype=torch.float64)
        for player, value in zip(self.players, values, strict=True):
            found[self.labels == player] = value
        return found


@pytest.fixture
def mixing() -> nn.Module:
    """A network for 13×13 pixels in which superpixels depend on each other."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 13 * 13, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    for number, parameter in enumerate(network.parameters()):
        nn.init.normal_(parameter, 0.0, 0.2, generator=torch.Generator().manual_seed(number))
    return network


def explained(method: type, network: nn.Module, pictures: Tensor, target: int, seed: int = 0, **options) -> Tensor:
    classifier = Classifier(network)
    evidence = classifier.evidence(pictures, target, seeds=torch.arange(len(pictures)) + seed)
    return method(classifier, **options).explain(evidence, classifier)


def test_superpixels_follow_the_colours_and_are_counted_from_zero():
    picture = torch.zeros(3, 12, 16)
    picture[0, :, :5] = 1
    picture[2, :, 5:] = 1
    labels = superpixels(picture, segments=2, compactness=0.01)
    assert (labels[:, :4] == labels[0, 0]).all()
    assert (labels[:, 6:] == labels[0, 15]).all()
    assert labels.unique().tolist() == [0, 1]


def test_noise_does_not_tear_superpixels_apart(images):
    for picture in images(2, 33):
        assert 25 < len(superpixels(picture, segments=50).unique()) < 75


@pytest.mark.parametrize(
    ("method", "options", "tolerance"),
    [
        (FeatureAblation, {}, 1e-9),
        (ShapleyValueSampling, {"samples": 2}, 1e-5),  # captum sums in single precision
        (KernelShap, {"samples": 80}, 1e-3),  # and solves its equations in it
        (Lime, {"samples": 80, "alpha": 0}, 1e-3),
    ],
)
def test_of_a_linear_model_every_superpixel_gets_what_it_adds(linear_model, images, method, options, tolerance):
    model, pictures = linear_model(9, 11), images(2, 9, 11)
    games = [Game(model, picture, 1, **FEW) for picture in pictures]
    assert all(len(game.players) > 2 for game in games)
    product = (model.weight[1] * pictures).sum(1).detach()
    expected = [
        game.map([float(product[row][game.labels == i].sum()) for i in game.players]) for row, game in enumerate(games)
    ]
    found = explained(method, model, pictures, 1, **FEW, **options)
    torch.testing.assert_close(found, torch.stack(expected), rtol=tolerance, atol=tolerance)


def test_feature_ablation_is_what_the_score_loses_without_a_superpixel(mixing, images):
    pictures = images(2, 13)
    for picture, found in zip(pictures, explained(FeatureAblation, mixing, pictures, 2, **FEW), strict=True):
        game = Game(mixing, picture, 2, **FEW)
        every = set(game.players)
        values = [game(every) - game(every - {i}) for i in game.players]
        torch.testing.assert_close(found, game.map(values), rtol=1e-9, atol=1e-12)


def marginal(game: Game, order: tuple[int, ...]) -> list[float]:
    """What each superpixel adds where they come in that order."""
    added = {i: game(set(order[: place + 1])) - game(set(order[:place])) for place, i in enumerate(order)}
    return [added[i] for i in game.players]


def test_shapley_value_sampling_is_the_mean_over_the_orders_drawn_from_the_images_seed(mixing, images):
    picture = images(1, 13)
    game = Game(mixing, picture[0], 2, **FEW)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        orders = [tuple(torch.randperm(len(game.players)).tolist()) for _ in range(3)]
    expected = np.mean([marginal(game, order) for order in orders], axis=0)
    found = explained(ShapleyValueSampling, mixing, picture, 2, seed=9, samples=3, **FEW)
    torch.testing.assert_close(found[0], game.map(expected), rtol=1e-5, atol=1e-6)


def test_the_values_of_few_superpixels_tend_to_the_shapley_values(mixing, images):
    picture, few = images(1, 13), {"segments": 5, "compactness": 50}
    game = Game(mixing, picture[0], 1, **few)
    every = np.array([marginal(game, order) for order in itertools.permutations(game.players)])
    assert 2 < len(game.players) < 6
    assert every.std(0).max() > 0.1 * np.abs(every.mean(0)).max()
    error = game.map(4 * every.std(0) / 400**0.5 + 1e-6)
    sampled, fitted = (
        explained(method, mixing, picture, 1, samples=samples, **few)[0]
        for method, samples in ((ShapleyValueSampling, 400), (KernelShap, 2000))
    )
    assert ((sampled - game.map(every.mean(0))).abs() <= error).all()
    assert ((fitted - game.map(every.mean(0))).abs() <= error).all()


@pytest.mark.parametrize(
    ("method", "tolerance"), [(ShapleyValueSampling, 1e-5), (KernelShap, 1e-3)], ids=["shapley", "kernel"]
)
def test_shapley_values_sum_over_superpixels_to_the_score_less_that_of_black(mixing, images, method, tolerance):
    pictures = images(2, 13)
    scores = Classifier(mixing).scores
    expected = (scores(pictures) - scores(torch.zeros_like(pictures)))[:, 1]
    found = explained(method, mixing, pictures, 1, samples=40, **FEW)
    for picture, one, total in zip(pictures, found, expected, strict=True):
        labels = superpixels(picture, **FEW)
        sums = sum(one[labels == i][0] for i in labels.unique())
        torch.testing.assert_close(sums, total, rtol=tolerance, atol=0)


def test_lime_fits_the_score_by_least_squares_weighted_by_nearness(mixing, images):
    picture, width = images(1, 13), 0.25
    game = Game(mixing, picture[0], 2, **FEW)
    count = len(game.players)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        z = torch.cat([torch.bernoulli(torch.full((1, count), 0.5)) for _ in range(50)]).double()
    scores = torch.tensor([game({i for i in game.players if row[i]}) for row in z]).double()
    d = 1 - torch.nn.functional.cosine_similarity(z, torch.ones_like(z))
    root = torch.exp(-(d**2) / (2 * width**2)).sqrt()[:, None]
    fit = torch.linalg.lstsq(root * torch.cat([z, torch.ones(50, 1)], 1), root * scores[:, None]).solution[:, 0]
    found = explained(Lime, mixing, picture, 2, seed=9, samples=50, alpha=0, width=width, **FEW)
    torch.testing.assert_close(found[0], game.map(fit[:-1].tolist()), rtol=1e-3, atol=1e-5)


def test_the_penalty_of_lime_silences_what_matters_little(mixing, images):
    found = [explained(Lime, mixing, images(1, 13), 2, samples=50, alpha=alpha, **FEW) for alpha in (0, 0.01, 1e3)]
    assert 0 < float(found[1].abs().sum()) < float(found[0].abs().sum())
    assert (found[2] == 0).all()


KERNEL = get_exp_kernel_similarity_function("cosine", 0.25)
BARE = {
    FeatureAblation: captum.attr.FeatureAblation,
    ShapleyValueSampling: captum.attr.ShapleyValueSampling,
    KernelShap: captum.attr.KernelShap,
    Lime: lambda model: captum.attr.Lime(
        model, SkLearnLasso(alpha=0.01), lambda _image, _changed, z, **_: KERNEL(torch.ones_like(z), z, z)
    ),
}


@pytest.mark.parametrize("method", BARE, ids=lambda method: method.name)
def test_captums_own_call_on_the_same_superpixels_gives_the_same(mixing, images, method):
    picture = images(1, 13)
    labels = superpixels(picture[0], **FEW)
    options = {} if method is FeatureAblation else {"samples": 30}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(17)
        theirs = BARE[method](mixing).attribute(
            picture, target=1, feature_mask=labels[None, None], **{f"n_{key}": v for key, v in options.items()}
        )
    found = explained(method, mixing, picture, 1, seed=17, **FEW, **options)
    torch.testing.assert_close(found, theirs.detach().to(found).mean(1), rtol=1e-4, atol=1e-6)


def test_one_superpixel_is_too_few_for_a_kernel(mixing, images):
    with pytest.raises(NotApplicable, match="SLIC finds one in this image; raise `segments`"):
        KernelShap(mixing, segments=1, samples=8).raw(images(1, 13), 1)


@pytest.mark.parametrize(
    ("method", "missing", "package"),
    [(FeatureAblation, "skimage.segmentation", "scikit-image"), (Lime, "sklearn", "scikit-learn")],
)
def test_what_is_not_installed_is_named_with_the_extra_that_holds_it(mixing, monkeypatch, method, missing, package):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"need {package}: pip install 'camfaith\[superpixels\]'"):
        method(mixing)
