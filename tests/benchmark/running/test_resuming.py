"""A folder goes on only with what it was begun with: suite, model, preprocessing, data and code."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camfaith.benchmark import load, run
from camfaith.benchmark.results.store import RunFolderError
from camfaith.metrics import ImageProbe, Metric
from camfaith.models import Classifier


@pytest.fixture
def model(counting):
    return Classifier(counting.inner, name="tiny")


@pytest.fixture
def table(tmp_path):
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    path = tmp_path / "table.csv"
    path.write_text("file,label\n0.png,0\n1.png,1\n2.png,2\n")
    return path


@pytest.fixture
def suite(small_suite, table):
    small_suite["suite"]["methods"] = ["gradcam", "random"]
    small_suite["dataset"] = [{"name": "csv", "path": str(table)}]
    return small_suite


@pytest.mark.parametrize("damage", [False, True], ids=["as it was kept", "damaged"])
def test_a_run_that_is_stopped_goes_on_with_the_batch_at_which_it_was(small_suite, counting, tmp_path, damage):
    small_suite["suite"] |= {"chunk": 6, "methods": [f"{__name__}:Slow", "gradcam"]}
    model = Classifier(counting, name="tiny", layer="inner.body")
    whole = run(small_suite, models=model, out=tmp_path / "whole")
    Slow.asked = 0

    def stop(done, total, what):
        if done > 0.7 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_suite, models=model, out=tmp_path / "run", progress=stop)
    (kept,) = (tmp_path / "run" / "unfinished").iterdir()
    if damage:
        kept.write_bytes(kept.read_bytes()[:-3])
    counting.forwards = 0
    resumed = run(small_suite, models=model, out=tmp_path / "run")
    spent, planned = counting.forwards, resumed.info["plan"]["forwards"]
    assert (spent > planned, spent < 0.4 * planned) == (damage, not damage)
    assert Slow.asked == 1 + damage
    columns = ["sample", "method", "metric", "column", "value", "status"]
    pd.testing.assert_frame_equal(resumed.scores[columns], whole.scores[columns], check_exact=True)
    cost = resumed.info["cost"]
    assert cost["forwards"] + cost["shared"] + cost["failed"] == planned
    assert not list((tmp_path / "run" / "unfinished").iterdir())


class Slow:
    """Takes its time: it is not asked twice."""

    needs_gradients = False
    asked = 0

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        Slow.asked += 1
        return evidence.activations[self.layer].amax(1)


def test_changed_labels_and_pictures_are_refused_by_name(suite, model, table, tmp_path):
    run(suite, models=[model], out=tmp_path / "run")
    before = table.read_text()
    table.write_text(before.replace("1.png,1", "1.png,4"))
    with pytest.raises(RunFolderError, match=r"sample '1\.png' of 'csv' \(1 in all\) is not as it was"):
        run(suite, models=[model], out=tmp_path / "run")
    table.write_text(before)
    Image.new("RGB", (32, 32)).save(tmp_path / "2.png")
    with pytest.raises(RunFolderError, match=r"sample '2\.png'"):
        run(suite, models=[model], out=tmp_path / "run")


def test_changed_preprocessing_is_refused(suite, counting, tmp_path):
    run(suite, models=[Classifier(counting.inner, name="tiny")], out=tmp_path / "run")
    other = Classifier(counting.inner, name="tiny", mean=(0.5,) * 3, std=(0.2,) * 3)
    with pytest.raises(RunFolderError, match=r"made with \(another mean, std\); give it another label"):
        run(suite, models=[other], out=tmp_path / "run")


def test_results_without_a_run_json_are_nobodys(suite, model, tmp_path):
    run(suite, models=[model], out=tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(RunFolderError, match=r"holds results whose run\.json is gone"):
        run(suite, models=[model], out=tmp_path / "run", metrics=["conservation"])


def test_a_changed_baseline_picture_is_another_metric(suite, model, tmp_path):
    Image.new("RGB", (32, 32), "grey").save(tmp_path / "baseline.png")
    suite["suite"]["metrics"] = [
        {"name": "deletion", "steps": 2, "baseline": {"image": str(tmp_path / "baseline.png")}}
    ]
    before = run(suite, models=[model], out=tmp_path / "run").lines
    Image.new("RGB", (32, 32), "white").save(tmp_path / "baseline.png")
    after = run(suite, models=[model], out=tmp_path / "run").lines
    assert len(before) == len(after)
    for (_, was), (_, now) in zip(before.iterrows(), after.iterrows(), strict=True):
        assert (was["sample"], was["method"]) == (now["sample"], now["method"])
        assert was["y"][0] == pytest.approx(now["y"][0], rel=1e-6)
        assert was["y"][-1] != now["y"][-1]


class Dazzled(torch.nn.Module):
    """Gives NaN for pictures that are white all over."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        white = images.amin((1, 2, 3)) > 0.99
        return self.network(images).masked_fill(white[:, None], torch.nan)


def test_a_sample_that_the_model_cannot_take_is_a_row_and_no_obstacle_to_going_on(suite, counting, tmp_path):
    Image.new("RGB", (32, 32), "white").save(tmp_path / "1.png")
    model = Classifier(Dazzled(counting.inner), name="dazzled")
    first = run(suite, models=[model], out=tmp_path / "run")
    bad = first.scores.query("method == ''")
    assert bad["sample"].tolist() == ["1.png"]
    assert "gives NaN or infinite logits" in bad["error"].iloc[0]
    assert set(first.scores.query("status == 'ok'")["sample"]) == {"0.png", "2.png"}
    again = run(suite, models=[model], out=tmp_path / "run")
    assert again.info["cost"]["forwards"] == first.info["cost"]["forwards"]


