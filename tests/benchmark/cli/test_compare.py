"""`camfaith compare` and `camfaith baseline`, on runs as they are."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from camfaith.benchmark import load, run
from camfaith.benchmark.cli.command_line import app
from camfaith.benchmark.results.exact import First
from camfaith.models import Classifier

CAM = """
from camfaith.methods import GradientCAM


class CAM(GradientCAM):
    name = "cam"

    def weights(self, activations, gradients):
        return gradients.mean((2, 3), keepdim=True){}
"""
DEARER = """
    def explain(self, evidence, classifier):
        classifier.network(evidence.images)
        return super().explain(evidence, classifier)
"""
VARIANTS = {"base": "", "same": " * 1  # and a comment", "worse": ".neg()", "dearer": f"\n{DEARER}"}
VARIANTS["few"] = ""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each variant of a CAM, on twelve photographs."""
    folder = tmp_path_factory.mktemp("runs")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        layers = [torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2, 1), torch.nn.ReLU()]
        network = torch.nn.Sequential(*layers, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5))
    model = Classifier(network.eval(), name="tiny", layer="3")
    for name, change in VARIANTS.items():
        (folder / f"{name}.py").write_text(CAM.format(change), "utf-8")
        methods = [{"name": f"{folder / name}.py:CAM", "label": f"{name} cam"}, "random"]
        metrics = [{"name": "deletion", "steps": 4}, {"name": "insertion", "steps": 4}]
        suite = {
            "suite": {"name": "small", "methods": methods, "metrics": metrics, "batch_size": 16},
            "model": [{"name": "tiny"}],
            "dataset": [{"name": "fundus", "limit": 4 if name == "few" else 12, "size": 32}],
        }
        run(suite, models=[model], out=folder / name)
    return folder


def ask(runs, *words):
    found = CliRunner().invoke(app, [str(runs / word) if word in VARIANTS else str(word) for word in words])
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
    return found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("base", "same", "--exact"), 0, "equal: same cam in"),
        (("base", "same"), 0, "passed: same cam in"),
        (("base", "worse", "--margin", "1%"), 1, "worse"),
        (("base", "dearer"), 1, "forwards per map: they rise from 1 to 2"),
        (("base", "dearer", "--margin", "calls=2"), 0, "passed"),
        (("base", "worse", "--exact"), 1, "different: worse cam in"),
        (("worse", "--method", "worse cam=random", "--margin", "0.00001"), 2, "would decide (12 now)"),
        (("base", "few"), 3, "4 common samples or clusters; at least 8 are needed"),
        (("base", "--method", "base cam=random", "--margin", "0.0001"), 1, "base cam → random"),
        (("base", "base", "--method", "random", "--margin", "0.01"), 0, "equal to the bit"),
        ((), 4, "Missing argument"),
        (("base", "same", "--colour"), 4, "No such option"),
        (("base",), 4, "give a second run or a baseline"),
        (("base", "--method", "random"), 4, "a method of one run is equal to itself"),
        (("base", "nowhere"), 4, "neither a run's folder nor a baseline at nowhere"),
        (("base", "same", "--margin", "0"), 4, "greater than 0"),
        (("base", "same", "--tolerance", "0.1"), 4, "need --exact"),
        (("base", "same", "--exact", "--margin", "1%"), 4, "leave out --margin"),
        (("base", "same", "--exact", "--tolerance", "-1"), 4, "0 or more"),
        (("base", "worse", "--exact", "--picture", "first.jpg"), 4, "ends in one of .pdf, .svg, .png"),
    ],
)
def test_the_exit_code_is_the_verdict_and_bad_usage_is_none(runs, words, code, said):
    found = ask(runs, "compare", *words)
    assert found.exit_code == code, found.output
    assert said in " ".join(found.output.split())


def test_what_is_exactly_different_is_told_and_drawn(runs, tmp_path):
    found = ask(runs, "compare", "base", "worse", "--exact", "--json", "--picture", tmp_path / "first.png")
    told = json.loads(found.stdout)
    one, other = (load(runs / name).read("maps", method=f"{name} cam") for name in ("base", "worse"))
    first = told["first"]["map"]
    assert (told["maps"], told["differing_maps"]) == (len(one), len(other))
    assert first["sample"] == one["sample"][0]
    assert first["base"] == -first["candidate"] != 0
    assert "first.png" in found.stderr
    with Image.open(tmp_path / "first.png") as picture:
        assert picture.width > 2 * picture.height
    loose = ask(runs, "compare", "base", "worse", "--exact", "--tolerance", "1e9")
    assert loose.exit_code == 0, loose.output


def test_a_baseline_stands_for_its_run(runs, tmp_path):
    path = tmp_path / "cam.parquet"
    assert "baseline: " in ask(runs, "baseline", "base", path).output
    assert b"base.py:CAM" in path.read_bytes()
    assert str(runs).encode() not in path.read_bytes()
    for candidate, code in (("same", 0), ("dearer", 1)):
        of = [json.loads(ask(runs, "compare", base, candidate, "--json").stdout) for base in ("base", path)]
        assert of[0].pop("base") != of[1].pop("base")
        assert of[0] == of[1]
        assert of[0]["exit_code"] == code
    assert ask(runs, "compare", path, "same", "--exact").exit_code == 0
    assert ask(runs, "baseline", "base", path, "--method", "mycam").exit_code == 2
    path.write_bytes(path.read_bytes()[:-9])
    broken = ask(runs, "compare", path, "same")
    assert (broken.exit_code, "is no baseline" in broken.output) == (4, True)


def test_the_first_difference_is_json_without_nan():
    assert First("cam", "m", "d", "s", "map", float("nan"), 0.5).told["base"] == "nan"


def test_a_crash_is_no_verdict(runs, monkeypatch):
    monkeypatch.setattr("camfaith.reports.decision.show", lambda *_: 1 / 0)
    assert ask(runs, "compare", "base", "same").exit_code == 4


def test_a_run_keeps_the_calls_of_each_method(runs):
    calls = load(runs / "dearer").calls().set_index("method")[["forwards", "backwards"]]
    assert calls.to_dict("index") == {
        "dearer cam": {"forwards": 2, "backwards": 1},
        "random": {"forwards": 1, "backwards": 0},
    }


def test_the_summary_of_a_pull_request_is_written(runs, tmp_path):
    found = ask(runs, "compare", "base", "worse", "--markdown", tmp_path / "summary.md", "--margin", "1%")
    summary = (tmp_path / "summary.md").read_text("utf-8")
    assert summary.startswith("### ❌ regressed: worse cam in")
    assert "| **regressed** |" in summary
    assert "Look first at" in " ".join(found.output.split())


def test_no_network_library_is_loaded_to_compare(runs):
    code = (
        "import sys; from camfaith.benchmark.cli.command_line import app; app(sys.argv[1:], standalone_mode=False);"
        "print('torch' in sys.modules)"
    )
    words = [sys.executable, "-c", code, "compare", str(runs / "base"), str(runs / "same")]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
