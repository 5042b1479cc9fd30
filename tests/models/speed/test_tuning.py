"""The setup that is chosen is the fastest one measured, and tuning takes nothing that changes a bit unasked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith.models import Classifier
from camfaith.models.speed import setup, tuning
from camfaith.models.speed.setup import Setup, arranged
from camfaith.models.speed.tuning import rate, tune

IMAGE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(2))


class Choosy(nn.Module):
    """What it computes depends on what it sees, which no tracer can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 8)

    def forward(self, images):
        return self.conv(images if images.mean() > 0 else -images).flatten(1)


@pytest.fixture
def measured(monkeypatch):
    """Has `speed(setup)` stand for the clock, and gives the list of setups that were measured."""

    def install(speed_of):
        tried = []

        def found(_classifier, _image, setup, seconds=0.15):
            tried.append(setup)
            return speed_of(setup)

        monkeypatch.setattr(tuning, "rate", found)
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


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [({8: 100, 4: 120, 2: 140, 1: 150}, 2), ({8: 100, 4: 109, 2: 200, 1: 300}, 0), ({8: 1, 4: 2, 2: 3, 1: 4}, 1)],
)
def test_threads_are_halved_as_long_as_that_gains_ten_percent(rates, chosen, measured, classifier, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    measured(lambda setup: float(rates[setup.threads or 8]))
    found = tune(classifier, IMAGE)
    assert (found.threads, found.rate) == (chosen, rates[chosen or 8])


def test_a_setup_takes_its_threads_and_gives_them_back(network, classifier, monkeypatch):
    now, seen = [4], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    network.register_forward_pre_hook(lambda *_: seen.append(now[-1]))
    for threads, taken in [(0, 4), (2, 2), (8, 4)]:
        rate(classifier, IMAGE, Setup(2, threads=threads), seconds=0)
        assert set(seen) == {taken}
        assert now[-1] == 4
        seen.clear()


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
    traced = setup.with_relus_folded
    monkeypatch.setattr(setup, "with_relus_folded", lambda network: nn.Sequential(traced(network), Shifted()))
    assert not tune(plain, IMAGE).fused


def test_a_network_that_cannot_be_traced_runs_as_it_is(measured):
    measured(lambda setup: growing(setup) * (2 if setup.fused else 1))
    assert not tune(Classifier(Choosy().eval()), IMAGE).fused


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
    monkeypatch.setattr(tuning, "rate", lambda model, _image, setup: bool(arranged(model, setup)) * growing(setup))
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


def test_measuring_is_exact_but_for_an_allowed_shortcut(monkeypatch, flags):
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, True
    seen = []
    monkeypatch.setattr(tuning, "rate", lambda *_args: seen.append(flags()) or 1.0)
    tune(Classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())), IMAGE)
    assert set(seen) == {(False, False)}
    assert flags() == (True, True)
    with setup.exact_arithmetic(), setup._precision(["tf32"], torch.device("cuda")):
        assert flags() == (True, True)
