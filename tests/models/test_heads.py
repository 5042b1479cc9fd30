"""What a network's outputs mean decides what is explained, what a curve is drawn of, and what is refused."""

import math
import warnings

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import CAM, RISE, FinerCAM, GradCAM, ScoreCAM, ShapleyCAM
from camfaith.metrics import AverageDrop, Deletion
from camfaith.models import Classifier, UnknownName
from camfaith.models.errors import NotApplicable

Z = torch.tensor([[0.3, -2.0, 4.0], [1.0, 0.5, -6.0]])
IMAGES = torch.rand(2, 3, 4, 4)


def spread(result: dict[str, Tensor]) -> Tensor:
    """A segmentation's score: the mean over the region that it predicts for each class."""
    planes = result["planes"]
    region = planes.argmax(1, keepdim=True) == torch.arange(planes.shape[1])[:, None, None]
    return (planes * region).sum((2, 3)) / region.sum((2, 3)).clamp(min=1)


def similar(embedding: Tensor) -> Tensor:
    return embedding @ torch.eye(3)[:2].T


similar.probabilities = lambda scores: (scores.sigmoid() + 1) / 3


def continuation(z: Tensor) -> Tensor:
    """p of grades, one image and one grade after the other: up to the grade, and not beyond it."""
    up = z.sigmoid().tolist()
    return torch.tensor([[math.prod(row[:c]) * (1 - row[c]) for c in range(len(row))] + [math.prod(row)] for row in up])


PLANES = torch.tensor([[[[1.0, 5.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 4.0]]]]).expand(2, -1, -1, -1)


@pytest.mark.parametrize(
    ("head", "answer", "scores", "probabilities", "predicted"),
    [
        ("softmax", Z, Z, Z.softmax(1), [2, 0]),
        ("sigmoid", Z, Z, Z.sigmoid(), [2, 0]),
        ("sigmoid", Z[:, :1], Z[:, :1], Z[:, :1].sigmoid(), [0, 0]),
        *(
            ("binary", z, torch.stack([-Z[:, 1], Z[:, 1]], 1), torch.stack([-Z[:, 1], Z[:, 1]], 1).sigmoid(), [0, 1])
            for z in (Z[:, 1], Z[:, 1:2])
        ),
        *(
            ("ordinal", z, continuation(z).log(), continuation(z), grades)
            for z, grades in ((Z, [1, 2]), (Z[:, :1], [1, 1]))
        ),
        ("regression", Z[:, 0], Z[:, :1], None, [0, 0]),
        ("regression", Z[:, :1], Z[:, :1], None, [0, 0]),
        (spread, {"planes": PLANES}, torch.tensor([[3.0, 3.0]]).expand(2, 2), None, [0, 0]),
        (similar, Z, Z[:, :2], (Z[:, :2].sigmoid() + 1) / 3, [0, 0]),
        (f"{__file__}:similar", Z, Z[:, :2], (Z[:, :2].sigmoid() + 1) / 3, [0, 0]),
    ],
)
def test_a_head_gives_scores_probabilities_and_the_predicted_class(
    answering, head, answer, scores, probabilities, predicted
):
    classifier = Classifier(answering(answer), head=head)
    torch.testing.assert_close(classifier.scores(IMAGES), scores)
    assert classifier.targets(None, scores).tolist() == predicted
    told = classifier.head.of_target(scores, torch.tensor(predicted))
    expected = torch.full((2,), math.nan)
    if probabilities is not None:
        expected = probabilities[torch.arange(2), predicted]
        torch.testing.assert_close(classifier.head.probabilities(scores), probabilities)
    torch.testing.assert_close(told[:, 1].exp().float(), expected, equal_nan=True)
    torch.testing.assert_close(told[:, 0].float(), scores[torch.arange(2), predicted])


@pytest.mark.parametrize(
    ("head", "answer", "error", "words"),
    [
        ("softmx", Z, UnknownName, "did you mean 'softmax'"),
        ("binary", Z, ValueError, r"shape 2×3; expected one logit z.*head='softmax'"),
        ("sigmoid", torch.zeros(2, 3, 4, 4), ValueError, "shape 2×3×4×4; expected B×C"),
        ("ordinal", Z[:, 0], ValueError, "shape 2; expected B×C"),
        ("regression", Z, ValueError, "regression of 3 numbers predicts no class: say which"),
        (lambda result: result.sum(), Z, ValueError, "gives shape a single number"),
        (lambda result: 3, Z, TypeError, "gives a int; expected a tensor of scores"),
        (lambda result: result.planes, Z, ValueError, "head .* fails on what model 'Answer' gives: AttributeError"),
        (nn.Linear(3, 2), Z, TypeError, "has a state: make it part of the network"),
        (7, Z, TypeError, "is a int; expected a function"),
    ],
)
def test_a_head_that_does_not_fit_the_outputs_is_refused(answering, head, answer, error, words):
    with pytest.raises(error, match=words):
        Classifier(answering(answer), head=head).evidence(IMAGES)


