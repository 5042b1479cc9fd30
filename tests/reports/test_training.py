"""The page of a trained network says what its files say, whatever they hold."""

import json

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.evaluation import evaluate
from camfaith.reports import training_report
from camfaith.reports.style import settings
from camfaith.reports.training_figures import confusion_maps, history_curves, reliability_curves

NAMES = ("none", "=mild", "<b>severe|</b>")
HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3],
        "train_loss": [1.5, 1.0, 0.5],
        "val_loss": [1.4, 0.9, 1.1],
        "val_accuracy": [0.3, 0.6, 0.55],
        "val_balanced_accuracy": [0.25, 0.5, 0.45],
        "val_kappa": [-0.2, 0.4, 0.3],
        "rate": [1e-3, 1e-3, 1e-4],
        "seconds": [10.0, 11.0, 12.0],
    }
)


def judged(n=40, classes=3, names=NAMES, clusters=None):
    """Every fourth image is taken for the next class, at a confidence of 0.9."""
    y = np.arange(n) % classes
    guess = np.where(np.arange(n) % 4 == 0, (y + 1) % classes, y)
    p = np.full((n, classes), 0.1 / (classes - 1))
    p[np.arange(n), guess] = 0.9
    return evaluate(p, y, names, clusters)


def trained(path):
    """The folder of a trained network."""
    path.mkdir()
    card = {"architecture": "resnet50", "class_names": NAMES, "head": "softmax", "dataset": "<u>eyes</u>", "pad": False}
    card |= {"resize": [64, 48], "crop": None, "mean": [0.5, 0.4, 0.3]}
    card |= {"weights": "model.safetensors", "sha256": "12" * 32}
    card |= {"training": {"head": "softmax", "best_epoch": 2, "pictures": {"train": 70, "val": 40}, "limit": None}}
    (path / "model.json").write_text(json.dumps(card))
    HISTORY.to_csv(path / "history.csv", index=False)
    parts = {"val": judged(clusters=[f"{i // 2}" for i in range(40)]), "test": judged(36), "../other": judged()}
    (path / "evaluation.json").write_text(json.dumps({part: found.to_json() for part, found in parts.items()}))
    return path


@pytest.fixture
def folder(copy_of):
    return copy_of("net", trained)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    path = trained(tmp_path_factory.mktemp("networks") / "<i>net")
    assert training_report(path) == path / "report.html"
    return path


def test_the_page_says_what_the_files_say_and_shows_their_texts_as_they_are(reported):
    page = (reported / "report.html").read_text("utf-8")
    assert "<b>" not in page
    assert "<u>" not in page
    for text in (
        "<h1>&lt;i&gt;net</h1>", "<dd>&lt;u&gt;eyes&lt;/u&gt;</dd>", "<th>&lt;b&gt;severe|&lt;/b&gt;</th>",
        "<dd>resize 64 48, mean 0.5 0.4 0.3</dd>", "<dd>train 70, val 40</dd>", "1212121212121212…",
        "3 epochs in 33 s", "whole by cluster: 20 in val;", "<td>0.750 [",
    ):  # fmt: skip
        assert text in page, text
    assert page.count("<dt>head</dt>") == 1
    assert {file.name for file in reported.rglob("*") if "other" in file.name} == set()


def test_tables_are_the_evaluation_in_markdown_and_csv(reported):
    found, tables = judged(36), reported / "tables"
    lines = (tables / "classes-test.md").read_text("utf-8").splitlines()
    assert lines[0] == "| class | images | precision | recall | F1 |"
    assert lines[3] == f"| =mild | 12 | {found.precision[1]:.3f} | {found.recall[1]:.3f} | {found.f1[1]:.3f} |"
    assert lines[4].startswith(r"| \<b\>severe\|\</b\> | 12 |")
    classes = pd.read_csv(tables / "classes-test.csv")
    assert list(classes["class"]) == ["none", "'=mild", "<b>severe|</b>"]
    np.testing.assert_allclose(classes["recall"], found.recall)
    confusion = pd.read_csv(tables / "confusion-test.csv").iloc[:, 1:]
    np.testing.assert_array_equal(confusion, found.confusion)
    totals = pd.read_csv(tables / "evaluation.csv").set_index(["part", "column"])
    assert tuple(totals.loc[("test", "kappa"), ["value", "low", "high"]]) == pytest.approx(
        (found.kappa, *found.intervals["kappa"])
    )
    assert totals.loc[("val", "ece"), "value"] == pytest.approx(0.15)
    assert tuple(totals.loc[("val", "accuracy"), ["n", "units"]]) == (40, 20)


