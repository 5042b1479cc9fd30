"""The setup that is chosen is the fastest one measured, and no choice but a shortcut changes a number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith.models import Classifier
from camfaith.models.speed import setup as speed
from camfaith.models.speed.setup import Setup, arranged, laid_out, rate, tune

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))


class Normed(nn.Module):
    """Convolution, batch norm with statistics of its own, and a head of three classes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.conv = nn.Conv2d(3, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)
            self.head = nn.Linear(6, 3)
            with torch.no_grad():
                self.norm.running_mean.normal_()
                self.norm.running_var.uniform_(0.2, 3)
                self.norm.weight.normal_()
                self.norm.bias.normal_()

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))


class Choosy(Normed):
    """What it computes depends on what it sees, which no tracer can follow."""

    def forward(self, images):
        return super().forward(images if images.mean() > 0 else -images)


@pytest.fixture
def network():
    return Normed().eval()


@pytest.fixture
def classifier(network):
    return Classifier(network, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture
def measured(monkeypatch):
    """Has `speed(setup)` stand for the clock, and gives the list of setups that were measured."""

    def install(speed_of):
        tried = []

        def found(_classifier, _image, setup, seconds=0.15):
            tried.append(setup)
            return speed_of(setup)

        monkeypatch.setattr(speed, "rate", found)
        return tried

    return install


def growing(setup):
    """Twice the batch is twice as fast, so that nothing but an error ends the growth."""
    return 1000.0 * setup.batch_size


@pytest.mark.parametrize(("first", "last"), [(100, 200), (200, 100), (100, 98), (103.5, 100), (102.5, 100)])
def test_the_layout_is_channels_last_unless_the_other_is_three_percent_faster(first, last, measured, classifier):
    measured(lambda setup: 1e3 * (last if setup.channels_last else first))
    found = tune(classifier, IMAGE)
    assert found.channels_last is (first <= 1.03 * last)
    assert found.rate == 1e3 * (last if found.channels_last else first)


@pytest.mark.parametrize(("second", "chosen"), [(1985, 32), (1975, 64)])
def test_the_batch_is_the_smallest_within_three_percent_of_the_fastest(second, chosen, measured, classifier):
    rates = {16: 1500, 32: second, 64: 2000, 128: 2040, 256: 2010, 512: 1900}
    measured(lambda setup: rates[setup.batch_size])
    found = tune(classifier, IMAGE)
    assert (found.batch_size, found.rate) == (chosen, rates[chosen])


def test_the_batch_is_not_grown_beyond_a_quarter_of_a_second(measured, classifier):
    tried = measured(lambda _setup: 200.0)
    tune(classifier, IMAGE)
    assert max(setup.batch_size for setup in tried) == 32  # 64 would take 0.32 s


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no"), RuntimeError("CPUAllocator: not enough memory")])
def test_the_batch_is_not_grown_beyond_memory(error, measured, classifier):
    def cramped(setup):
        if setup.batch_size > 64:
            raise error
        return growing(setup)

    tried = measured(cramped)
    assert tune(classifier, IMAGE).batch_size == 64
    assert max(setup.batch_size for setup in tried) == 128


@pytest.mark.parametrize("at", [16, 64])
def test_other_errors_of_the_network_are_raised(at, measured, classifier):
    def broken(setup):
        if setup.batch_size == at:
            raise RuntimeError("shapes cannot be multiplied")
        return growing(setup)

    measured(broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        tune(classifier, IMAGE, ["bf16"])


class Plain(nn.Sequential):
    """A convolution, a ReLU, and a head: on a CPU the first two can be one step."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))


class Shifted(nn.Module):
    def forward(self, x):
        return x * (1 + 1e-6)


@pytest.mark.parametrize(("gain", "taken"), [(1.02, False), (1.04, True)])
def test_convolution_and_relu_run_in_one_step_where_that_gains_three_percent(gain, taken, measured):
    measured(lambda setup: growing(setup) * (gain if setup.fused else 1))
    assert tune(Classifier(Plain().eval()), IMAGE).fused is taken


def test_one_step_is_not_taken_where_it_changes_a_bit(measured, monkeypatch):
    measured(lambda setup: growing(setup) * (2 if setup.fused else 1))
    plain = Classifier(Plain().eval())
    traced = speed.with_relus_folded
    monkeypatch.setattr(speed, "with_relus_folded", lambda network: nn.Sequential(traced(network), Shifted()))
    assert not tune(plain, IMAGE).fused


def test_a_network_that_cannot_be_traced_runs_as_it_is(measured):
    measured(lambda setup: growing(setup) * (2 if setup.fused else 1))
    assert not tune(Classifier(Choosy().eval()), IMAGE).fused


def test_one_step_gives_the_same_logits_and_leaves_the_network_alone():
    plain = Classifier(Plain().eval(), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    seen = []
    plain.network[1].register_forward_hook(lambda *_: seen.append(1))
    images = torch.rand(4, 3, 8, 8)
    with torch.inference_mode():
        found = arranged(plain, Setup(fused=True))(images)
        assert seen == []
        assert torch.equal(found, plain(images))
    assert seen == [1]


def test_shortcuts_that_nobody_allowed_are_not_even_measured(measured, classifier):
    tried = measured(growing)
    found = tune(classifier, IMAGE)
    assert {setup.shortcuts for setup in tried} == {()}
    assert found.refused == {}


@pytest.mark.parametrize(("gain", "taken"), [(1.02, False), (1.04, True)])
def test_a_shortcut_is_taken_where_it_gains_three_percent(gain, taken, measured, classifier):
    measured(lambda setup: growing(setup) * (gain if setup.shortcuts else 1))
    found = tune(classifier, IMAGE, ["bf16"])
    assert found.shortcuts == (("bf16",) if taken else ())
    assert found.refused == ({} if taken else {"bf16": "not faster here"})
    assert found.rate == pytest.approx(growing(found) * (gain if taken else 1))


def test_shortcuts_are_tried_on_top_of_each_other(measured, classifier):
    gains = {"fold": 1.5, "bf16": 0.7, "compile": 1.2}

    def gained(setup):
        found = growing(setup)
        for shortcut in setup.shortcuts:
            found *= gains[shortcut]
        return found

    measured(gained)
    found = tune(classifier, IMAGE, ["compile", "bf16", "fold"])
    assert found.shortcuts == ("fold", "compile")
    assert found.refused == {"bf16": "not faster here"}
    assert found.rate == pytest.approx(growing(found) * 1.5 * 1.2)


def test_shortcuts_that_cannot_help_are_refused_unmeasured(measured):
    tried = measured(growing)
    plain = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)))
    found = tune(plain, IMAGE, ["fold", "tf32"])
    assert found.refused == {"fold": "the network has no convolution", "tf32": "only on a CUDA device"}
    assert {setup.shortcuts for setup in tried} == {()}


def test_a_shortcut_that_fails_is_refused_with_the_first_line_of_its_error(measured, classifier):
    def compilerless(setup):
        if "compile" in setup.shortcuts:
            raise LookupError("no compiler here\nand much more about it")
        return growing(setup)

    measured(compilerless)
    found = tune(classifier, IMAGE, ["compile"])
    assert found.shortcuts == ()
    assert found.refused == {"compile": "LookupError: no compiler here"}


def test_a_network_that_cannot_be_traced_is_not_folded(monkeypatch):
    choosy = Classifier(Choosy().eval())
    monkeypatch.setattr(speed, "rate", lambda model, _image, setup: bool(arranged(model, setup)) * growing(setup))
    found = tune(choosy, IMAGE, ["fold"])
    assert found.shortcuts == ()
    assert "TraceError" in found.refused["fold"]
    assert "control flow" in found.refused["fold"]


@pytest.mark.parametrize("channels_last", [True, False])
def test_what_is_measured_is_a_batch_of_that_size_and_layout(channels_last, network, classifier):
    seen = []
    network.train()
    network.register_forward_pre_hook(
        lambda module, given: seen.append(
            (len(given[0]), given[0].is_contiguous(memory_format=torch.channels_last), module.training)
        )
    )
    assert rate(classifier, IMAGE, Setup(5, channels_last), seconds=0) > 0
    assert set(seen) == {(5, channels_last, False)}
    assert network.training


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


@pytest.fixture
def flags():
    """The two switches of TF32, put back when the test is over."""

    def now():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = now()
    yield now
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


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


def test_measuring_is_exact_but_for_an_allowed_shortcut(monkeypatch, flags):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, True
    seen = []
    monkeypatch.setattr(speed, "rate", lambda *_args: seen.append(flags()) or 1.0)
    tune(Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())), IMAGE)
    assert set(seen) == {(False, False)}
    assert flags() == (True, True)
    with speed.exact_arithmetic(), speed._precision(["tf32"], torch.device("cuda")):
        assert flags() == (True, True)


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