@pytest.mark.parametrize("head", ["softmax", "sigmoid", "binary", "ordinal"])
@pytest.mark.parametrize("inside", [True, False])
def test_a_sigmoid_inside_the_network_is_told_of_once(answering, head, inside):
    torch.manual_seed(3)
    logits = 3 * torch.randn(20, 1 if head == "binary" else 4)
    classifier = Classifier(answering(logits.sigmoid() if inside else logits), head=head)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(5):
            classifier.scores(torch.rand(20, 3, 4, 4))
    assert ["seems to end in a sigmoid" in str(each.message) for each in seen] == [True] * inside


def network(outputs: int) -> nn.Sequential:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, outputs)).double().eval()


@pytest.mark.parametrize("kind", [CAM, GradCAM, ShapleyCAM, ScoreCAM, FinerCAM])
def test_one_logit_is_explained_as_its_two_classes_written_out(kind):
    one = network(1)
    two = nn.Sequential(*one[:-1], nn.Linear(5, 2)).double().eval()
    with torch.no_grad():
        two[-1].weight.copy_(torch.cat([-one[-1].weight, one[-1].weight]))
        two[-1].bias.copy_(torch.cat([-one[-1].bias, one[-1].bias]))
    images = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    for target in (0, 1):
        found, wanted = (
            kind(Classifier(net, head=head), "2").raw(images, target)
            for net, head in ((one, "binary"), (two, "sigmoid"))
        )
        torch.testing.assert_close(found, wanted)


def test_grades_are_explained_by_their_log_probability_and_cam_says_that_it_has_none():
    """The gradient of ln p_c = Σ_{j<c} ln σ(z_j) + ln σ(−z_c) is Σ_{j<c} σ(−z_j) ∇z_j − σ(z_c) ∇z_c."""
    net, images = network(3), torch.rand(2, 3, 6, 6, dtype=torch.float64)
    classifier = Classifier(net, head="ordinal")
    evidence = classifier.evidence(images, [1, 3], ["2"])
    up = net(images).sigmoid()
    rows = net[-1].weight / 36  # of the mean over 6×6 places
    expected = [(1 - up[0, 0]) * rows[0] - up[0, 1] * rows[1], (1 - up[1]) @ rows]
    torch.testing.assert_close(evidence.gradients["2"][:, :, 0, 0], torch.stack(expected))
    torch.testing.assert_close(classifier.head.probabilities(evidence.logits), evidence.logits.softmax(1))
    with pytest.raises(NotApplicable, match="not linear in the last layer's logits; use GradCAM"):
        CAM(classifier, "2").raw(images, 0)


def test_grades_that_can_hardly_be_have_finite_scores_and_gradients():
    z = torch.tensor([[200.0, -200.0, 90.0]], requires_grad=True)
    scores = Classifier(nn.Identity(), head="ordinal").read(z)
    torch.testing.assert_close(scores, torch.tensor([[-200.0, 0.0, -290.0, -200.0]]))
    scores.sum().backward()
    assert z.grad.isfinite().all()


def test_what_needs_a_probability_says_that_a_regression_has_none():
    images, maps = torch.rand(2, 3, 6, 6, dtype=torch.float64), torch.rand(2, 6, 6)
    model = Classifier(network(1), head="regression")
    for ask in (lambda: Deletion()(model, images, 0, maps), lambda: RISE(model, n_masks=4).raw(images, 0)):
        with pytest.raises(NotApplicable, match=r"head 'regression' gives no.*score = 'logit'"):
            ask()
    with pytest.raises(NotApplicable, match="average-drop does not apply: it needs a probability"):
        AverageDrop()(model, images, 0, maps)
    with pytest.raises(NotApplicable, match="one score alone"):
        FinerCAM(model, "2").raw(images, 0)
    assert RISE(model, n_masks=4, score="logit").raw(images, 0).isfinite().all()
    ends = [model.scores(each)[:, 0] for each in (images, torch.zeros_like(images))]
    curve = Deletion(score="logit", steps=1)(model, images, 0, maps)["auc"]
    torch.testing.assert_close(curve, (ends[0] + ends[1]) / 2)


class Labels(nn.Module):
    """Two labels that depend on nothing of each other's: p = σ(8·mean of the own half − 4)."""

    def forward(self, x: Tensor) -> Tensor:
        left, right = x[..., :8].mean((1, 2, 3)), x[..., 8:].mean((1, 2, 3))
        return torch.stack([8 * left - 4, 16 * left - 4, 8 * right - 4], 1)


def test_a_curve_of_independent_labels_is_of_the_labels_own_probability():
    """Deletion by the right map takes the left half first: p = σ(4 − 16t) to t = ½, then σ(−4)."""
    x = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    x[..., 8:] = 0
    good = torch.rand(1, 16, 16)
    good[..., :8] += 1
    shares = torch.linspace(0, 1, 65, dtype=torch.float64)
    for maps, removed in ((good, (2 * shares).clamp(max=1)), (good.flip(2), (2 * shares - 1).clamp(min=0))):
        expected = torch.trapezoid((4 - 8 * removed).sigmoid(), shares)
        found = Deletion(steps=64)(Classifier(Labels(), head="sigmoid"), x, 0, maps)["auc"]
        torch.testing.assert_close(found[0], expected)
