"""The command as a person meets it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from camfaith.benchmark.command_line import app
from camfaith.benchmark.store import load


def ask(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def suite_file(tmp_path):
    path = tmp_path / "mini.toml"
    path.write_text("""
        [suite]
        name = "mini"
        methods = ["gradcam", "random"]
        metrics = [{ name = "deletion", steps = 3 }, "conservation", "energy-pointing-game"]
        chunk = 2
        [[model]]
        name = "fundus-vgg"
        [[dataset]]
        name = "fundus"
        limit = 4
    """)
    return path


def test_run_prints_the_table_and_writes_the_report(suite_file, tmp_path):
    done = ask("run", suite_file, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    assert "fundus-vgg on fundus" in done.output
    assert (tmp_path / "run" / "report" / "report.html").is_file()
    result = load(tmp_path / "run")
    mean = result.scores.query("method == 'gradcam' and metric == 'deletion' and column == 'auc'")["value"].mean()
    assert f"{mean:.3f}" in done.output


def test_run_replaces_methods_and_limits(suite_file, tmp_path):
    done = ask("run", suite_file, "--out", tmp_path / "r", "--methods", "layercam, sobel", "--limit", 2, "--no-report")
    assert done.exit_code == 0, done.output
    scores = load(tmp_path / "r").scores
    assert set(scores["method"]) == {"layercam", "sobel"}
    assert scores["sample"].nunique() == 2


def test_plan_prints_the_forwards_and_backwards(suite_file):
    done = ask("plan", suite_file)
    assert done.exit_code == 0, done.output
    # 4 images; 2 methods × 2 inner points; one black image each, and one pass for the channels of the layer
    assert "forwards: 28 = 4 images + 0 by methods + 8 once an image + 16 once a map, at most" in " ".join(
        done.output.split()
    )


def test_report_of_a_folder_that_is_no_run_says_what_to_do(tmp_path):
    done = ask("report", tmp_path)
    assert done.exit_code == 2
    assert "is no run folder: it holds no run.json" in done.output


def test_an_unknown_method_is_one_line_and_an_exit_code(suite_file, tmp_path):
    done = ask("run", suite_file, "--methods", "gradcan", "--out", tmp_path / "r")
    assert done.exit_code == 2
    assert "did you mean 'gradcam'" in done.output
    assert not (tmp_path / "r").exists()


def test_list_shows_what_may_stand_in_a_suite():
    assert "gradcam, gradcam++, xgradcam" in ask("list", "methods").output
    assert "fundus-tag" in ask("list", "datasets").output
    assert "did you mean 'metrics'" in ask("list", "metrcs").output


def test_help_imports_nothing_heavy():
    code = (
        "import sys, camfaith.benchmark.command_line as c\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "Commands" in done.stdout
    assert done.stderr.strip() == "[]"


def test_run_takes_what_makes_it_cheaper(suite_file, tmp_path):
    words = ("run", suite_file, "--out", tmp_path / "r", "--no-report", "--no-keep-memory")
    done = ask(*words, "--until", "separated", "--allow", "fold")
    assert done.exit_code == 0, done.output
    info = load(tmp_path / "r").info
    assert (info["suite"]["until"], info["suite"]["allow"]) == ("separated", ["fold"])
    assert "control flow" in info["engine"][0]["setup"]["refused"]["fold"]


def test_a_shortcut_that_is_not_there_is_an_error_in_one_line(suite_file):
    done = ask("run", suite_file, "--allow", "fp4")
    assert done.exit_code == 2
    assert "suite.allow" in done.output
    assert "'bf16'" in done.output
