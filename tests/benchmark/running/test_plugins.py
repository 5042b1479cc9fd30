"""Methods and metrics of somebody else harm nobody: what they leave behind is undone and told, what they break is
theirs."""

from __future__ import annotations

import random
import sys
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from camfaith.benchmark import run
from camfaith.metrics import ImageProbe
from camfaith.models import Classifier

KEYS = ["model", "dataset", "sample", "method", "metric", "column"]


class Method:
    """An innocent method."""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        self.leave(classifier.network)
        return evidence.activations[self.layer].sum(1)

    def leave(self, network):
        pass


def leaving(do):
    """A method that does something to the network, and one whose constructor does."""
    return type("Leaving", (Method,), {"leave": lambda self, network: do(network)})


def halve(network):
    with torch.no_grad():
        network.head.weight.mul_(0.5)


def enter_autocast(network):
    torch.autocast("cpu", torch.bfloat16).__enter__()


def switch_classes_off(network):
    network.body[0].register_forward_hook(lambda *given: given[-1] * 0)


def turn_round(network):
    network.head.forward = lambda given: -nn.functional.linear(given, network.head.weight)


LEAKS = {
    "weights": (halve, "head.weight was changed"),
    "weights past the count of versions": (lambda n: n.head.weight.data.mul_(0.5), "head.weight was changed"),
    "weights elsewhere": (lambda n: setattr(n.head.weight, "data", n.head.weight.data * 2), "head.weight was changed"),
    "buffers": (lambda n: n.body[2].running_mean.add_(1), "body.2.running_mean was changed"),
    "training mode": (lambda n: n.train(), "body.2 was in evaluation mode and is in training"),
    "hooks": (switch_classes_off, "forward_hooks of body.0"),
    "exchanged modules": (lambda n: setattr(n.body, "1", nn.Identity()), "modules of body"),
    "a forward": (turn_round, "forward of head was not there"),
    "a call": (lambda n: setattr(n.head, "_call_impl", lambda x: 0 * x[:, :5]), "_call_impl of head was not there"),
    "another class": (lambda n: setattr(n.body[1], "__class__", nn.Tanh), "class of body.1 was"),
    "a class's forward": (lambda _: setattr(nn.ReLU, "forward", lambda s, x: -x), "forward of class ReLU is another"),
    "hooks of all modules": (
        lambda _: nn.modules.module.register_module_forward_hook(lambda *given: given[-1] * 0),
        "global_forward_hooks of all modules are others",
    ),
    "a setting": (lambda n: setattr(n.body[2], "eps", 1.0), "eps of body.2 was 1e-05 and is 1.0"),
    "requires_grad": (lambda n: n.head.bias.requires_grad_(False), "requires_grad of head.bias was True"),
    "precision": (lambda n: n.half(), "head.weight was changed"),
    "autocast": (enter_autocast, "torch.is_autocast_enabled('cpu') was False and is True"),
    "default precision": (lambda _: torch.set_default_dtype(torch.float64), "torch.get_default_dtype() was"),
    "grad mode": (lambda _: torch.set_grad_enabled(False), "torch.is_grad_enabled() was True"),
    "numpy's errors": (lambda _: np.seterr(all="raise"), "numpy.geterr() was"),
    "kernels": (lambda _: setattr(torch.backends.mkldnn, "enabled", False), "torch.backends.mkldnn.enabled was True"),
    "threads": (lambda _: torch.set_num_threads(2), "torch.get_num_threads() was 1 and is 2"),
    "torch's generator": (lambda _: torch.manual_seed(1), "torch's global generator was used"),
    "numpy's generator": (lambda _: np.random.rand(), "numpy's global generator was used"),  # noqa: NPY002
    "Python's generator": (lambda _: random.random(), "Python's global generator was used"),
}


@dataclass(frozen=True)
class Judge:
    """An innocent metric."""

    name, main, better, undefined = "judge", "value", {}, ""

    def probes(self, layer, pixels):
        return ()

    def judge(self, case, maps, answers):
        self.write(case, maps)
        return {"value": maps.saliency.mean((1, 2))}

    def write(self, case, maps):
        pass


