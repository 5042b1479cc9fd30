"""Every metric on maps from anywhere, without the harness: metric(model, images, targets, maps)."""

import dataclasses
import itertools

import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from skimage.measure import label
from torch.nn.functional import pad

from camfaith.metrics import (
    ABPC,
    AOPC,
    ROAD,
    SHIPPED,
    Deletion,
    FaithfulnessCorrelation,
    Infidelity,
    Insertion,
    MaxSensitivity,
    Metric,
    PixelFlipping,
    PointingGame,
    SensitivityN,
    SpearmanAgreement,
    find,
)
from camfaith.models import Classifier, UnknownName

SIDE, COUNT, TARGETS = 12, 3, [2, 0, 1]
MAIN = {
    "deletion": "auc",
    "insertion": "auc",
    "sensitivity-n": "correlation",
    "conservation": "residual",
    "corner-artifact": "unsupported",
    "energy-pointing-game": "mass",
    "aopc": "aopc",
    "abpc": "abpc",
    "pixel-flipping": "mean",
    "average-drop": "drop",
    "faithfulness-correlation": "correlation",
    "infidelity": "infidelity_scaled",
    "road": "road",
    "max-sensitivity": "max",
    "pointing-game": "hit",
    "several-objects": "found",
    "sparseness": "gini",
    "signed-removal": "top_drop",
    "shift-equivariance": "spearman",
    "corner-causes": "share",
    "spearman-agreement": "spearman",
}
SETTINGS = {
    Deletion: {"steps": 6},
    Insertion: {"steps": 6},
    SensitivityN: {"sizes": (9, 60), "subsets": 6},
    AOPC: {"steps": 6},
    ABPC: {"steps": 6},
    PixelFlipping: {"steps": 6},
    FaithfulnessCorrelation: {"size": 9, "subsets": 6},
    Infidelity: {"samples": 5},
    ROAD: {"percentiles": (25, 75), "noise": 0},
    MaxSensitivity: {"samples": 3},
    PointingGame: {"tolerance": 1.5},
}
ALTERING = {kind: SETTINGS.get(kind, {}) for kind in map(find, SHIPPED) if kind is not SpearmanAgreement}


class Squares:
    """A method whose map is the sum of the squared colours."""

    needs_layer = needs_gradients = False

    def explain(self, evidence, classifier):
        return evidence.images.square().sum(1)


WHO = Squares()


@pytest.fixture(params=["plain module", "classifier"])
def model(request, tiny, classifier):
    return tiny if request.param == "plain module" else classifier


@pytest.fixture
def given(images, noise_maps):
    """Images, targets, maps (no two values of a map are equal) and masks: two objects, and one that is too small."""
    masks = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.bool)
    masks[:, 3:7, 2:9] = masks[:, 8:10, 9:11] = masks[:, 0, 0] = True
    return images(COUNT, SIDE), TARGETS, noise_maps(COUNT, SIDE, SIDE), masks


def score(model, image, target, kind):
    with torch.no_grad():
        logits = model(image[None])[0]
    return float(logits[target] if kind == "logit" else logits.softmax(0)[target])


def points(model, image, target, saliency, blank, *, enters):
    """Twenty-four pixels at a time, in descending order of the map."""
    values = []
    for threshold in [torch.inf, *saliency.flatten().sort(descending=True).values[23::24].tolist()]:
        chosen = saliency >= threshold
        values.append(score(model, torch.where(chosen == enters, image, blank), target, "probability"))
    assert len(values) == 7
    return values


def area(*given, enters):
    values = points(*given, enters=enters)
    return (sum(values) - (values[0] + values[-1]) / 2) / 6


def deletion(model, image, target, saliency, _mask):
    return area(model, image, target, saliency, torch.zeros_like(image), enters=False)


def insertion(model, image, target, saliency, _mask):
    blurred = find("insertion")().baseline(image[None], torch.zeros(1))[0]
    return area(model, image, target, saliency, blurred, enters=True)


