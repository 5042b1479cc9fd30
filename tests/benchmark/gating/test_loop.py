"""`camfaith gate` as an author uses it. In one process a file is read once, so an edit is another file here."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from camfaith.benchmark import gate, load
from camfaith.benchmark.cli.command_line import app

DECLARED = """[tool.camfaith.gate]
method = "mycam.py:MyCAM"
baseline = "kept/mycam.parquet"
suite = "small.toml"
margin = "20%"
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory, project_in):
    """A project whose baseline is written; the files that its author might have edited into."""
    folder = tmp_path_factory.mktemp("project")
    made = project_in(folder)
    (folder / "pyproject.toml").write_text(DECLARED)
    for name in ("REFACTORED", "BROKEN", "FLAT", "ERRING", "TWICE"):
        made.write(getattr(made, name), f"{name.lower()}.py")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        written = ask("--update")
        assert written.exit_code == 0, written.output
        assert "baseline written: kept/mycam.parquet; commit it" in written.output
        yield folder


def ask(*words):
    return CliRunner().invoke(app, ["gate", *map(str, words)])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 0, "passed: mycam in runs/gate against mycam in kept/mycam.parquet"),
        (["refactored.py:MyCAM"], 0, "passed: mycam in runs/gate against mycam in kept/mycam.parquet"),
        (["broken.py:MyCAM"], 1, "times its margin of"),
        (["broken.py:MyCAM", "--like", "gradcam"], 1, "regressed: mycam in runs/gate against gradcam in runs/gate"),
        (["flat.py:MyCAM"], 1, "have a constant map, other than in kept/mycam.parquet"),
        (["erring.py:MyCAM"], 1, "20 of 20 samples could not be judged, other than in kept/mycam.parquet: Attribute"),
        (["erring.py:MyCAM", "--baseline", "x.parquet", "--update"], 4, "has no value to write into a baseline: Attr"),
        (["twice.py:MyCAM"], 1, "forwards for a map on fundus-resnet rose from 1 to 2"),
        (["twice.py:MyCAM", "--margin", "20%", "--margin", "calls=2", "--like", "gradcam"], 0, "against gradcam in"),
        (["broken.py:MyCAM", "--limit", "8"], 2, "samples would decide"),
        (["broken.py:MyCAM", "--metrics", "deletion(steps=4),deletion(steps=5)"], 1, "lost most there"),  # two labels
        (["--metrics", "deletion(steps=5)"], 3, "write the baseline anew: --update"),
        (["--baseline", "gone.parquet"], 4, "no baseline at gone.parquet: the same command with --update writes it"),
        (["--margin", "deltion=1%"], 4, "no metric 'deltion'"),
        (["gradcan"], 4, "did you mean 'gradcam'"),
        (["gradcam,random"], 4, "expected one method"),
        (["broken.py:MyCAM", "--limit", "0"], 4, "--limit"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, list) else "",
)
def test_the_exit_code_is_the_verdict_and_the_text_says_why(project, words, code, told):
    found = ask(*words)
    assert found.exit_code == code, found.output
    assert told in " ".join(found.output.split())


def test_only_what_is_new_is_computed_and_all_of_it_is_told_as_json_and_markdown(project):
    project.joinpath("other.py").write_text(project.joinpath("mycam.py").read_text().replace("mean(", "sum("))
    before = load("runs/gate").info["cost"]["forwards"]
    found = json.loads(ask("other.py:MyCAM", "--json", "--markdown", "told.md").stdout)
    curves, samples = 2 * 4, 20
    assert 0 < load("runs/gate").info["cost"]["forwards"] - before <= samples * (1 + curves)
    assert found["verdict"] == found["comparisons"]["kept/mycam.parquet"]["verdict"] == "passed"
    assert "| deletion auc ↓ | 20 |" in (project / "told.md").read_text()
    made = load("runs/gate").info["cost"]["forwards"]
    assert gate("other.py:MyCAM", like="mycam.py:MyCAM", suite="small.toml", margin={"deletion": 0.1}).passed
    assert load("runs/gate").info["cost"]["forwards"] == made
    assert gate("twice.py:MyCAM", like="gradcam", suite="small.toml", margin="20%").passed, "a peer may take fewer"


def test_a_folder_of_many_parts_is_begun_anew(project, monkeypatch):
    before = len(load("runs/gate").folder.parts())
    monkeypatch.setattr("camfaith.benchmark.gating.loop.MOST", before - 1)
    assert ask().exit_code == 0
    assert len(load("runs/gate").folder.parts()) < before


def test_another_model_under_a_known_name_renews_the_default_folder_and_no_other(project):
    suite = (project / "small.toml").read_text()
    (project / "other.toml").write_text(suite.replace("fundus-resnet", 'fundus-vgg"\nlabel = "fundus-resnet'))
    words = ("--suite", "other.toml", "--like", "gradcam", "--baseline", "new.parquet", "--update")
    refused = ask(*words, "--out", "runs/gate")
    assert (refused.exit_code, "is not the one" in refused.output) == (4, True)
    assert ask(*words).exit_code == 0
    assert [model["source"] for model in load("runs/gate").info["models"]] == ["fundus-vgg"]
    told = ask("--suite", "other.toml")
    assert (told.exit_code, "weights" in told.output) == (3, True)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, "nothing to compare with: give a baseline"),
        ({"like": "gradcam", "update": True}, "nothing to update"),
        ({"baseline": "new.parquet", "update": True, "method": {"name": "gradcam", "layer": "fc"}}, "fc"),
    ],
)
def test_what_cannot_be_asked_says_what_to_give(project, asked, told):
    with pytest.raises(ValueError, match=told):
        gate(**{"method": "mycam.py:MyCAM", "suite": "small.toml", **asked})
