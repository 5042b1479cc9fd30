"""`camfaith claims`, on a run of two networks: one whose padding lights up the corners, and one without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from camfaith.benchmark import check_claims, run
from camfaith.benchmark.cli.command_line import app
from camfaith.models import Classifier

FILE = str(Path(__file__).with_name("corners.toml"))


def network(padding):
    """1 − the mean of the 3×3 pixels around: padded by zeros it is brightest in the corners, whatever the picture."""
    layers = [torch.nn.Conv2d(3, 1, 3, padding=1, padding_mode=padding), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1)]
    found = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(1, 2))
    with torch.no_grad():
        for layer, weight, bias in ((found[0], -1 / 27, 1.0), (found[4], 1.0, 0.0)):
            layer.weight.fill_(weight)
            layer.bias.fill_(bias)
        found[4].weight[1] = -1
    return found.eval()


@pytest.fixture(scope="module")
def two_networks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    noise = np.random.default_rng(0)
    for place in range(12):
        (folder / "data/x").mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(100, 150, (24, 24, 3), np.uint8)).save(folder / f"data/x/{place}.png")
    models = [Classifier(network(padding), name=padding, layer="1") for padding in ("zeros", "reflect")]
    methods = ["gradcam", {"name": "occlusion", "label": "occlusion(64)"}]
    suite = {
        "suite": {"name": "corners", "methods": methods, "metrics": ["corner-artifact"], "batch_size": 16},
        "model": [{"name": model.name} for model in models],
        "dataset": [{"name": "folder", "root": str(folder / "data")}],
    }
    return run(suite, models=models, out=folder / "run")


def test_a_network_without_the_artefact_changes_the_verdict(two_networks):
    rows = check_claims(two_networks, FILE, {"slow": "occlusion(64)"}).rows
    corners = rows[rows["claim"] == 1]
    assert dict(corners[["model", "verdict"]].to_numpy()) == {"zeros": "supported", "reflect": "contradicted"}
    assert (rows.loc[rows["claim"] == 2, "verdict"] == "supported").all()


def test_the_command_writes_page_table_and_figure_and_shows_the_rows(two_networks, tmp_path):
    given = [str(two_networks.path), FILE, "--as", "slow=occlusion(64)"]
    done = CliRunner().invoke(app, ["claims", *given], env={"COLUMNS": "160"})
    assert done.exit_code == 0, done.output
    assert "2 claims in 4 rows: 3 supported, 1 contradicted, 0 undecided" in done.output
    folder = two_networks.path / "report" / "claims"
    assert {path.name for path in folder.iterdir()} == {
        f"corners{end}" for end in (".html", ".md", ".csv", "-1.png", "-1.svg", "-1.pdf")
    }
    found = pd.read_csv(folder / "corners.csv")["verdict"].tolist()
    assert found == ["supported", "contradicted", "supported", "supported"]
    page = (folder / "corners.html").read_text("utf-8")
    assert "GradCAM shows high attention in the corners." in page
    assert page.count('class="chip contradicted"') == 2
    as_json = CliRunner().invoke(app, ["claims", *given, "--json", "--out", str(tmp_path / "there")])
    told = json.loads(as_json.output)
    assert (told["name"], told["contradicted"], len(told["rows"])) == ("corners", 1, 4)
    assert (tmp_path / "there/corners.html").is_file()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["{run}", "cornes"], "error: unknown claims 'cornes'"),
        (["{run}", "none.toml"], "error: no claims file at none.toml"),
        (["{run}", FILE, "--as", "slow"], "error: --as takes NAME=LABEL"),
        (["{run}", FILE, "--as", "slw=x"], "error: unknown name in the claims 'slw': did you mean 'slow'?"),
        (["nowhere", FILE], "error: nowhere is no run folder"),
    ],
)
def test_what_cannot_be_asked_is_one_line(two_networks, words, text):
    done = CliRunner().invoke(app, ["claims", *(word.format(run=two_networks.path) for word in words)])
    assert done.exit_code == 2
    assert done.output.startswith(text)
    assert len(done.output.splitlines()) == 1
