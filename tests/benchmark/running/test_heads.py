"""A run knows what the network's outputs mean, and explains several classes of one picture each on its own."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from camfaith.benchmark import load, run
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models import Classifier

NAMES = ("edema", "exudate", "scar")


def network(outputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(4, outputs)).eval()


@pytest.fixture
def pictures(tmp_path):
    """Three pictures with several labels each, one of them without any."""
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    (tmp_path / "labels.csv").write_text("file,labels\n0.png,edema; scar\n1.png,2\n2.png,\n")
    return {"name": "csv", "path": str(tmp_path / "labels.csv"), "classes": NAMES}


def asked(tmp_path, pictures, classifier, **general):
    suite = {"name": "s", "methods": ["gradcam", "random", "rise"], "metrics": ["deletion"], **general}
    suite["methods"][2] = {"name": "rise", "n_masks": 8}
    content = {"suite": suite, "model": [{"name": classifier.name}], "dataset": [pictures]}
    return run(content, models=[classifier], out=tmp_path / "run")


@pytest.mark.filterwarnings("ignore:.*show none of the classes")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("label", {"0.png#edema": 0, "0.png#scar": 2, "1.png#scar": 2}),
        (["scar", "edema"], {"0.png#edema": 0, "0.png#scar": 2, "1.png#scar": 2}),
        ([1, "scar"], {"0.png#scar": 2, "1.png#scar": 2}),
        ("predicted", None),
    ],
)
def test_each_of_several_labels_is_explained_on_its_own(tmp_path, pictures, target, expected):
    model = Classifier(network(3), head="sigmoid", name="m")
    scores = asked(tmp_path, pictures, model, target=target).scores
    rows = scores[scores["status"] == "ok"].drop_duplicates("sample").set_index("sample")
    if expected is None:
        assert sorted(rows.index) == ["0.png", "1.png", "2.png"]
        return
    assert dict(rows["target"]) == expected
    assert dict(rows["cluster"]) == {name: name.partition("#")[0] for name in expected}
    one = scores[(scores["method"] == "gradcam") & (scores["sample"] == "0.png#scar")].iloc[0]
    images = model.prepare(Image.open(tmp_path / "0.png"))[None]
    line = load(tmp_path / "run").lines
    curve = line[(line["method"] == "gradcam") & (line["sample"] == "0.png#scar")].iloc[0]
    assert curve["y"][0] == pytest.approx(float(model.scores(images)[0, 2].sigmoid()), rel=1e-5)
    assert one["value"] == one["value"]


def test_samples_that_show_none_of_the_classes_are_told_of(tmp_path, pictures):
    model = Classifier(network(3), head="sigmoid", name="m")
    with pytest.warns(UserWarning, match="2 of 3 samples show none of the classes to explain: they are left out"):
        asked(tmp_path, pictures, model, target=["edema"])
    with pytest.raises(ValueError, match="3 of 3 samples show none"):
        asked(tmp_path, pictures, model, target=["exudate"])


def test_a_list_that_grows_costs_what_is_new(tmp_path, pictures):
    model = Classifier(network(3), head="sigmoid", name="m")
    first = asked(tmp_path, pictures, model, target=["edema"]).scores
    forwards = load(tmp_path / "run").info["cost"]["forwards"]
    both = asked(tmp_path, pictures, model, target=["edema", "scar"])
    assert both.info["cost"]["forwards"] == pytest.approx(3 * forwards)
    kept = both.scores.merge(first, on=["sample", "method", "metric", "column"])
    assert len(kept) == len(first)
    assert (kept["value_x"] == kept["value_y"]).all()


@pytest.mark.parametrize(
    ("head", "outputs", "target", "words"),
    [
        ("regression", 2, "predicted", "outputs of model 'm' are numbers, not classes"),
        ("regression", 2, "label", "name the one to explain"),
        ("regression", 1, "second", "one score alone"),
        ("sigmoid", 1, "second", "one score alone"),
        ("sigmoid", 3, ["scar", "predicted"], "unknown target 'predicted'"),
        ("sigmoid", 3, ["scar", 2], "2 is listed twice"),
        ("sigmoid", 3, ["scar", 3], "expected 0 to 2, got 3"),
    ],
)
def test_a_target_that_the_head_has_not_is_refused_before_anything_runs(
    tmp_path, pictures, head, outputs, target, words
):
    with pytest.raises((SuiteError, ValueError), match=words):
        asked(tmp_path, pictures, Classifier(network(outputs), head=head, name="m"), target=target)


def test_a_name_that_two_classes_have_is_no_target(tmp_path, pictures):
    model = Classifier(network(3), name="m", class_names=["crane", "scar", "crane"])
    with pytest.raises(SuiteError, match=r"2 classes are called 'crane'; give the index, one of \[0, 2\]"):
        asked(tmp_path, {**pictures, "classes": model.class_names}, model, target="crane")


def test_an_index_that_means_another_class_to_the_data_set_is_no_target_of_a_list(tmp_path, pictures):
    model = Classifier(network(3), head="sigmoid", name="m", class_names=NAMES[::-1])
    with pytest.raises(SuiteError, match="class 0 is 'scar' to the model, 'edema' to the data set: name it"):
        asked(tmp_path, pictures, model, target=[0])


def test_what_needs_a_probability_is_undefined_for_a_regression_and_asks_nothing(tmp_path, pictures):
    metrics = ["deletion", {"name": "deletion", "score": "logit", "label": "of-value", "steps": 4}, "average-drop"]
    model = Classifier(network(1), head="regression", name="m")
    found = asked(tmp_path, pictures, model, metrics=metrics)
    scores = found.scores[found.scores["sample"] == "0.png"].set_index(["method", "metric"])
    for metric in ("deletion", "average-drop"):
        row = scores.loc[("gradcam", metric)]
        assert row["status"] == "undefined", row["error"]
        assert "head 'regression' gives none" in row["error"]
    assert "score = 'logit'" in scores.loc[("rise", "of-value")]["error"]
    image = model.prepare(Image.open(tmp_path / "0.png"))[None]
    lines = found.lines[(found.lines["sample"] == "0.png") & (found.lines["method"] == "random")]
    assert lines["y"].iloc[0][0] == pytest.approx(float(model.scores(image)), rel=1e-5)
    assert found.info["models"][0]["head"] == "regression"
    # For each of 3 samples: the capture and 5 points of the curve of two methods, which share their ends.
    assert found.info["cost"]["forwards"] <= 3 * (1 + 2 * 5)
