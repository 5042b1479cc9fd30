"""No setup changes a number but by a shortcut, and the classifier stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith.models import Classifier
from camfaith.models.speed import setup as speed
from camfaith.models.speed.setup import Setup, arranged, laid_out

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def test_without_shortcuts_the_forward_is_the_classifier_itself(classifier):
    assert arranged(classifier, Setup()) is classifier


def test_folding_gives_the_same_logits_without_the_batch_norm(network, classifier):
    images = torch.rand(4, 3, 8, 8)
    normed = []
    network.norm.register_forward_hook(lambda *_: normed.append(1))
    forward = arranged(classifier, Setup(shortcuts=("fold",)))
    with torch.inference_mode():
        folded = forward(images)
        assert normed == []
        expected = classifier(images)
    assert normed == [1]
    assert (folded - expected).abs().max() <= 1e-5
    assert expected.std() > 0.01, "else anything would be close"


def test_folding_a_network_in_training_mode_folds_its_running_statistics(network, classifier):
    images = torch.rand(4, 3, 8, 8)
    expected = classifier.scores(images)
    network.train()
    with torch.inference_mode():
        found = arranged(classifier, Setup(shortcuts=("fold",)))(images)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shortcut", ["fold", "bf16", "compile"])
def test_a_shortcut_leaves_the_network_as_it_was(shortcut, network, classifier, monkeypatch):
    monkeypatch.setattr(torch, "compile", Recorded)
    network.train()
    network.norm.eval()
    network.conv.weight.requires_grad_(False)
    hook = network.conv.register_forward_hook(lambda *_: None)
    modules = dict(classifier.named_modules())
    modes = {name: module.training for name, module in modules.items()}
    flags = {name: parameter.requires_grad for name, parameter in classifier.named_parameters()}
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    with torch.inference_mode():
        arranged(classifier, Setup(4, shortcuts=(shortcut,)))(torch.rand(4, 3, 8, 8))
    now = dict(classifier.named_modules())
    assert now.keys() == modules.keys()
    assert all(now[name] is module for name, module in modules.items())
    assert {name: module.training for name, module in now.items()} == modes
    assert {name: parameter.requires_grad for name, parameter in classifier.named_parameters()} == flags
    after = classifier.state_dict()
    assert all(torch.equal(after[name], value) for name, value in state.items())
    assert list(network.conv._forward_hooks) == [hook.id]
    assert not network._forward_hooks


def test_bf16_is_close_and_no_more(classifier):
    images = torch.rand(4, 3, 8, 8)
    with torch.inference_mode():
        expected = classifier(images)
        found = arranged(classifier, Setup(shortcuts=("bf16",)))(images).float()
    assert not torch.is_autocast_enabled("cpu")
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, atol=0.02 * float(expected.abs().max()), rtol=0)


def test_one_step_gives_the_same_logits_and_leaves_the_network_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    plain = Classifier(network, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    seen = []
    plain.network[1].register_forward_hook(lambda *_: seen.append(1))
    images = torch.rand(4, 3, 8, 8)
    with torch.inference_mode():
        found = arranged(plain, Setup(fused=True))(images)
        assert seen == []
        assert torch.equal(found, plain(images))
    assert seen == [1]


class Meddling(nn.Module):
    """Notes the precision it is asked in, changes it, and may break."""

    def __init__(self, breaks: bool) -> None:
        super().__init__()
        self.breaks = breaks

    def forward(self, images):
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = False
        if self.breaks:
            raise ArithmeticError
        return images.flatten(1)[:, :3]


@pytest.mark.parametrize("breaks", [False, True])
def test_the_precision_of_the_process_comes_back(breaks, flags):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    forward = arranged(Classifier(Meddling(breaks)), Setup(shortcuts=("tf32",)))
    if breaks:
        with pytest.raises(ArithmeticError):
            forward(IMAGE)
    else:
        forward(IMAGE)
    assert flags() == (False, True)


@pytest.mark.parametrize("shortcuts", [("tf32",), ("fold", "bf16")])
def test_tf32_is_on_where_it_is_taken_and_elsewhere_as_the_process_has_it(shortcuts, flags):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = False, True
    with speed._precision([s for s in shortcuts if s != "bf16"], torch.device("cuda")):
        assert flags() == ((True, True) if "tf32" in shortcuts else (False, True))
    assert flags() == (False, True)


class Recorded(nn.Module):
    """Stands for a compiled network: notes the batches that it would be compiled for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.batches = network, []
        Recorded.last = self

    def forward(self, images):
        self.batches.append(len(images))
        return self.network(images)


def test_a_compiled_network_is_only_given_full_batches(classifier, monkeypatch):
    monkeypatch.setattr(torch, "compile", Recorded)
    forward = arranged(classifier, Setup(4, shortcuts=("compile",)))
    images = torch.rand(4, 3, 8, 8)
    with torch.inference_mode():
        for rows in (4, 3, 1):
            torch.testing.assert_close(forward(images[:rows]), classifier(images[:rows]))
    assert Recorded.last.batches == [4, 4, 4]


def is_last(images):
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def test_one_call_puts_channels_last_where_the_kernels_are_small_beside_the_batch():
    heavy = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3), nn.Conv2d(64, 4096, 1))  # 36,864 weights in 3×3
    for images in (torch.rand(7, 3, 8, 8), torch.rand(8, 3, 8, 8)):  # up to 35,840 and 40,960
        found = laid_out(heavy, images)
        assert torch.equal(found, images)
        assert is_last(found) is (len(images) == 8)


def test_one_call_keeps_a_layout_that_it_does_not_change():
    given = torch.rand(1, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    assert laid_out(nn.Conv2d(64, 64, 3), given) is given


def test_kernels_of_one_pixel_do_not_count():
    assert is_last(laid_out(nn.Conv2d(4096, 4096, 1), torch.rand(1, 3, 8, 8)))
