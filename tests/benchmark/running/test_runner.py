"""A run keeps what it has, names what failed, resumes, and gives the same numbers again."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from camfaith.benchmark import load, run
from camfaith.benchmark.datasets.subset import subset
from camfaith.benchmark.datasets.synthetic import Fundus
from camfaith.benchmark.results.store import RunFolder, RunFolderError, map_of
from camfaith.benchmark.running.reading import sample_seed
from camfaith.methods import GradCAM
from camfaith.metrics import Deletion, Insertion, SensitivityN
from camfaith.models import Classifier

KEYS = ["model", "dataset", "sample", "method", "metric", "column"]


@pytest.fixture
def model(counting):
    return Classifier(counting.inner, name="tiny", mean=(0.5, 0.2, 0.1), std=(0.3, 0.2, 0.1))


def values(result):
    return result.scores.set_index(KEYS)["value"].sort_index()


class Raising:
    """A method that fails on every other photograph or so, and shows nothing of the rest."""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        if bool((evidence.seeds % 2 == 0).any()):
            raise RuntimeError("cannot do this one")
        return 0 * evidence.activations[self.layer].sum(1)


def test_scores_are_those_of_the_metrics_called_alone(small_suite, model, tmp_path):
    result = run(small_suite, models=[model], out=tmp_path)
    found = values(result)
    dataset_ids = result.pictures["sample"].tolist()
    samples = subset(Fundus(size=32), 6)
    assert list(samples.ids) == dataset_ids
    images = torch.stack([model.prepare(samples[i].image) for i in range(6)])
    seeds = torch.tensor([sample_seed(0, name) for name in dataset_ids])
    cam = GradCAM(model, "body")
    raw = cam.raw(images)
    shown = torch.nn.functional.interpolate(raw.clamp(min=0)[:, None], (32, 32), mode="bilinear")[:, 0]
    alone = {
        ("deletion", "auc"): Deletion(steps=4)(model, images, None, shown, seeds=seeds)["auc"],
        ("insertion", "auc"): Insertion(steps=4)(model, images, None, shown, seeds=seeds)["auc"],
        ("sensitivity-n", "correlation"): SensitivityN(sizes=(0.1, 0.5), subsets=8)(model, images, None, raw)[
            "correlation"
        ],
    }
    for (metric, column), expected in alone.items():
        got = found.xs(("gradcam", metric, column), level=["method", "metric", "column"]).droplevel([0, 1])
        np.testing.assert_allclose(got[dataset_ids], expected, rtol=1e-4, atol=1e-5)


def test_a_stopped_run_resumes_and_ends_with_the_same_numbers(small_suite, model, tmp_path):
    whole = run(small_suite, models=[model], out=tmp_path / "whole")

    def stop(done, total, what):
        if done > 0.7 * total:  # in the middle of the second part's batches
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small_suite, models=[model], out=tmp_path / "stopped", progress=stop)
    half = load(tmp_path / "stopped")
    assert half.info["status"] == "running"
    assert half.scores["sample"].nunique() == 4
    resumed = run(small_suite, models=[model], out=tmp_path / "stopped")
    assert resumed.info["status"] == "complete"
    assert resumed.info["run"] == half.info["run"]
    pd.testing.assert_series_equal(values(resumed), values(whole), check_exact=True)
    assert resumed.info["cost"]["forwards"] == whole.info["cost"]["forwards"]


def test_a_killed_process_leaves_whole_parts_and_the_run_goes_on(small_suite, tmp_path):
    small_suite["model"] = [{"name": "fundus-vgg"}]
    small_suite["dataset"][0] |= {"size": 96, "limit": 8}
    whole = run(small_suite, out=tmp_path / "whole")
    code = (
        "import json, os, signal, sys\n"
        "from camfaith.benchmark import run\n"
        "def stop(done, total, what):\n"
        "    if done > 0.7 * total: os.kill(os.getpid(), signal.SIGKILL)\n"
        "run(json.loads(sys.argv[1]), out=sys.argv[2], progress=stop)"
    )
    words = [sys.executable, "-c", code, json.dumps(small_suite), str(tmp_path / "killed")]
    assert subprocess.run(words, check=False, capture_output=True).returncode == -signal.SIGKILL
    (half,) = RunFolder(tmp_path / "killed").parts()
    torn = half.path.parent.parent / "0000004" / "0.part"
    torn.mkdir(parents=True)
    assert load(tmp_path / "killed").scores["sample"].nunique() == 4
    again = run(small_suite, out=tmp_path / "killed")
    assert not torn.exists()
    pd.testing.assert_series_equal(values(again), values(whole), check_exact=False, rtol=1e-5, atol=1e-6)


def test_another_model_under_the_same_label_is_refused_and_the_folder_left_alone(
    small_suite, model, counting, tmp_path
):
    before = values(run(small_suite, models=[model], out=tmp_path))
    with torch.no_grad():
        counting.inner.head.bias.add_(1)
    with pytest.raises(RunFolderError, match=r"model 'tiny' is not the one .* give it another label"):
        run(small_suite, models=[model], out=tmp_path)
    pd.testing.assert_series_equal(values(load(tmp_path)), before)


def test_a_folder_that_another_process_writes_to_is_not_cleared(small_suite, model, tmp_path):
    before = values(run(small_suite, models=[model], out=tmp_path))
    code = (
        "import filelock, sys, time; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held', flush=True); "
        "sys.stdin.read()"
    )
    (claimed, *_) = (tmp_path / "claims").iterdir()
    other = subprocess.Popen([sys.executable, "-c", code, str(claimed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(RunFolderError, match="another run is writing to"):
            run(small_suite, models=[model], out=tmp_path, overwrite=True)
    finally:
        other.communicate()
    pd.testing.assert_series_equal(values(load(tmp_path)), before)


def test_a_full_disk_is_an_os_error_and_loses_nothing(small_suite, model, tmp_path, monkeypatch):
    written = []
    write_table = pq.write_table

    def full(table, path, **settings):
        if len(written) >= 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        return write_table(table, path, **settings)

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match=r"cannot write results to .*No space left on device") as caught:
        run(small_suite, models=[model], out=tmp_path)
    assert caught.value.errno == errno.ENOSPC
    (whole,) = RunFolder(tmp_path).parts()
    left = [path for path in (tmp_path / "parts").glob("*/*/*") if path != whole.path]
    assert not left
    monkeypatch.undo()
    assert run(small_suite, models=[model], out=tmp_path).scores["sample"].nunique() == 6


def test_a_method_that_fails_on_some_images_keeps_the_others(small_suite, model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "broken_methods", sys.modules[__name__])
    small_suite["suite"]["methods"] = ["gradcam", {"name": "broken_methods:Raising", "label": "half"}]
    result = run(small_suite, models=[model], out=tmp_path)
    half = result.scores.query("method == 'half' and metric == 'deletion' and column == 'auc'")
    assert set(half["status"]) == {"constant", "error"}
    constant = half[half["status"] == "constant"]
    assert constant["value"].notna().all()
    assert constant["error"].str.startswith("the map is constant").all()
    assert (result.scores.query("method == 'gradcam' and metric == 'deletion'")["status"] == "ok").all()


def test_unreadable_pictures_and_wrong_labels_are_rows_and_the_rest_is_judged(small_suite, model, tmp_path):
    for name in ("good", "other"):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "good.png").read_bytes()[:300])
    (tmp_path / "t.csv").write_text("file,label\ngood.png,1\ntorn.png,1\nother.png,9\nmissing.png,0\ngood.png,1\n")
    small_suite["dataset"] = [{"name": "csv", "path": str(tmp_path / "t.csv")}]
    small_suite["suite"]["target"] = "label"
    result = run(small_suite, models=[model], out=tmp_path / "run")
    bad = result.scores.query("method == ''").set_index("sample")["error"]
    assert set(bad.index) == {"torn.png", "other.png", "missing.png", "good.png#2"}
    assert "label 9 is out of range: the model has 5 classes" in bad["other.png"]
    assert "damaged or cut short" in bad["torn.png"]
    assert set(result.scores.query("status == 'ok'")["sample"]) == {"good.png"}


def test_every_row_can_tell_what_made_it(small_suite, model, tmp_path):
    result = run(small_suite, models=[model], out=tmp_path)
    info = json.loads((tmp_path / "run.json").read_text())
    keys = {m["label"]: m["key"] for m in info["methods"]} | {m["label"]: m["key"] for m in info["metrics"]}
    judged = result.scores.query("metric != 'diagnostics'")
    assert (judged["method_key"] == judged["method"].map(keys)).all()
    assert (judged["metric_key"] == judged["metric"].map(keys)).all()
    assert info["versions"]["torch"] == version("torch")
    assert len(info["models"][0]["weights_sha256"]) == 64
    assert info["models"][0]["layer"] == "body"
    assert set(judged["run"]) == {info["run"]}


def test_stored_maps_are_the_methods_raw_maps(small_suite, model, tmp_path):
    result = run(small_suite, models=[model], out=tmp_path)
    row = result.maps.query("method == 'gradcam'").iloc[0]
    picture = result.pictures.set_index("sample").loc[row["sample"]]
    image = model.prepare(Image.open(io.BytesIO(picture["image"])))
    np.testing.assert_allclose(map_of(row), GradCAM(model, "body").raw(image)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("target", "place"), [("predicted", 0), ("second", 1), (3, None), ("severe", None)])
def test_the_target_policy_chooses_the_class(small_suite, model, tmp_path, target, place):
    small_suite["suite"]["methods"] = ["gradcam"]
    result = run(small_suite, models=[model], out=tmp_path, target=target)
    images = torch.stack([model.prepare(Image.open(io.BytesIO(b))) for b in result.pictures["image"]])
    order = model.scores(images).argsort(1, descending=True)
    expected = [3] * 6 if place is None else order[:, place].tolist()
    assert result.pictures["target"].tolist() == expected


def test_modes_flags_and_random_state_are_left_as_they_were(small_suite, model, tmp_path):
    model.network.train()
    model.network.stem.eval()
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the global state is the subject
    run(small_suite, models=[model], out=tmp_path)
    assert model.network.training
    assert model.network.body.training
    assert not model.network.stem.training
    assert all(p.requires_grad and p.grad is None for p in model.network.parameters())
    assert not any(m._forward_hooks for m in model.network.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002


@pytest.fixture
def arithmetic():
    """How a GPU computes, as the process has it; put back when the test is over."""
    kernels, products = torch.backends.cudnn, torch.backends.cuda.matmul

    def now():
        return kernels.allow_tf32, products.allow_tf32, kernels.deterministic, kernels.benchmark

    before = now()
    yield now
    kernels.allow_tf32, products.allow_tf32, kernels.deterministic, kernels.benchmark = before


@pytest.mark.parametrize("method", ["gradcam", f"{__name__}:Raising"])
def test_a_gpu_is_exact_for_the_time_of_a_run(small_suite, model, tmp_path, arithmetic, method):
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, True
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = False, True
    seen = []
    model.network.register_forward_hook(lambda *_: seen.append(arithmetic()))
    run(small_suite, models=[model], methods=[method], out=tmp_path)
    assert set(seen) == {(False, False, True, False)}
    assert arithmetic() == (True, True, False, True)
    with torch.no_grad():
        next(model.network.parameters()).add_(1)
    with pytest.raises(RunFolderError):
        run(small_suite, models=[model], methods=[method], out=tmp_path)
    assert arithmetic() == (True, True, False, True)


class Unsteady(Raising):
    """A method that explains photographs, and nothing with a pixel outside [0, 1]."""

    def explain(self, evidence, classifier):
        if float(evidence.images.min()) < 0:
            raise RuntimeError("this is no photograph")
        return evidence.activations[self.layer].sum(1)


def test_a_method_that_cannot_explain_altered_images_loses_the_metric_that_asks_for_them(model, small_suite, tmp_path):
    """Fundus photographs are black in the corners, so noise leaves [0, 1] on every one of them."""
    small_suite["suite"] |= {
        "methods": ["gradcam", {"name": f"{__file__}:Unsteady", "label": "unsteady"}],
        "metrics": ["max-sensitivity", "energy-pointing-game"],
    }
    scores = run(small_suite, models=[model], out=tmp_path / "run").scores
    lost = scores[scores["status"] == "error"]
    assert set(zip(lost["method"], lost["metric"], strict=True)) == {("unsteady", "max-sensitivity")}
    assert lost["error"].str.contains("on an altered image, RuntimeError: this is no photograph").all()
    assert lost["sample"].nunique() == 6
    steady = scores[(scores["method"] == "gradcam") & (scores["metric"] == "max-sensitivity")]
    assert steady["status"].eq("ok").all()
    assert steady["sample"].nunique() == 6
