"""Every check catches the method that is broken in its way, and lets the others pass."""

from __future__ import annotations

import copy
import unittest
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from camfaith.benchmark import check_method, method_checks, run
from camfaith.benchmark.command_line import app
from camfaith.benchmark.conformance import CHECKS, report
from camfaith.benchmark.conformance.subject import Subject, namesake
from camfaith.methods import SHIPPED, Calls, GradCAM, Method
from camfaith.methods.adapters import LIBRARIES
from camfaith.models.errors import NotApplicable

BY_NAME = {check.name: check for check in CHECKS}


class Squeezed(GradCAM):
    """The shape of a single map has no batch axis."""

    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).squeeze(0)


class Single(GradCAM):
    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).float()


class OnTheHost(GradCAM):
    def explain(self, evidence, classifier):
        return super().explain(evidence, classifier).cpu()


class Standardised(GradCAM):
    """The deviation of a single cell is NaN."""

    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw / raw.flatten(1).std(1).clamp(min=1e-30)[:, None, None]


class Jittered(GradCAM):
    def explain(self, evidence, classifier):
        raw, source = super().explain(evidence, classifier), torch.Generator()
        source.seed()
        return raw * (1 + 1e-8 * torch.rand(raw.shape, generator=source, dtype=torch.float64).to(raw))