ODD = ("\x1b[31mred", "@you http://x www.x", "a", "a", "x" * 300, "$x^2$", "_a")


@pytest.mark.parametrize("names", [ODD[:2], (*ODD, *(f"c{i}" for i in range(50)))], ids=len)
def test_any_classes_have_a_page_and_none_steers_a_terminal_or_is_a_link(folder, names):
    (folder / "evaluation.json").write_text(json.dumps({"test": judged(120, len(names), names).to_json()}))
    HISTORY.iloc[:1].assign(val_kappa=np.nan).to_csv(folder / "history.csv", index=False)
    assert "1 epoch in 10 s" in training_report(folder).read_text("utf-8")
    assert not any(b"\x1b" in path.read_bytes() for path in (folder / "tables").iterdir())
    assert "@\u2060you http:/\u2060/x www.\u2060x" in (folder / "tables/classes-test.md").read_text("utf-8")


def test_curves_are_drawn_of_the_history_and_the_kept_epoch_is_marked():
    with settings():
        loss, accuracy, kappa, rate = history_curves(HISTORY, 2).axes
    for axis, columns in (
        (loss, ["train_loss", "val_loss"]), (accuracy, ["val_accuracy", "val_balanced_accuracy"]),
        (kappa, ["val_kappa"]), (rate, ["rate"]),
    ):  # fmt: skip
        *curves, mark = axis.lines
        assert [list(curve.get_ydata()) for curve in curves] == [list(HISTORY[column]) for column in columns]
        assert list(mark.get_xdata()) == [2, 2]
    assert kappa.get_ylim()[0] == -0.2


def test_of_each_labels_images_the_colour_is_the_share_and_the_text_the_number():
    found = judged()
    with settings():
        (axis,) = confusion_maps({"val": found}).axes
    counts = np.array(found.confusion)
    np.testing.assert_allclose(axis.collections[0].get_array().reshape(3, 3), counts / counts.sum(1, keepdims=True))
    assert [text.get_text() for text in axis.texts] == [str(count) if count else "" for count in counts.ravel()]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == [*NAMES]


def test_accuracy_is_drawn_over_confidence_where_there_are_images():
    with settings():
        above, below = reliability_curves({"val": judged()}).axes
    diagonal, curve = above.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    np.testing.assert_allclose(curve.get_xydata(), [[0.9, 0.75]])
    assert [bar.get_height() for bar in below.patches] == [0] * 13 + [40, 0]


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("model.json", None, FileNotFoundError, "no model.json in .*: it is not the folder of a training that is done"),
        ("history.csv", None, FileNotFoundError, "no history.csv in"),
        ("history.csv", "epoch,train_loss\n1,2\n", ValueError, "cannot be read: history.csv has no val_loss"),
        ("history.csv", "", ValueError, "cannot be read: No columns to parse"),
        ("evaluation.json", "{}", ValueError, "evaluation.json has neither val nor test"),
        ("evaluation.json", '{"val": {"n": 3}}', ValueError, "this is no evaluation: KeyError"),
        ("model.json", "[]", ValueError, "model.json is no card"),
        ("model.json", "{", ValueError, "cannot be read: Expecting property name"),
    ],
)
def test_what_is_missing_or_damaged_is_told(folder, name, content, error, words):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(error, match=words):
        training_report(folder)
