"""What fails everywhere ends a command with exit code 1, and says where."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from camfaith.benchmark import load
from camfaith.benchmark.cli.command_line import app

MINE = """
import warnings
class Mine:
    def __init__(self, model, target_layer=None): self.layer = target_layer
    def explain(self, evidence, classifier):
        warnings.warn("nothing works")
        raise RuntimeError("cannot")
"""
SUITE = """
[suite]
name = "failing"
methods = ["mine.py:Mine", "random"]
metrics = ["energy-pointing-game"]
batch_size = 4
[[model]]
name = "fundus-vgg"
[[dataset]]
name = "fundus"
size = 64
limit = 2
"""


@pytest.mark.parametrize("others", [True, False], ids=["one fails", "all fail"])
def test_a_method_that_fails_on_every_sample_is_told_with_file_and_line_and_ends_in_1(tmp_path, monkeypatch, others):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "suite.toml").write_text(SUITE if others else SUITE.replace(', "random"', ""))
    found = CliRunner().invoke(app, ["run", "suite.toml", "--out", "run", "--no-report"])
    assert found.exit_code == 1
    assert "fundus-vgg on fundus: 0 of " in found.stderr, "the output is no terminal"
    told = "error: method mine.py:Mine failed on every sample: RuntimeError: cannot ("
    assert told in found.stderr
    assert "mine.py, line 7); see run/errors/method_mine.py_Mine.txt" in found.stderr
    assert "Traceback" in (tmp_path / "run" / "errors" / "method_mine.py_Mine.txt").read_text()
    assert ("the run yields no value at all" in found.stderr) is not others
    assert "warning: mine.py:Mine on fundus: nothing works (3 times)" in found.stderr
    assert load("run").warnings["count"].tolist() == [3]
