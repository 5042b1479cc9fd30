"""The plug-in as a test of somebody's own uses it: pytest is run on a project."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from camfaith.benchmark.gating import faithfulness, plugin  # noqa: F401 - here, else each inner pytest imports it anew

pytest_plugins = ["pytester"]

CHECK = 'faithfulness.check(MyCAM, {}, suite="small.toml", margin="20%")'
BASELINE = CHECK.format('baseline="kept/mycam.parquet"')


@pytest.fixture
def project(pytester, monkeypatch, project_in):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two edits may fall into one second
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # the plug-in is there once, installed or not
    return project_in(pytester.path)


@pytest.fixture
def ask(pytester, project):
    """Runs pytest on a test with that body."""

    def ask(body, *words):
        head = "from camfaith.methods import GradCAM\nfrom mycam import MyCAM\n\ndef test_cam(faithfulness):\n    "
        pytester.makepyfile(test_cam=head + body)
        return pytester.runpytest_inprocess("-p", plugin.__name__, *words)

    return ask


def test_a_baseline_is_asked_for_written_kept_to_and_held_against_a_broken_edit(ask, project):
    missing = ask(BASELINE)
    missing.assert_outcomes(failed=1)
    missing.stdout.fnmatch_lines(
        ["*no baseline at kept/mycam.parquet*", "*pytest test_cam.py::* --faithfulness-update"]
    )

    written = ask(BASELINE, "--faithfulness-update")
    written.assert_outcomes(passed=1)
    written.stdout.fnmatch_lines(["faithfulness baseline written: kept/mycam.parquet*"])

    project.write(project.REFACTORED)
    ask(BASELINE).assert_outcomes(passed=1)

    project.write(project.BROKEN)
    broken = ask(BASELINE)
    broken.assert_outcomes(failed=1)
    broken.stdout.fnmatch_lines(
        [
            "*mycam: regressed*",
            "*lost most against kept/mycam.parquet: * times its margin of *",
            "*the sample * lost most there: * became *",
            "*the run: .pytest_cache/d/camfaith/small;*",
            "*regressed: mycam in .pytest_cache/d/camfaith/small against mycam in*",
            "*metric *n *base *candidate *difference *margin *verdict",
            "*deletion auc*regressed",
        ]
    )


def test_a_method_must_not_fall_behind_the_one_that_it_is_like(ask, project, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (9.0, 9.0, 9.0))
    body = CHECK.format("like=GradCAM")
    ask(body, "-W", "error", "-W", "ignore::pytest.PytestAssertRewriteWarning").assert_outcomes(passed=1)
    project.write(project.BROKEN)
    ask(body).stdout.fnmatch_lines(["*regressed: mycam in .pytest_cache/d/camfaith/small against gradcam in*"])


def test_nothing_to_compare_with_says_what_to_give(ask):
    told = ask("faithfulness.check(MyCAM)")
    told.stdout.fnmatch_lines(["*nothing to compare with: give a baseline*"])
    told.stdout.no_fnmatch_line("*def gate*")


def test_speed_is_a_ratio_with_exact_calls_and_a_benchmark_where_these_are_installed(ask, project, pytester):
    project.write(project.TWICE)
    body = """
    found = faithfulness.speed(MyCAM, peer=GradCAM, suite="small.toml")
    assert found.ratio > 0
    assert (found.calls.forwards, found.calls.backwards) == (2, 1)
    assert (found.peer_calls.forwards, found.peer_calls.backwards) == (1, 1)
    """
    ask(body, "-p", "benchmark", "--benchmark-json", "speed.json").assert_outcomes(passed=1)
    assert '"ratio"' in (pytester.path / "speed.json").read_text()
    ask(body).assert_outcomes(passed=1)
    ask(body, "-p", "benchmark", "--benchmark-skip").assert_outcomes(skipped=1)


def test_the_plug_in_is_declared_has_help_of_its_own_and_loads_nothing_heavy(ask):
    declared = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8"))["project"]
    assert declared["entry-points"]["pytest11"] == {"camfaith": plugin.__name__}
    ask("pass", "--help").stdout.fnmatch_lines(["gates for class activation maps*", "*--faithfulness-update*"])
    code = f"import sys, {plugin.__name__}; print({{'torch', 'numpy', 'pandas', 'pydantic'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