def writing(do):
    return type("Writing", (Judge,), {"write": lambda self, case, maps: do(case, maps)})


@dataclass(frozen=True)
class Spoiling(ImageProbe):
    """A probe that writes into the image that it is to alter."""

    def count(self, pixels):
        return 1

    def fill(self, subject):
        subject.image.zero_()
        return lambda start, stop, out: out.zero_()


class Unspeakable(Exception):
    def __str__(self):
        raise ValueError


def fail(*_):
    raise Unspeakable


def ill_at_ease(self, evidence, classifier):
    warnings.warn("it is \ud800 late", stacklevel=1)
    return evidence.activations[self.layer].sum(1)


def of_all_sizes(self, evidence, classifier):
    side = 2 + int(evidence.seeds[0]) % 97
    if len(evidence) > 1:
        raise RuntimeError("one by one")
    return torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))


def write_and_fail(self, evidence, classifier):
    for tensor in (evidence.images, evidence.logits, *evidence.activations.values(), *evidence.gradients.values()):
        tensor.mul_(-1)
    raise KeyError("and fails")


def one_cell_that_is_none(self, evidence, classifier):
    maps = evidence.activations[self.layer].sum(1)
    maps[:, 0, 0] = torch.nan
    return maps


def method(**given):
    return type("Broken", (Method,), given)


def metric(**given):
    return type("Broken", (Judge,), given)


def gives(value):
    return lambda *_: value


BROKEN = {
    "no cells": (method(explain=lambda s, e, c: torch.zeros(len(e), 0, 0)), "explain gives shape"),
    "a map for each channel": (
        method(explain=lambda s, e, c: e.activations[s.layer]), "explain gives shape 1×8×8×8 for a batch of 1, expected"
    ),
    "a cell that is none": (
        method(explain=one_cell_that_is_none), "the map holds NaN or infinite values in 1 of 64 cells"
    ),
    "one that writes": (method(explain=write_and_fail), "KeyError: 'and fails'"),
    "maps of all sizes": (method(explain=of_all_sizes), "cells, others of equal images"),
    "complex maps": (method(explain=lambda s, e, c: torch.zeros(len(e), 2, 2) * 1j), "expected floating-point"),
    "an exception without a text": (method(explain=fail), "Unspeakable: its text cannot be had"),
    "an end of the process": (method(explain=lambda s, e, c: sys.exit(3)), "SystemExit: 3"),
    "a metric's end": (metric(judge=lambda s, case, maps, answers: sys.exit()), "SystemExit"),
    "diagnostics of one image": (method(diagnostics=gives({"a": torch.zeros(1)})), "must give 3 values, one per image"),
    "diagnostics that are complex": (method(diagnostics=gives({"a": 1j * torch.zeros(3)})), "got complex (3,)"),
    "diagnostics by number": (method(diagnostics=gives({3: torch.zeros(3)})), "must name columns by text; got 3"),
    "contributions of one image": (method(contributions=gives(torch.zeros(1, 2))), "contributions must give 3×K"),
    "cost is None": (method(cost=gives(None)), ""),
    "cost is a number": (method(cost=gives(7)), ""),
    "cost fails": (method(cost=fail), ""),
    "rectified is a text": (method(rectified="yes"), ""),
    "one value for all": (
        metric(judge=lambda s, case, maps, answers: {"value": maps.saliency.mean()}),
        "must give 3 values, one per image, for 'value'",
    ),
    "complex values": (metric(judge=gives({"value": 1j * torch.zeros(3)})), "got complex (3,)"),
    "columns by number": (metric(judge=gives({3: torch.zeros(3)})), "must name columns by text; got 3"),
    "no columns": (metric(judge=gives(None)), "must give values by column; got NoneType"),
    "probes is None": (metric(probes=gives(None)), "TypeError: 'NoneType' object is not iterable"),
    "probes that are none": (metric(probes=gives(["what"])), "probes gives str, which is no probe"),
    "probes fails": (metric(probes=fail), "Unspeakable: its text cannot be had"),
    "a probe that writes": (metric(probes=gives([Spoiling()])), "the case images was written to"),
    "a line that is none": (metric(line=gives("line")), "AttributeError: 'str' object has no attribute 'x'"),
}  # fmt: skip
SILENT = {
    "the image": writing(lambda case, maps: case.images.zero_()),
    "the image by numpy": writing(lambda case, maps: case.images.numpy().fill(0)),
    "the masks": writing(lambda case, maps: case.masks.zero_()),
    "the raw map": writing(lambda case, maps: maps.raw.neg_()),
    "the map by numpy": writing(lambda case, maps: maps.saliency.numpy().fill(1)),
    "the ranks": writing(lambda case, maps: maps.ranks.zero_()),
    "the lottery": writing(lambda case, maps: case.lottery.zero_()),
}