def test_labels_meet_the_models_classes_by_name(small_suite, counting, tmp_path):
    for name in ("bird", "ant"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (90, 80, 70)).save(tmp_path / "pictures" / name / "1.png")
    small_suite["dataset"] = [{"name": "folder", "root": str(tmp_path / "pictures")}]
    small_suite["suite"] |= {"target": "label", "methods": ["gradcam"]}
    names = ("cat", "dog", "bird", "ant", "fox")
    result = run(small_suite, models=[Classifier(counting.inner, name="t", class_names=names)], out=tmp_path / "a")
    targets = result.pictures.set_index("sample")["target"]
    assert (targets["bird/1.png"], targets["ant/1.png"]) == (2, 3)
    for third, many in (("cow", "none"), ("bird", "several")):
        names = ("cat" if many == "none" else "bird", "dog", third, "ant", "fox")
        other = Classifier(counting.inner, name="t", class_names=names)
        with pytest.raises(ValueError, match=f"the data set's class 'bird' is {many} of the model's"):
            run(small_suite, models=[other], out=tmp_path / "b")


def test_a_label_out_of_range_is_a_warning_where_the_target_does_not_need_it(suite, model, table, tmp_path):
    table.write_text("file,label\n0.png,0\n1.png,99\n")
    result = run(suite, models=[model], out=tmp_path / "run")
    odd = result.scores.query("method == ''")
    assert odd["status"].tolist() == ["warning"]
    assert "label 99 is out of range: the model has 5 classes" in odd["error"].iloc[0]
    summary = result.summary().query("method == 'gradcam' and metric == 'deletion' and column == 'auc'").iloc[0]
    assert (summary["n"], summary["errors"]) == (2, 0)


def test_a_sample_that_is_missing_balances_the_plan(suite, model, table, tmp_path):
    table.write_text("file,label\n0.png,0\nmissing.png,1\n2.png,2\n")
    result = run(suite, models=[model], out=tmp_path / "run")
    cost = result.info["cost"]
    assert cost["forwards"] + cost["shared"] + cost["failed"] == result.info["plan"]["forwards"]
    assert cost["failed"] == result.info["plan"]["forwards"] // 3


@dataclass(frozen=True)
class Fussy(ImageProbe):
    """Cannot alter one of the pictures."""

    reads = "image"

    def count(self, pixels):
        return 1

    def rounds(self, subject):
        if subject.image.max() == 0:
            raise RuntimeError("nothing to alter")
        yield 1, lambda start, stop, out: out.copy_(subject.image)


@dataclass(frozen=True, kw_only=True)
class Fussing(Metric):
    name, main, better = "fussing", "value", {}

    def probes(self, layer, pixels):
        return (Fussy(),)

    def judge(self, case, maps, answers):
        return {"value": answers[Fussy()].logit[:, 0]}


def test_a_probe_that_fails_costs_its_metric_alone_now_and_later(suite, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fussing", sys.modules[__name__])
    Image.new("RGB", (32, 32)).save(tmp_path / "1.png")
    suite["suite"]["metrics"] = ["corner-artifact"]
    run(suite, models=[model], out=tmp_path / "run")
    suite["suite"]["metrics"] += ["fussing:Fussing"]
    scores = run(suite, models=[model], out=tmp_path / "run").scores.query("metric == 'fussing'")
    odd = scores[scores["sample"] == "1.png"]
    assert odd["error"].tolist() == ["RuntimeError: nothing to alter"] * 2
    assert (scores.drop(odd.index)["status"] == "ok").all()
    later = run(suite, models=[model], out=tmp_path / "run", metrics=["corner-artifact"], methods=["layercam"]).scores
    assert set(later["sample"]) == {"0.png", "1.png", "2.png"}
    assert set(later["method"]) == {"layercam"}


def test_a_baseline_in_memory_is_told_apart_by_its_pixels(suite, model, tmp_path):
    grey, white = torch.full((3, 32, 32), 0.5), torch.ones(3, 32, 32)
    results = [
        run(suite, models=[model], out=tmp_path / name, metrics=[{"name": "deletion", "baseline": image, "steps": 2}])
        for name, image in (("grey", grey), ("white", white))
    ]
    assert results[0].info["metrics"][0]["key"] != results[1].info["metrics"][0]["key"]
    ends = [result.lines["y"].iloc[0][-1] for result in results]
    expected = [
        model.scores(image[None]).softmax(1)[0, int(results[0].pictures["target"].iloc[0])] for image in (grey, white)
    ]
    np.testing.assert_allclose(ends, torch.stack(expected), rtol=1e-5)
    assert load(tmp_path / "grey").info["metrics"][0]["parameters"]["baseline"].startswith("Given(")


def test_what_progress_raises_ends_the_run_and_is_nobodys_error(suite, model, tmp_path):
    def stop(done, total, what):
        if done:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        run(suite, models=[model], out=tmp_path / "run", progress=stop)
    assert not (run(suite, models=[model], out=tmp_path / "run").scores["status"] == "error").any()
