"""What README and CONTRIBUTING show works as it stands there."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from camfaith.benchmark import check_method, run
from camfaith.benchmark import load as load_run
from camfaith.benchmark.suite import Suite
from camfaith.benchmark.workbench import open_judges
from camfaith.models import Classifier

ROOT = Path(__file__).parents[1]


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text("utf-8"), re.DOTALL)


@pytest.fixture
def newcomers(tmp_path):
    """The files that CONTRIBUTING.md shows, under the names that it gives them."""
    written = {}
    for block in blocks("CONTRIBUTING.md", "python"):
        name = re.match(r'"""(\w+\.py):', block).group(1)
        (tmp_path / name).write_text(block, "utf-8")
        written[name] = tmp_path / name
    return written


def test_the_cam_and_the_metric_of_contributing_run_in_a_suite(newcomers, small_suite, counting, tmp_path):
    small_suite["suite"]["methods"] = [{"name": f"{newcomers['mycam.py']}:MaxCAM", "label": "maxcam"}, "random"]
    small_suite["suite"]["metrics"] = [{"name": f"{newcomers['spread.py']}:Spread", "label": "spread", "level": 0.25}]
    model = Classifier(counting.inner, name="tiny")
    result = run(small_suite, models=[model], out=tmp_path / "run")
    shares = result.scores.query("method == 'maxcam' and column == 'share'").set_index("sample")["value"]

    row = result.maps.query("method == 'maxcam'").iloc[0]
    picture = result.pictures.set_index("sample").loc[row["sample"]]
    image = model.prepare(Image.open(io.BytesIO(picture["image"])))
    evidence = model.evidence(image, int(picture["target"]), ["body"])
    weights = evidence.gradients["body"].amax((2, 3), keepdim=True)
    expected = torch.nn.functional.interpolate(
        (weights * evidence.activations["body"]).sum(1, keepdim=True).clamp(min=0), (32, 32), mode="bilinear"
    )
    share = (expected > 0.25 * expected.max()).double().mean()
    assert shares[row["sample"]] == pytest.approx(float(share), abs=0.01)


def test_the_python_of_the_readme_runs(monkeypatch, tmp_path, counting):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mypackage").mkdir()
    (tmp_path / "mypackage" / "cams.py").write_text(
        "from camfaith.methods import GradCAM\n\n\nclass MyCAM(GradCAM):\n    name = 'mine'\n"
    )
    with torch.random.fork_rng(devices=[]):
        model = torchvision.models.resnet18(weights=None).eval()
    names = {
        "model": model,
        "image": torch.rand(2, 3, 64, 64),
        "picture": torch.rand(2, 3, 64, 64),
        "network": counting.inner,
    }
    first, second = blocks("README.md", "python")
    # the shipped suite in small, and nothing downloaded
    first = first.replace(
        'run("quick",', 'run("quick", limit=2, models=["fundus-vgg"], metrics=["energy-pointing-game"],'
    )
    second = second.replace('weights="IMAGENET1K_V2"', 'weights="none"')
    exec(compile(first + second, "README.md", "exec"), names)
    assert names["heatmap"].shape == (2, 64, 64)
    assert float(names["heatmap"].max()) == 1
    assert names["raw"].shape == (2, 2, 2)
    assert set(load_run(names["result"].path).scores["method"]) == {"gradcam", "mypackage.cams:MyCAM", "random"}


def test_the_suites_of_the_readme_are_valid():
    content, more = (tomllib.loads(block) for block in blocks("README.md", "toml"))
    suite = Suite.of(content, data="pictures")
    assert [entry.name for entry in suite.suite.methods[:2]] == ["gradcam", "gradcam++"]
    faster = Suite.of(content | {"suite": content["suite"] | more["suite"]}, data="pictures")
    assert (faster.suite.until, faster.suite.allow) == ("separated", ("bf16",))
    assert open_judges(faster.suite.metrics)[0].metric.tolerance == 0.005


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_every_example_is_a_valid_suite(path):
    assert Suite.of(path, data="somewhere").suite.name == path.stem


def test_the_tests_of_contributing_pass(newcomers, tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            "shape or batch",
            newcomers["test_mycam.py"],
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )
    assert "2 passed" in done.stdout, done.stdout


def test_the_cam_of_contributing_is_short_and_keeps_to_the_contract(newcomers):
    path = newcomers["mycam.py"]
    assert len(path.read_text("utf-8").splitlines()) <= 25
    assert check_method(f"{path}:MaxCAM").failures == []
