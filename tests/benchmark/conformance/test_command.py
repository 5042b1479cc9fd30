"""The command's output, files and exit codes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from camfaith import metrics
from camfaith.benchmark import check_metric
from camfaith.benchmark.cli.command_line import app
from camfaith.benchmark.conformance import Finding, Report, page
from camfaith.benchmark.conformance.of_methods import CHECKS, checks
from camfaith.benchmark.conformance.of_methods.defects import Defect
from camfaith.benchmark.conformance.report import show
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.methods import SHIPPED
from camfaith.methods.adapters import LIBRARIES
from camfaith.metrics import Deletion

QUICKLY = [replace(check, trials=check.trials[-1:]) for check in CHECKS if check.name != "memory"]
"""The checks on the largest of their inputs; memory is measured where it is asked about."""


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
    monkeypatch.setattr(checks, "CHECKS", QUICKLY)
    passed, failed = ask(f"{sound}:Mine", "--like", "gradcam"), ask(f"{broken}:Mine")
    assert passed.exit_code == 0, passed.output
    assert "0 failed" in passed.output
    assert failed.exit_code == 1
    assert "1 failed" in failed.output
    assert "2×2 px" in failed.output


def test_a_method_of_which_nothing_can_be_asked_does_not_pass(files, monkeypatch):
    sound, _ = files
    refusing = sound.with_name("refusing.py")
    refusing.write_text(
        sound.read_text() + "    def explain(self, e, c):\n        raise NotApplicable('it wants a mask')\n"
    )
    refusing.write_text("from camfaith.models.errors import NotApplicable\n" + refusing.read_text())
    monkeypatch.setattr(checks, "CHECKS", QUICKLY)
    found = ask(f"{refusing}:Mine")
    assert found.exit_code == 1
    assert "nothing could be asked of it, so it does not pass" in " ".join(found.output.split())


def test_the_command_names_what_it_does_not_know():
    assert ask("gradcan").exit_code == 2
    assert "did you mean 'gradcam'" in ask("gradcan").output
    assert "name a method" in ask().output


SPREAD = """
from camfaith.metrics import Metric

class Spread(Metric):
    \"\"\"The share of pixels above half of the highest, in [0, 1]; lower is better (own definition).\"\"\"

    name, main, better = "spread", "share", {"share": "lower"}

    def judge(self, case, maps, answers):
        top = maps.saliency.amax((1, 2), keepdim=True)
        return {"share": (maps.saliency > top / 2).double().where(top > 0, float("nan")).mean((1, 2))}