class OverTheBatch(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw / raw.abs().max().clamp(min=1e-30)


class Writing(GradCAM):
    def explain(self, evidence, classifier):
        evidence.images.mul_(0.5)
        return super().explain(evidence, classifier)


class LeavingGradients(GradCAM):
    def explain(self, evidence, classifier):
        for parameter in classifier.network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return super().explain(evidence, classifier)


class SettingEvaluation(GradCAM):
    def explain(self, evidence, classifier):
        classifier.network.eval()
        return super().explain(evidence, classifier)


class LeavingAHook(GradCAM):
    def explain(self, evidence, classifier):
        if not classifier.network._forward_hooks:
            classifier.network.register_forward_hook(lambda *_: None)
        return super().explain(evidence, classifier)


class DrawingGlobally(GradCAM):
    def explain(self, evidence, classifier):
        torch.rand(1)
        return super().explain(evidence, classifier)


class WithAPassOfItsOwn(GradCAM):
    """Runs a copy of the network; how, is left to the ones below."""

    def cost(self, image):
        return Calls(forwards=1, backwards=1)

    def go_back(self, network, images, target):
        network(images).gather(1, target[:, None]).sum().backward()


class NeedingParameters(WithAPassOfItsOwn):
    def explain(self, evidence, classifier):
        with torch.enable_grad():
            self.go_back(copy.deepcopy(classifier.network).eval(), evidence.images, evidence.targets)
        return super().explain(evidence, classifier)


class NeedingGradMode(WithAPassOfItsOwn):
    def explain(self, evidence, classifier):
        images = evidence.images.clone().requires_grad_()
        self.go_back(copy.deepcopy(classifier.network).eval(), images, evidence.targets)
        return super().explain(evidence, classifier)


class ByNumpy(GradCAM):
    """numpy has no bfloat16, which the images have."""

    def explain(self, evidence, classifier):
        edges = torch.from_numpy(evidence.images.numpy()).to(evidence.images)
        return super().explain(evidence, classifier) + 0 * edges.sum()


class Hooked(WithAPassOfItsOwn):
    """GradCAM from hooks of its own: `keep` takes the layer's output, and gives what the network goes on with."""

    def keep(self, kept, output):
        raise NotImplementedError

    def explain(self, evidence, classifier):
        network, kept = copy.deepcopy(classifier.network).eval(), {}
        network.get_submodule(self.layer).register_forward_hook(lambda _m, _i, output: self.keep(kept, output))
        with torch.enable_grad():
            images = evidence.images.clone().requires_grad_()
            score = network(images).gather(1, evidence.targets[:, None]).sum()
            (gradient,) = torch.autograd.grad(score, kept["output"])
        return (gradient.mean((2, 3), keepdim=True) * kept["output"].detach()).sum(1)


class WithoutACopy(Hooked):
    def keep(self, kept, output):
        kept["output"] = output


class OfTheFirstCall(Hooked):
    def keep(self, kept, output):
        kept.setdefault("output", output)
        return output.clone()


class TooBright(GradCAM):
    def explain(self, evidence, classifier):
        classifier.scores(5.5 * evidence.images)
        return super().explain(evidence, classifier)

    def cost(self, image):
        return Calls(forwards=1)


class Undeclared(GradCAM):
    def explain(self, evidence, classifier):
        classifier.scores(evidence.images)
        return super().explain(evidence, classifier)


class Remembering(GradCAM):
    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.given = []

    def explain(self, evidence, classifier):
        self.given.append(super().explain(evidence, classifier))
        return self.given[-1]


class Stale(GradCAM):
    """The first map of an image is given for every class that is asked later."""

    def __init__(self, model, target_layer=None):
        super().__init__(model, target_layer)
        self.known = {}

    def explain(self, evidence, classifier):
        key = evidence.images.double().cpu().numpy().tobytes()
        return self.known.setdefault(key, super().explain(evidence, classifier))


class PerActivation(GradCAM):
    """0/0 where the layer is silent."""

    def explain(self, evidence, classifier):
        size = evidence.activations[self.layer].abs().sum((1, 2, 3))
        return super().explain(evidence, classifier) / size[:, None, None]


class FromItsMinimum(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw - raw.amin((1, 2), keepdim=True)


class BlindAtTheBorder(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        if min(raw.shape[1:]) < 3:
            return raw
        dimmed = 0.01 * raw
        dimmed[:, 1:-1, 1:-1] = raw[:, 1:-1, 1:-1]
        return dimmed


class SignedByTheLogit(GradCAM):
    def explain(self, evidence, classifier):
        sign = evidence.logits.gather(1, evidence.targets[:, None]).sign()
        return super().explain(evidence, classifier) * sign[:, :, None]


class Leaking(Method):
    """Image times gradient, of the class and nearly as much of all others."""

    name = "leaking"

    def cost(self, image):
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence, classifier):
        network = copy.deepcopy(classifier.network).eval().requires_grad_(False)
        with torch.enable_grad():
            images = evidence.images.clone().requires_grad_()
            logits = network(images)
            own = logits.gather(1, evidence.targets[:, None])
            score = own.sum() + 0.9 * (logits.sum() - own.sum())
            (gradient,) = torch.autograd.grad(score, images)
        return (gradient * evidence.images).sum(1)


class Squared(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * raw.abs()


class ClaimingToBeComplete(GradCAM):
    complete = True


class Leaning(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * (1 + 1e-4 * torch.arange(raw.shape[2]).to(raw))


class Lifted(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw + 0.02 * raw.clamp(min=0).amax((1, 2), keepdim=True)


BROKEN = {
    "shape": (Squeezed, {}),
    "dtype": (Single, {}),
    "device": (OnTheHost, {}),
    "finite": (Standardised, {}),
    "repeatable": (Jittered, {}),
    "batch": (OverTheBatch, {}),
    "images-untouched": (Writing, {}),
    "network-untouched": (LeavingGradients, {}),
    "training-mode": (SettingEvaluation, {}),
    "hooks": (LeavingAHook, {}),
    "random-state": (DrawingGlobally, {}),
    "frozen": (NeedingParameters, {}),
    "no-grad": (NeedingGradMode, {}),
    "low-precision": (ByNumpy, {}),
    "in-place": (WithoutACopy, {}),
    "reused-layer": (OfTheFirstCall, {}),
    "in-range": (TooBright, {}),
    "cost": (Undeclared, {}),
    "memory": (Remembering, {}),
    "class-dependence": (Stale, {}),
    "zero-activations": (PerActivation, {}),
    "constant-evidence": (FromItsMinimum, {}),
    "planted-patch": (BlindAtTheBorder, {}),
    "negative-logit": (SignedByTheLogit, {}),
    "mosaic": (Leaking, {}),
    "known-map": (Squared, {}),
    "completeness": (ClaimingToBeComplete, {}),
    "logit-scale": ("gradcam++", {"variant": "pgc"}),
    "flip": (Leaning, {}),
    "cancelling-channel": ("xgradcam", {"variant": "pgc"}),
    "silent-cells": (Lifted, {}),
    "like": ("gradcam++", {"variant": "torchcam", "like": "gradcam++"}),
}


QUICKLY = [replace(check, cases=check.cases[-1:]) for check in CHECKS if check.name != "memory"]
"""The checks on the largest of their inputs; memory is measured where it is asked about."""


def test_there_is_a_broken_method_for_every_check():
    assert list(BROKEN) == [check.name for check in CHECKS]


@pytest.mark.parametrize("name", BROKEN)
def test_a_check_catches_the_method_that_is_broken_in_its_way_alone(name):
    if name == "device" and not torch.cuda.is_available():
        pytest.skip("maps on another device need one: there is no CUDA here")
    method, settings = BROKEN[name]
    subject = Subject(method, **settings)
    assert BY_NAME[name].of(subject).outcome == "failed"
    others = [check for check in QUICKLY if check.name != name]
    assert [check.name for check in others if check.of(subject).outcome == "failed"] == []


def test_a_failure_comes_with_the_smallest_input_and_its_meaning():
    result = BY_NAME["batch"](OverTheBatch)
    assert result.smallest == "batch 2, 4×4 px, seed 0"
    assert result.seen.startswith("together and one by one: they differ by 0.")
    assert result.means == "an image's map depends on which images happen to stand beside it"
    assert BY_NAME["finite"](Standardised).smallest == "batch 1, 2×2 px, seed 0"


class BrokenWhereWide(GradCAM):
    def explain(self, evidence, classifier):
        raw = super().explain(evidence, classifier)
        return raw * torch.nan if raw.shape[1] != raw.shape[2] else raw


def test_inputs_grow_until_one_breaks_it():
    assert BY_NAME["finite"](BrokenWhereWide).smallest == "batch 3, 9×12 px, seed 2"


class Plain:
    """No more than the contract asks for."""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        return (evidence.gradients[self.layer] * evidence.activations[self.layer]).sum(1)


def test_a_plain_class_with_explain_alone_passes():
    found = check_method(Plain)
    assert found.passed, found.failures
    assert found.method == "Plain"
    assert set(found.names("does not apply")) <= {"device", "completeness", "like"}
    assert len(found.table) == len(CHECKS)


FEW = {
    "rise": {"n_masks": 40},
    "ss-cam": {"n_samples": 4, "sigma": 0.3},
    "shapley-value-sampling": {"samples": 5},
    "kernel-shap": {"samples": 64},
    "lime": {"samples": 64},
    "noise-tunnel": {"samples": 4},
}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_method_keeps_to_the_contract(name):
    subject = Subject(name, **FEW.get(name, {}))
    found = [check.of(subject) for check in QUICKLY]
    assert [(result.check, result.smallest, result.seen) for result in found if result.outcome == "failed"] == []


class RememberingArrays(Remembering):
    def explain(self, evidence, classifier):
        self.given.append(GradCAM.explain(self, evidence, classifier).numpy())
        return torch.from_numpy(self.given[-1])


@pytest.mark.parametrize(
    ("method", "outcome"), [("gradcam", "passed"), ("integrated-gradients", "passed"), (RememberingArrays, "failed")]
)
def test_memory_is_watched(method, outcome):
    assert BY_NAME["memory"](method).outcome == outcome


class Refusing(GradCAM):
    def explain(self, evidence, classifier):
        raise NotApplicable("it wants a mask")


def test_what_does_not_apply_is_told_with_its_reason():
    found = check_method(Refusing)
    assert {result.outcome for result in found.results} == {"does not apply"}
    assert found.results[0].seen == "it wants a mask"
    dependent = BY_NAME["class-dependence"]("eigencam")
    assert (dependent.outcome, dependent.seen) == (
        "does not apply",
        "it says that its maps do not depend on the class",
    )


class Failing(GradCAM):
    def explain(self, evidence, classifier):
        raise KeyError("layer9")


def test_a_method_that_gives_no_map_at_all_fails_once():
    found = check_method(Failing)
    assert [(result.check, result.seen) for result in found.failures] == [("shape", "KeyError: 'layer9'")]


def test_a_method_is_examined_on_the_networks_that_it_is_for():
    assert Subject("cam").ground.name == "pooled"
    assert Subject("gradcam").ground.name == "convolutional"
    assert Subject("rollout").ground.name == "transformer"


def test_the_global_generators_are_left_alone():
    state = torch.random.get_rng_state()
    BY_NAME["repeatable"]("gradcam")
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("check", [check for check in method_checks(Plain) if check.check.name != "memory"], ids=str)
def test_the_checks_run_as_tests(check):
    check()


def test_a_failing_check_fails_its_test():
    (check,) = (check for check in method_checks(Undeclared) if check.check.name == "cost")
    with pytest.raises(AssertionError, match=r"batch 2, 4×4 px.*2 forwards.*declared: 0"):
        check()


def test_a_check_that_does_not_apply_skips_its_test():
    (check,) = (check for check in method_checks(Refusing) if check.check.name == "shape")
    with pytest.raises(unittest.SkipTest, match="it wants a mask"):
        check()


KNOWN_DEFECTS = {
    "pgc:GradCAM": ["dtype", "network-untouched", "training-mode", "frozen", "no-grad", "low-precision", "in-place",
                    "reused-layer", "constant-evidence"],
    "pgc:GradCAMPlusPlus": ["logit-scale"],
    "pgc:XGradCAM": ["cancelling-channel"],
    "pgc:EigenCAM": ["planted-patch", "like"],
    "pgc:AblationCAM": ["negative-logit"],
    "pgc:RandomCAM": ["repeatable", "random-state"],
    "torchcam:GradCAM": ["frozen", "no-grad", "training-mode", "in-place", "constant-evidence"],
    "torchcam:GradCAMpp": ["like"],
    "torchcam:XGradCAM": ["cancelling-channel"],
    "torchcam:SmoothGradCAMpp": ["repeatable", "random-state", "silent-cells"],
    "torchcam:ISCAM": ["in-range"],
}  # fmt: skip


@pytest.mark.parametrize(("method", "names"), KNOWN_DEFECTS.items(), ids=KNOWN_DEFECTS)
def test_known_defects_of_other_libraries_are_found(method, names):
    module = LIBRARIES[method.partition(":")[0]].module
    pytest.importorskip(module, reason="needs other libraries; pip install 'camfaith[peers]'")
    assert {name: BY_NAME[name](method).outcome for name in names} == dict.fromkeys(names, "failed")


@pytest.mark.parametrize("method", ["pgc:GradCAM", "pgc:HiResCAM", "torchcam:GradCAM", "torchcam:LayerCAM"])
def test_where_other_libraries_are_right_they_are_like_ours(method):
    module = LIBRARIES[method.partition(":")[0]].module
    pytest.importorskip(module, reason="needs other libraries; pip install 'camfaith[peers]'")
    relu = replace(BY_NAME["like"], cases=[case for case in BY_NAME["like"].cases if case.seed % 2 == 0])
    assert relu(method).outcome == "passed", relu(method).seen


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("pgc:GradCAMPlusPlus", "gradcam++"),
        ("torchcam:GradCAMpp", "gradcam++"),
        ("pgc:KPCA_CAM", "kpca-cam"),
        ("pgc:GradCAMElementWise", "elementwise"),
        ("torchcam:CAM", "cam"),
        ("pgc:FEM", None),
        ("mypackage:GradCAM", None),
    ],
)
def test_another_librarys_method_is_compared_with_the_one_of_its_name(theirs, ours):
    assert namesake(theirs) == ours


def test_other_libraries_methods_stand_in_the_same_table(small_suite, counting, tmp_path):
    for name in ("pytorch_grad_cam", "torchcam"):
        pytest.importorskip(name, reason="needs other libraries; pip install 'camfaith[peers]'")
    names = ["hirescam", "pgc:HiResCAM", "torchcam:LayerCAM"]
    small_suite["suite"] |= {"methods": names, "metrics": ["energy-pointing-game"]}
    small_suite["dataset"][0]["limit"] = 2
    from camfaith.models import Classifier

    result = run(small_suite, models=[Classifier(counting.inner, name="tiny", layer="body")], out=tmp_path / "run")
    assert set(result.scores["method"]) == set(names)
    assert (result.scores["status"] != "error").all(), result.scores["error"].dropna().tolist()


def ask(*words):
    return CliRunner().invoke(app, ["check", *map(str, words)])


@pytest.fixture
def files(tmp_path):
    sound, broken = tmp_path / "sound.py", tmp_path / "broken.py"
    sound.write_text("from camfaith.methods import GradCAM\nclass Mine(GradCAM):\n    name = 'mine'\n")
    broken.write_text(
        sound.read_text() + "    def explain(self, e, c):\n        return super().explain(e, c).float()\n"
    )
    return sound, broken


def test_the_command_ends_with_1_where_a_check_fails(files, monkeypatch):
    sound, broken = files
    monkeypatch.setattr(report, "CHECKS", QUICKLY)
    passed, failed = ask(f"{sound}:Mine", "--like", "gradcam"), ask(f"{broken}:Mine")
    assert passed.exit_code == 0, passed.output
    assert "0 failed" in passed.output
    assert failed.exit_code == 1
    assert "1 failed" in failed.output
    assert "8×8 px" in failed.output


def test_the_command_names_what_it_does_not_know():
    assert ask("gradcan").exit_code == 2
    assert "did you mean 'gradcam'" in ask("gradcan").output
    assert "name a method" in ask().output


def test_the_command_writes_a_page(files, tmp_path, monkeypatch):
    sound, broken = files
    monkeypatch.setattr(report, "CHECKS", CHECKS[:3])
    assert ask(f"{sound}:Mine", f"{broken}:Mine", "--out", tmp_path / "page.md").exit_code == 1
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| dtype | Maps have the precision of the network. | precision is lost" in page
    assert f"| {sound}:Mine | 2 | – | device |" in page
    assert f"| {broken}:Mine | dtype | batch 1, 4×4 px, seed 0 | a float64 network gets float32 maps |" in page


def test_all_is_every_shipped_method_and_every_installed_one():
    names = report.everything()
    assert set(SHIPPED) <= set(names)
    assert all(name in SHIPPED or name.partition(":")[0] in LIBRARIES for name in names)
