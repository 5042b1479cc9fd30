"""Logits are found among what a network returns, and what are no logits is refused in words."""

import textwrap
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from camfaith.models import Classifier
from camfaith.models.speed.counting import counting


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        ((torch.zeros(2, 3), None), TypeError, "'Answer' returns a tuple, not a tensor of logits"),
        (
            {"features": torch.zeros(2, 3), "size": 2},
            TypeError,
            r"returns a dict.* as Classifier\(net, output='features'\), of 'features' \(2×3\); or",
        ),
        (
            (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3)),
            TypeError,
            r"as Classifier\(net, output=1\), of 0 \(2×3×4×4\), 1 \(2×3\); or wrap it",
        ),
        ([], TypeError, "returns a list, not a tensor of logits; wrap it"),
        (torch.randn(2, 1), ValueError, r"shape 2×1; expected.*head='binary' for one logit.*head='regression'"),
        (torch.randn(2), ValueError, r"returns shape 2; expected.*head='binary' for one logit"),
        (torch.randn(2, 3).log_softmax(1), ValueError, "returns log-probabilities.*remove its log-softmax"),
        (torch.randn(2, 3, 4), ValueError, "returns shape 2×3×4; expected"),
        *(
            (logits.softmax(1), ValueError, "returns probabilities.*remove its softmax")
            for logits in (torch.randn(2, 3), torch.randn(2, 21_000), torch.randn(8, 1000).half())
        ),
        (torch.tensor([[0.0, 1.0], [torch.nan, 1.0]]), FloatingPointError, r"NaN or infinite logits: images \[1\]"),
        (torch.tensor([[torch.inf, 1.0], [0.0, 1.0]]), FloatingPointError, r"images \[0\]"),
    ],
)
@pytest.mark.parametrize("call", ["scores", "evidence"])
def test_a_model_that_gives_no_logits_is_told_so(answering, answer, error, message, call):
    with pytest.raises(error, match=message):
        getattr(Classifier(answering(answer)), call)(torch.rand(2, 3, 4, 4))


def test_a_log_softmax_is_seen_at_the_first_image_that_the_network_is_not_sure_of(answering):
    classifier = Classifier(answer := answering(torch.tensor([[0.0, *[-100.0] * 39]])))
    classifier.scores(torch.rand(1, 3, 4, 4))
    answer.answer = torch.randn(1, 40).log_softmax(1)
    with pytest.raises(ValueError, match="returns log-probabilities"):
        classifier.scores(torch.rand(1, 3, 4, 4))


class Output(NamedTuple):
    features: Tensor
    scores: Tensor


LOGITS = torch.tensor([[1.0, 3.0, 2.0], [5.0, 3.0, 2.0]])
BESIDE = torch.zeros(2, 7)


@pytest.mark.parametrize(
    ("answer", "output"),
    [
        ({"features": BESIDE, "logits": LOGITS}, None),
        (SimpleNamespace(features=BESIDE, logits=LOGITS), None),
        (SimpleNamespace(features=BESIDE, main=LOGITS), "main"),
        ((BESIDE, LOGITS), 1),
        ([LOGITS, BESIDE], 0),
        (Output(BESIDE, LOGITS), "scores"),
        (Output(BESIDE, LOGITS), 1),
        (LOGITS, "main"),
    ],
)
def test_logits_among_other_things_are_found_by_their_name_or_place(answering, answer, output):
    classifier = Classifier(answering(answer), output=output)
    assert torch.equal(classifier.scores(torch.rand(2, 3, 4, 4)), LOGITS)


@pytest.mark.parametrize("output", ["scores", 4])
def test_an_output_that_is_not_there_is_named_with_those_that_are(answering, output):
    with pytest.raises(TypeError, match=rf"no tensor at {output!r}; say .*'main' \(2×7\)"):
        Classifier(answering({"main": BESIDE}), output=output).scores(torch.rand(2, 3, 4, 4))


class Pair(nn.Module):
    """What a network puts out, and its features beside it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.network[:-1](images)
        return {"features": features, "logits": self.network[-1](features)}


def test_evidence_of_a_network_that_returns_a_dict_is_that_of_its_logits(tiny):
    images = torch.rand(2, 3, 9, 9, dtype=torch.float64)
    expected = Classifier(tiny).evidence(images, 1, ["conv2"])
    with counting(pair := Pair(tiny)) as tally:
        found = Classifier(pair).evidence(images, 1, ["network.conv2"])
    assert torch.equal(found.gradients["network.conv2"], expected.gradients["conv2"])
    assert (tally.forwards, tally.backwards) == (2, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_a_network_in_half_precision_are_found_when_they_are_cast(dtype):
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 100), nn.Softmax(1)).to(dtype)
    network.register_forward_hook(lambda _module, _inputs, output: output.float())
    with pytest.raises(ValueError, match="returns probabilities"):
        Classifier(network).scores(torch.rand(8, 3, 4, 4))


@pytest.mark.parametrize(
    "logits", [[[0.5, 0.6], [0.2, 0.8]], [[0.3269, 0.6733], [0.2, 0.8]], [[0, 1], [1, 0]], [[0.0, -900], [-1e-9, -40]]]
)
def test_logits_that_look_like_probabilities_or_their_logarithms_are_logits(answering, logits):
    answer = torch.tensor(logits)
    assert Classifier(answering(answer)).scores(torch.rand(2, 3, 4, 4)).equal(answer)


def test_no_image_gives_no_logit(answering):
    classifier = Classifier(answering(torch.zeros(0, 3)))
    assert classifier.scores(torch.rand(0, 3, 4, 4)).shape == (0, 3)
    classifier.network.answer = torch.full((1, 2), 0.5)
    with pytest.raises(ValueError, match="probabilities"):
        classifier.scores(torch.rand(1, 3, 4, 4))


class Masked(nn.Module):
    """A network of two inputs and a setting."""

    def forward(self, images, mask, *, depth, flip=False):
        return (images * mask).mean((2, 3)) * depth


def test_a_network_of_several_inputs_is_told_how_to_fix_the_others():
    images, mask = torch.rand(2, 3, 4, 4), torch.rand(4, 4)
    with pytest.raises(TypeError, match=r"model 'Masked' takes more than images \(mask, depth\)") as error:
        Classifier(Masked()).scores(images)
    content = {"torch": torch}
    exec(textwrap.dedent(str(error.value).split("\n", 1)[1]), content)
    torch.testing.assert_close(
        Classifier(content["Fixed"](Masked(), mask, 2.0)).scores(images), Masked()(images, mask, depth=2.0)
    )