@pytest.fixture
def asked(small_suite, counting, tmp_path, monkeypatch):
    """Runs two methods and two metrics behind those of somebody else, by label."""
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    counting.inner.body.append(nn.BatchNorm2d(8)).eval()
    small_suite["dataset"][0]["limit"] = 3
    model = Classifier(counting.inner, name="tiny", layer="body.1")

    def ask(folder, theirs):
        for place, kind in enumerate(theirs.values()):
            kind.version = place  # their sources are alike
            monkeypatch.setattr(sys.modules[__name__], f"Theirs{place}", kind, raising=False)
        names = {label: f"{__name__}:Theirs{place}" for place, label in enumerate(theirs)}
        methods, metrics = (
            [{"name": names[label], "label": label} for label, own in theirs.items() if issubclass(own, kind)]
            for kind in (Method, Judge)
        )
        metrics += [{"name": "deletion", "steps": 2}, "energy-pointing-game"]
        return run(small_suite, models=[model], methods=[*methods, "gradcam", "random"], metrics=metrics, out=folder)

    return lambda theirs: ask(tmp_path / f"{len(list(tmp_path.iterdir()))}", theirs)


def ours(result):
    """What our metrics say of our methods."""
    scores = result.scores
    own = scores["method"].isin(["gradcam", "random"]) & scores["metric"].isin(["deletion", "energy-pointing-game"])
    return scores[own & (scores["column"] != "ties")].set_index(KEYS)[["value", "status", "error"]].sort_index()


@pytest.mark.parametrize(
    "theirs", [{name: leaving(do) for name, (do, _) in LEAKS.items()}, SILENT], ids=["leak", "write"]
)
def test_what_others_leave_behind_is_undone_and_told(asked, theirs):
    result = asked(theirs)
    pd.testing.assert_frame_equal(ours(result), ours(asked({})), rtol=1e-4)
    told = result.warnings.groupby("method")["text"].agg(" ".join).to_dict()
    assert [told for name, (_, text) in LEAKS.items() if name in theirs and text not in told.get(name, "")] == []


def test_whatever_others_give_costs_their_own_rows_which_say_so(asked):
    result = asked({name: theirs for name, (theirs, _) in BROKEN.items()})
    pd.testing.assert_frame_equal(ours(result), ours(asked({})), rtol=1e-3)
    errors = result.scores.query("status == 'error'")
    for name, (theirs, text) in BROKEN.items():
        kind, other = ("method", "metric") if issubclass(theirs, Method) else ("metric", "method")
        own = errors[(errors[kind] == name) & errors[other].isin([*ours(result).index.unique(other)])]["error"]
        assert bool(text) == bool(len(own)), name
        assert own.str.contains(text, regex=False).all(), (name, own.tolist())


def test_warnings_are_rows_each_once_with_a_count(asked):
    result = asked({"theirs": method(explain=ill_at_ease)})
    told = result.warnings[["model", "method", "text", "count"]].to_numpy().tolist()
    assert told == [["tiny", "theirs", "it is ? late", 1]]
