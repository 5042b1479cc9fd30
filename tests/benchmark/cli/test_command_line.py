"""The command as a user sees it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from camfaith.benchmark import explain
from camfaith.benchmark.cli.command_line import app
from camfaith.benchmark.datasets.synthetic import Fundus
from camfaith.benchmark.results.store import load
from camfaith.benchmark.validity.choosing import reported
from camfaith.reports import side_by_side
from camfaith.reports.panels import write


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


def test_a_run_is_planned_added_to_and_repaired_from_the_command_line(suite_file, tmp_path):
    folder = tmp_path / "run"
    assert ask("run", suite_file, "--out", folder, "--no-report").exit_code == 0
    more = ("--methods", "gradcam,random,hirescam")
    planned = ask("plan", suite_file, "--out", folder, *more)
    assert "12 = 4 images + 0 by methods + 0 once an image + 8 once a map" in planned.output.replace("\n", " ")
    assert ask("add", folder, "--methods", "hirescam", "--no-report").exit_code == 0
    assert set(load(folder).scores["method"]) == {"gradcam", "random", "hirescam"}
    broken = load(folder).parts[0].path / "scores.parquet"
    broken.write_bytes(b"")
    assert "is not as it was written; run the same command once more" in ask("report", folder).output
    again = ask("run", suite_file, "--out", folder, *more, "--no-report")
    assert again.exit_code == 0
    assert f"warning: {broken} is not as it was written: it is made again\n" in again.output
    assert "nothing is missing" in ask("run", suite_file, "--out", folder, *more, "--no-report").output


def test_plan_prints_the_forwards_and_backwards(suite_file):
    done = ask("plan", suite_file)
    assert done.exit_code == 0, done.output
    # 4 images; 2 methods × 2 inner points; one black image each, and one pass for the channels of the layer
    assert "forwards: 28 = 4 images + 0 by methods + 8 once an image + 16 once a map, at most" in " ".join(
        done.output.split()
    )


def test_list_shows_the_methods_of_the_libraries_that_are_there_and_how_to_have_the_others(monkeypatch):
    pytest.importorskip("torchcam", reason="needs another library; pip install 'camfaith[peers]'")
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    told = ask("list", "methods").output
    assert "torchcam:LayerCAM" in told
    assert "pgc:GradCAM" not in told
    assert "methods named pgc:... need grad-cam: pip install 'camfaith[pgc]'" in told
    assert "need grad-cam" not in ask("list", "metrics").output


def test_list_shows_what_may_stand_in_a_suite():
    assert "gradcam, gradcam++, xgradcam" in ask("list", "methods").output
    assert "fundus-tag" in ask("list", "datasets").output


def test_list_answers_which_three_metrics_to_report_from_the_table_that_ships():
    told = ask("list", "metrics").output
    assert told.startswith("metrics: deletion, insertion")
    assert [line.split(":")[0].strip() for line in told.splitlines() if line.startswith("  ")] == [
        each.name for each in reported()
    ]
    assert "average-drop" in told.split("fail at a part of it, or at all: ")[1]


def test_help_imports_nothing_heavy():
    code = (
        "import sys, camfaith.benchmark.cli.command_line as c\n"
        "try: c.main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'scipy', 'pydantic'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert "Commands" in done.stdout
    assert done.stderr.strip() == "[]"


def test_run_replaces_methods_limits_and_takes_what_makes_it_cheaper(suite_file, tmp_path):
    words = ("run", suite_file, "--out", tmp_path / "r", "--no-report", "--no-keep-memory")
    done = ask(*words, "--until", "separated", "--allow", "fold", "--methods", "layercam, sobel", "--limit", 2)
    assert done.exit_code == 0, done.output
    info, scores = load(tmp_path / "r").info, load(tmp_path / "r").scores
    assert (set(scores["method"]), scores["sample"].nunique()) == ({"layercam", "sobel"}, 2)
    assert (info["suite"]["until"], info["suite"]["allow"]) == ("separated", ["fold"])
    assert "control flow" in info["engine"][0]["setup"]["refused"]["fold"]


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "eye.png"
    Fundus()[3].image.save(path)
    return path


def test_explain_writes_the_picture_that_the_functions_give(photograph, tmp_path):
    words = ("explain", photograph, "--model", "fundus-vgg", "--methods", "gradcam,cam,hirescam", "--classes", "mild,0")
    done = ask(*words, "--signed", "--out", tmp_path / "maps.png")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"picture: {tmp_path / 'maps.png'}\n"
    assert done.stderr.startswith("cam: CAM needs global average pooling")
    found = explain(photograph, model="fundus-vgg", methods=["gradcam", "cam", "hirescam"], classes=[1, 0], signed=True)
    assert [c.name for c in found.classes] == ["mild", "no lesions"]
    same = write(side_by_side(found), tmp_path / "same.png")
    assert same.read_bytes() == (tmp_path / "maps.png").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": "missing.png"}, "no file at 'missing.png'"),
        ({"image": __file__}, "test_command_line.py"),
        ({"--model": "fundus-vg"}, "did you mean 'fundus-vgg'"),
        ({"--methods": "gradcan"}, "did you mean 'gradcam'"),
        ({"--methods": ","}, "at least one method"),
        ({"--classes": "sever"}, "did you mean 'severe'"),
        ({"--classes": "7"}, "expected 0 to 4, got [7]"),
        ({"--layer": "features.99"}, "unknown layer 'features.99'"),
        ({"--weights": "lost.pth"}, "no weights file at lost.pth"),
        ({"--out": "maps.jpg"}, "ends in one of .pdf, .svg, .png"),
        ({"--out": "missing/maps.png"}, "no folder at missing"),
    ],
)
def test_explain_says_in_one_line_what_is_wrong_and_writes_nothing(change, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chosen = {"image": "fundus:3", "--model": "fundus-vgg", "--methods": "gradcam", "--out": "maps.png", **change}
    image = chosen.pop("image")
    done = ask("explain", image, *(word for pair in chosen.items() for word in pair))
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_explain_without_a_model_takes_the_shipped_one_or_shows_the_whole_command(photograph, tmp_path, monkeypatch):
    done = ask("explain", "fundus:3", "--methods", "gradcam", "--classes", "mild", "--out", tmp_path / "maps.png")
    assert done.exit_code == 0, done.output
    assert done.stderr == "model: fundus-vgg, as none is named\n"
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    words = ("--methods", "gradcam,cam", "--classes", "cat,hot dog", "--signed", "--out", tmp_path / "other.png")
    done = ask("explain", photograph, *words)
    assert done.exit_code == 2
    command = f"camfaith explain {photograph} --model resnet50 --weights DEFAULT --methods gradcam,cam "
    assert command + f"--classes 'cat,hot dog' --out {tmp_path / 'other.png'} --signed\n" in done.stderr
    assert not (tmp_path / "other.png").exists()


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr(
        "camfaith.benchmark.picture.side_by_side.explain", lambda *a, **k: pytest.fail("it was computed")
    )
    assert ask("explain", "fundus:3", "--model", "fundus-vgg", "--out", "missing/maps.png").exit_code == 2


def test_explain_does_not_write_over_the_picture_itself(photograph):
    before = photograph.read_bytes()
    done = ask("explain", photograph, "--model", "fundus-vgg", "--out", photograph)
    assert (done.exit_code, photograph.read_bytes()) == (2, before)
    assert "is the picture itself" in done.stderr