"""


def test_the_command_tells_metrics_from_methods(tmp_path):
    metric, both = tmp_path / "spread.py", tmp_path / "both.py"
    metric.write_text(SPREAD)
    both.write_text(SPREAD + "    def explain(self, evidence, classifier):\n        ...\n")
    passed, missed = ask(f"{metric}:Spread", "--out", tmp_path / "page.md"), ask("spread.py:Spread")
    assert passed.exit_code == 0, passed.output
    assert f"| {metric}:Spread | 2" in (tmp_path / "page.md").read_text("utf-8")
    assert "no Python file at spread.py" in missed.output
    assert "is a method and a metric: name the class that is meant" in " ".join(ask(f"{both}:Spread").output.split())
    assert "--like is for methods" in ask("deletion", "--like", "gradcam").output
    assert "no method: expected a class with explain" in ask("os:system").output
    assert "did you mean 'deletion'" in ask("deletio").output


def test_the_command_writes_a_page(files, tmp_path, monkeypatch):
    sound, broken = files
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(checks, "CHECKS", CHECKS[:3])
    assert ask(f"{sound}:Mine", f"{broken}:Mine", "--out", tmp_path / "page.md").exit_code == 1
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| dtype | Maps have the precision of the network. | precision is lost" in page
    assert f"| {sound}:Mine | 2 | – | device |" in page
    assert f"| {broken}:Mine | dtype | batch 1, 2×2 px, seed 0 | a float64 network gets float32 maps |" in page


def test_the_page_lists_the_known_defects_that_were_shown(monkeypatch):
    defect = Defect("it | draws", "repeatable", ("pgc:RandomCAM", "pgc:FEM"))
    monkeypatch.setattr(page, "KNOWN_DEFECTS", (defect, Defect("it is slow", "cost", ("pgc:FEM",))))
    shown = Report("pgc:RandomCAM", (Finding("repeatable", "failed", "two maps", "batch 1", "no run is another"),))
    sound = Report("pgc:FEM", (Finding("repeatable", "passed"), Finding("cost", "passed")))
    written = page.page([shown, sound], [])
    assert written.endswith(
        "| defect | check | shown of |\n| :-- | :-- | :-- |\n| it ∣ draws | repeatable | pgc:RandomCAM |\n"
    )
    assert "defect" not in page.page([sound], [])


@pytest.mark.parametrize(("there", "told"), [(False, 1), (True, 0)])
def test_the_page_says_where_no_device_was_tried(monkeypatch, there, told):
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert page.page([], []).count("There was no CUDA device: `device` was not tried.") == told


def test_the_documentation_lists_the_checks_that_there_are():
    written = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text("utf-8")
    for head in ("## The checks\n", "## The checks of metrics\n"):
        listed, wanted = (
            text.partition(head)[2].partition("\n## ")[0].rstrip() for text in (written, page.page([], []))
        )
        assert listed == wanted


def test_all_is_every_shipped_method_and_metric_and_every_installed_method():
    names = page.everything()
    assert {*SHIPPED, *metrics.SHIPPED} <= set(names)
    assert all(name in {*SHIPPED, *metrics.SHIPPED} or name.partition(":")[0] in LIBRARIES for name in names)


def test_the_command_takes_settings_of_a_method_and_of_the_one_it_must_equal(monkeypatch):
    monkeypatch.setattr(checks, "CHECKS", [check for check in CHECKS if check.name == "like"])
    monkeypatch.setattr(checks, "require_known", lambda candidate, known: None)
    words = ("gradcam++", "--set", "variant=pgc", "--like", "gradcam++")
    differing, equal = ask(*words), ask(*words, "--like-set", "variant=pgc")
    assert differing.exit_code == 1
    assert "gradcam++(variant=pgc) and gradcam++: they differ" in " ".join(differing.output.split())
    assert equal.exit_code == 0, equal.output


def test_the_command_names_the_settings_that_there_are():
    found = ask("gradcam++", "--set", "varinat=pgc")
    assert found.exit_code == 2
    assert "method 'gradcam++': unknown setting 'varinat': did you mean 'variant'" in found.output
    assert "as name=value, got 'variant'" in ask("gradcam++", "--set", "variant").output
    assert "--like-set needs --like" in ask("gradcam++", "--like-set", "variant=pgc").output


@pytest.fixture
def told():
    """What is shown of a report on a terminal of 80 columns, line by line."""

    def told(found, **how):
        console = Console(width=80, record=True, file=io.StringIO())
        show(found, console, **how)
        return console.export_text().splitlines()

    return told


@pytest.fixture
def mixed():
    findings = [
        Finding(
            "batch", "failed", "together and one by one: they differ", "batch 2, 2×2 px, seed 0", "maps depend on it"
        ),
        Finding("size", "failed", "KeyError: 'm'", "batch 1", "it gives nothing there"),
        Finding("grey", "failed", "KeyError: 'm'", "batch 2", "it gives nothing there"),
        Finding("mosaic", "does not apply", "it [does] not depend on the class"),
        Finding("cancelling-channel", "does not apply", "it [does] not depend on the class"),
        Finding("shape", "passed"),
        Finding("finite", "passed"),
    ]
    return Report("mine", tuple(findings), "transformer")


def test_eighty_columns_are_enough_and_a_shared_reason_is_told_once(told, mixed):
    assert [line.rstrip() for line in told(mixed)] == [
        "mine on a transformer network: 2 passed, 3 failed, 2 do not apply",
        "batch           batch 2, 2×2 px, seed 0: together and one by one: they differ;",
        "                so maps depend on it",
        "2 checks        batch 1: KeyError: 'm'; so it gives nothing there: size, grey",
        "does not apply  it [does] not depend on the class: mosaic, cancelling-channel",
        "passed          shape, finite",
    ]


def test_of_many_methods_the_failures_alone_are_told(told, mixed):
    assert [line.rstrip() for line in told(mixed, briefly=True)][4:] == []
    unasked = Report("mine", mixed.findings[3:5])
    assert " ".join(" ".join(told(unasked, briefly=True)).split()) == (
        "mine: 0 passed, 0 failed, 2 do not apply: nothing could be asked of it, so it does not pass "
        "does not apply it [does] not depend on the class: mosaic, cancelling-channel"
    )


@pytest.mark.parametrize(
    ("metric", "settings", "words"),
    [
        (7, {}, "expected a metric's class, or its name; got int 7"),
        ("deletion", {"stepz": 4}, "metric 'deletion': unknown setting 'stepz': did you mean 'steps'"),
        (type("Nameless", (), {"judge": None}), {}, "lacks name, main, better, probes"),
        (type("Excused", (Deletion,), {"exempt": {"stable": "no"}}), {}, "exempt from 'stable', which is no check"),
    ],
)
def test_what_is_no_metric_is_refused_in_words(metric, settings, words):
    with pytest.raises(SuiteError, match=words):
        check_metric(metric, **settings)