def sensitivity_n(model, image, target, saliency, _mask, metric=SensitivityN):
    (probe,) = metric(**ALTERING[metric]).probes(None, SIDE * SIDE)
    correlations = []
    for subsets in probe.members(SIDE * SIDE).view(-1, 6, SIDE, SIDE):
        sums = [float(saliency[subset].sum()) for subset in subsets]
        scores = [-score(model, torch.where(subset, 0.0, image), target, "logit") for subset in subsets]
        correlations.append(pearsonr(sums, scores).statistic)
    return sum(correlations) / len(correlations)


def faithfulness_correlation(*given):
    return sensitivity_n(*given, metric=FaithfulnessCorrelation)


def conservation(model, image, target, saliency, _mask):
    logit = score(model, image, target, "logit")
    return abs(logit - float(saliency.sum())) / abs(logit)


def corner_artifact(model, image, target, saliency, _mask):
    ends = [torch.tensor([True] * 2 + [False] * 10), torch.tensor([False] * 10 + [True] * 2)]
    corners = [vertical[:, None] & sideways for vertical in ends for sideways in ends]
    place = torch.stack(corners).any(0)
    tiles = [torch.zeros(SIDE, SIDE, dtype=torch.bool) for _ in range(9)]
    for number, tile in enumerate(tiles):
        tile[4 * (number // 3) : 4 * (number // 3) + 4, 4 * (number % 3) : 4 * (number % 3) + 4] = True
    whole = score(model, image, target, "probability")
    effects = [
        abs(whole - score(model, torch.where(part, 0.0, image), target, "probability"))
        for part in (*corners, *(tile & ~place for tile in tiles))
    ]
    shares = [float(saliency[corner].abs().sum() / saliency.abs().sum()) for corner in corners]
    return sum(max(0.0, share - effect / sum(effects)) for share, effect in zip(shares, effects, strict=False))


def energy_pointing_game(_model, _image, _target, saliency, mask):
    return sum(v for v in saliency[mask].tolist() if v > 0) / sum(v for v in saliency.flatten().tolist() if v > 0)


def aopc(model, image, target, saliency, _mask):
    values = points(model, image, target, saliency, torch.zeros_like(image), enters=False)
    return sum(values[0] - value for value in values) / 7


def abpc(model, image, target, saliency, _mask):
    least_first = area(model, image, target, -saliency, torch.zeros_like(image), enters=False)
    return least_first - area(model, image, target, saliency, torch.zeros_like(image), enters=False)


def pixel_flipping(model, image, target, saliency, _mask):
    return sum(points(model, image, target, saliency, torch.zeros_like(image), enters=False)[1:]) / 6


def average_drop(model, image, target, saliency, _mask):
    shown = saliency.clamp(min=0) / saliency.max()
    whole, masked = (score(model, x, target, "probability") for x in (image, image * shown))
    return max(0.0, whole - masked) / whole


def infidelity(model, image, target, saliency, _mask):
    (probe,) = Infidelity(**ALTERING[Infidelity]).probes(None, SIDE * SIDE)
    moved = probe.perturbations(SIDE * SIDE, image).view(-1, SIDE, SIDE)
    told = [float((each * saliency).sum()) for each in moved]
    lost = [score(model, image, target, "logit") - score(model, image - each, target, "logit") for each in moved]
    scale = sum(t * d for t, d in zip(told, lost, strict=True)) / sum(t * t for t in told)
    return sum((scale * t - d) ** 2 for t, d in zip(told, lost, strict=True)) / len(moved)


def road(model, image, target, saliency, _mask):
    steps = torch.arange(SIDE)
    gap = (steps[:, None] - steps).abs()
    across, down = gap[:, None, :, None], gap[None, :, None, :]
    near = torch.where((across <= 1) & (down <= 1), 1 / (6.0 * torch.maximum(across + down, torch.tensor(1))), 0.0)
    near = near.to(torch.float64).view(SIDE * SIDE, SIDE * SIDE).fill_diagonal_(0)
    system = torch.diag(near.sum(1)) - near
    sides = []
    for ranked in (-saliency, saliency):
        scores = []
        for count in (36, 108):
            gone, kept = ranked.flatten().argsort().tensor_split([count])
            filled = image.flatten(1).clone()
            known = -system[gone][:, kept] @ filled[:, kept].T
            filled[:, gone] = torch.linalg.solve(system[gone][:, gone], known).T
            scores.append(score(model, filled.view_as(image), target, "probability"))
        sides.append(sum(scores) / 2)
    return (sides[1] - sides[0]) / 2


def max_sensitivity(_model, image, _target, saliency, _mask):
    draws = torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    near = [image + 0.02 * (2 * draw - 1) for draw in draws]
    return max(float((each.square().sum(0) - saliency).norm() / saliency.norm()) for each in near)


def pointing_game(_model, _image, _target, saliency, mask):
    row, column = divmod(int(saliency.argmax()), SIDE)
    return float(any((r - row) ** 2 + (c - column) ** 2 <= 1.5**2 for r, c in mask.nonzero().tolist()))


def several_objects(_model, _image, _target, saliency, mask):
    parts = [plane for number in (1, 2, 3) if (plane := torch.from_numpy(label(mask.numpy()) == number)).sum() >= 4]
    hottest = saliency.flatten().sort(descending=True).values[int(sum(parts).sum()) - 1].clamp(min=1e-9)
    return sum(float((saliency[part] >= hottest).any()) for part in parts) / 2


def sparseness(_model, _image, _target, saliency, _mask):
    mass = saliency.flatten().clamp(min=0)
    return float((mass[:, None] - mass).abs().mean() / (2 * mass.mean()))  # half the relative mean difference


def signed_removal(model, image, target, saliency, _mask):
    blurred = find("insertion")().baseline(image[None], torch.zeros(1))[0]
    top = saliency >= saliency.flatten().sort(descending=True).values[28]
    return score(model, image, target, "logit") - score(model, torch.where(top, blurred, image), target, "logit")


def shift_equivariance(_model, image, _target, saliency, _mask):
    found, padded = [], pad(image[None], (1, 1, 1, 1), mode="replicate")[0]
    for down, right in itertools.product((-1, 1), repeat=2):
        made = padded[:, 1 - down :, 1 - right :][:, :SIDE, :SIDE].square().sum(0)
        places = [(r, c) for r in range(SIDE) for c in range(SIDE) if 0 <= r + down < SIDE and 0 <= c + right < SIDE]
        pairs = [(float(saliency[r, c]), float(made[r + down, c + right])) for r, c in places]
        found.append(spearmanr(*zip(*pairs, strict=True)).statistic)
    return sum(found) / 4


def corner_causes(_model, _image, _target, saliency, _mask):
    ends = (0, 1, SIDE - 2, SIDE - 1)
    return float(sum(saliency[r, c].abs() for r in ends for c in ends) / saliency.abs().sum())


BY_HAND = {metric: globals()[metric.name.replace("-", "_")] for metric in ALTERING}
SOLVED = 1e-4  # ROAD's solver stops within some 10⁻⁵ of the solution


def test_these_are_all_the_shipped_metrics():
    assert set(MAIN) == set(SHIPPED)
    assert {name: find(name).main for name in SHIPPED} == MAIN
    with pytest.raises(UnknownName, match="did you mean 'deletion'"):
        find("delition")


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
def test_the_main_column_is_the_number_worked_out_by_hand(metric, model, given):
    pictures, targets, maps, masks = given
    columns = metric(**ALTERING[metric])(model, pictures, targets, maps, masks=masks, method=WHO)
    found = columns[MAIN[metric.name]]
    expected = [BY_HAND[metric](model, pictures[i], targets[i], maps[i], masks[i]) for i in range(COUNT)]
    assert len(set(expected)) > 1
    assert found.tolist() == pytest.approx(expected, abs=SOLVED if metric is ROAD else 1e-8)


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
def test_arrays_of_numpy_and_lists_are_judged_as_tensors_are(metric, tiny, given):
    pictures, targets, maps, masks = given
    asked, known = metric(**ALTERING[metric]), {"masks": masks, "contents": masks, "seeds": torch.arange(COUNT)}
    expected = asked(tiny, pictures, targets, maps, **known, method=WHO)
    arrays = {name: plane.numpy() for name, plane in known.items()}
    found = asked(tiny, pictures.numpy(), targets, maps.tolist(), **arrays, method=WHO)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
def test_every_column_is_one_double_per_image(metric, model, given):
    pictures, targets, maps, masks = given
    columns = metric(**ALTERING[metric])(model, pictures, targets, maps, masks=masks, contents=masks, method=WHO)
    assert set(metric.better) <= set(columns)
    assert metric.main in (metric.better or columns)
    for value in columns.values():
        assert value.shape == (COUNT,)
        assert value.dtype == torch.float64
        assert value.device.type == "cpu"
        assert not value.requires_grad


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
def test_a_metric_is_a_frozen_value_made_by_keywords(metric):
    settings = ALTERING[metric]
    assert metric(**settings) == metric(**settings)
    assert hash(metric(**settings)) == hash(metric(**settings))
    with pytest.raises(TypeError):
        metric(3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'stepps'"):
        metric(stepps=3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric().baseline = "mean"


def test_metrics_of_another_kind_are_never_equal():
    assert Deletion(baseline="mean") != Insertion(baseline="mean")


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_metric_works_where_gradients_are_switched_off(metric, mode, model, given):
    pictures, targets, maps, masks = given
    expected = metric(**ALTERING[metric])(model, pictures, targets, maps, masks=masks, method=WHO)
    with mode():
        found = metric(**ALTERING[metric])(model, pictures, targets, maps, masks=masks, method=WHO)
    for column, value in expected.items():
        torch.testing.assert_close(found[column], value, equal_nan=True)


@pytest.mark.parametrize("metric", ALTERING, ids=lambda metric: metric.name)
def test_what_the_caller_gave_is_left_as_it_was(metric, tiny, given):
    tiny.train()
    tensors = [given[0].requires_grad_(), torch.tensor(given[1]), given[2].requires_grad_(), given[3]]
    kept, state = [tensor.detach().clone() for tensor in tensors], torch.random.get_rng_state()
    pictures, targets, maps, masks = tensors
    seeds = torch.tensor([5, 6, 7])
    metric(**ALTERING[metric])(tiny, pictures, targets, maps, masks=masks, contents=masks, seeds=seeds, method=WHO)
    assert all(torch.equal(one.detach(), other) for one, other in zip(tensors, kept, strict=True))
    assert seeds.tolist() == [5, 6, 7]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert pictures.grad is None
    assert maps.grad is None
    assert all(module.training for module in tiny.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in tiny.parameters())


def test_images_in_their_own_precision_go_to_that_of_the_network(tiny, given):
    pictures, targets, maps, _ = given
    single = Deletion()(tiny.float(), pictures, targets, maps)["auc"]
    torch.testing.assert_close(single, Deletion()(tiny.double(), pictures, targets, maps)["auc"], atol=1e-5, rtol=0)


def test_no_batch_is_larger_than_asked_for(tiny, given, watched):
    seen = watched(tiny)
    Deletion()(tiny, *given[:3], batch_size=2)
    assert max(map(len, seen)) == 2


@pytest.mark.parametrize("seeds", [torch.arange(2), torch.arange(4), torch.rand(3), torch.zeros(3, 1).long()])
def test_seeds_are_one_integer_per_image(seeds, tiny, given):
    with pytest.raises(ValueError, match="seeds: expected 3 integers"):
        Deletion()(tiny, *given[:3], seeds=seeds)


def test_what_is_no_model_is_refused(given):
    with pytest.raises(TypeError, match=r"expected a torch\.nn.Module or a Classifier, got function"):
        Deletion()(lambda x: x, *given[:3])
    with pytest.raises(ValueError, match="class index out of range"):
        Deletion()(Classifier(torch.nn.Flatten()), given[0], 10**6, given[2])


def test_a_metric_of_ones_own_is_a_few_lines(classifier, given):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Largest(Metric):
        name = "largest"
        main = "value"
        better = {"value": "higher"}  # noqa: RUF012
        levels: tuple[float, ...] = (0.5,)
        baseline: object = "black"

        def judge(self, case, maps, answers):
            return {"value": maps.saliency.amax((1, 2))}

    assert torch.equal(Largest()(classifier, *given[:3])["value"], given[2].amax((1, 2)))
    assert len({Largest(levels=[1, 2], baseline={"name": "blur"}), Largest(levels=(1, 2), baseline="blur")}) == 1
    with pytest.raises(NotImplementedError, match="must define judge"):
        Metric()(classifier, *given[:3])
