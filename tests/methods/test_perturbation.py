"""What all methods that score altered images or activations have in common: batches, layers, cost."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import ISCAM, RISE, SSCAM, AblationCAM, Calls, FeatureAblation, Lime, Occlusion, ScoreCAM
from camfaith.models import Classifier
from camfaith.models.inside.ablation import Tail
from camfaith.models.speed.setup import Setup, going_by

KIN = [ScoreCAM, SSCAM, ISCAM]
EVERY = [*KIN, AblationCAM, RISE]
FEW: dict[type, dict[str, Any]] = {
    SSCAM: {"n_samples": 2},
    ISCAM: {"n_steps": 3},
    RISE: {"n_masks": 9},
    Lime: {"samples": 20},
}


def close(found: Tensor, expected: Any, relative: float = 1e-9) -> None:
    expected = torch.as_tensor(expected).to(found)
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


def named(method: type) -> str:
    return method.name


@pytest.mark.parametrize("method", [*KIN, RISE, AblationCAM, Occlusion, Lime, FeatureAblation], ids=named)
def test_in_a_run_a_method_asks_in_the_batch_that_was_measured_which_changes_nothing(tiny, images, method, monkeypatch):
    monkeypatch.setattr("camfaith.models.inside.ablation._try", lambda *_: (Tail(5, alone=False), True))
    sizes = []
    evidence = Classifier(tiny).evidence(images(2, 15), 1, ["relu2"], gradients=False)
    cam = method(tiny, "relu2", **FEW.get(method, {}))
    expected = cam.explain(evidence, cam.classifier)
    tiny.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    with going_by(Setup(3, channels_last=False)):
        close(cam.explain(evidence, cam.classifier), expected, 1e-12)
    assert max(sizes) == (2 if method is Occlusion else 3), "captum's occlusion takes a window for all images at once"


class Small(nn.Module):
    """Runs out of memory for more than `most` images, or activations, in its head."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most = network, most
        network.pool.register_forward_pre_hook(self._hold)

    def _hold(self, _module: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > self.most:
            raise torch.OutOfMemoryError("out of memory")

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@pytest.mark.parametrize("method", EVERY, ids=named)
def test_batches_are_halved_where_memory_runs_out(tiny, images, method):
    pictures, options = images(2, 16), FEW.get(method, {})
    expected = method(tiny, "relu2", **options).raw(pictures, 1)
    close(method(Small(tiny, 3), "network.relu2", **options).raw(pictures, 1), expected, 1e-12)


def test_an_image_alone_that_is_too_large_is_an_error(tiny, images):
    cam = ScoreCAM(tiny, "relu2")
    evidence = cam.classifier.evidence(images(1, 16), 1, ["relu2"], gradients=False)
    Small(tiny, 0)
    with pytest.raises(torch.OutOfMemoryError):
        cam.explain(evidence, cam.classifier)


@pytest.mark.parametrize(
    ("method", "calls"), [(ScoreCAM, 5), (SSCAM, 10), (ISCAM, 15), (AblationCAM, 1), (RISE, 9)], ids=str
)
def test_every_channel_is_a_forward_a_head_needs_one_for_all_and_rise_one_for_each_mask(tiny, images, method, calls):
    cam = method(tiny, "relu2", **FEW.get(method, {}))
    assert cam.cost(images(1, 16)) == Calls(forwards=calls)


@pytest.mark.parametrize("method", [*KIN, AblationCAM], ids=named)
def test_a_layer_is_needed(tiny, images, method):
    cam = method(tiny)
    evidence = cam.classifier.evidence(images(1, 16), 1, ["relu2"], gradients=False)
    with pytest.raises(ValueError, match=f"{method.__name__} needs a target layer"):
        cam.explain(evidence, cam.classifier)
    with pytest.raises(ValueError, match=f"{method.__name__} needs a target layer"):
        cam.cost(images(1, 16))


@pytest.mark.parametrize(
    ("method", "option", "text"),
    [
        (RISE, {"p": 0.0}, "p must be a number above 0 and up to 1; got 0.0"),
        (RISE, {"n_masks": 0}, "n_masks must be a whole number, 1 or more; got 0"),
        (RISE, {"grid": 0}, "grid must be a whole number, 1 or more and up to 10000; got 0"),
        (SSCAM, {"n_samples": 0}, "n_samples must be a whole number, 1 or more; got 0"),
        (ISCAM, {"n_steps": 0}, "n_steps must be a whole number, 1 or more; got 0"),
    ],
    ids=str,
)
def test_an_option_that_there_is_not_is_named(tiny, method, option, text):
    with pytest.raises(ValueError, match=text):
        method(tiny, "relu2", **option)
