"""A network learns a data set's classes."""

from __future__ import annotations

import json
import logging
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from camfaith.benchmark import datasets, finetune
from camfaith.benchmark.cli.command_line import app
from camfaith.benchmark.datasets.split import part_of
from camfaith.benchmark.training.starting import starting_weights
from camfaith.models import load

QUICK = {"size": 16, "batch": 8, "rate": 0.05, "epochs": 6}


@pytest.fixture
def told(colours_in, tmp_path):
    return {**colours_in(tmp_path), "out": tmp_path / "nets/tiny", **QUICK}


@pytest.fixture
def colours(told):
    return told["dataset"]


@pytest.mark.parametrize("said", [{"balance": "sampler"}, {"balance": "none"}, {"head": "ordinal"}], ids=str)
def test_it_learns_what_can_be_learned_of_the_samples_that_can_be_read(told, said, tmp_path):
    (tmp_path / "7.png").write_bytes(b"torn")
    with pytest.warns(UserWarning, match=r"1 of 48 samples are left out, the first: 7\.png"):
        found = finetune(**told, **said)
    assert json.loads((told["out"] / "model.json").read_text())["training"]["left_out"] == 1
    assert found.evaluation["test"].accuracy == 1
    assert found.history["train_loss"].iloc[-1] < found.history["train_loss"].iloc[0]


def test_the_folder_is_a_model_that_does_what_the_evaluation_says(told, colours):
    found = finetune(**told | {"rate": 3.0, "batch": 7})
    assert found.history["val_loss"].argmin() < len(found.history) - 1  # so that the best is not the last
    model = load(str(told["out"]))
    given = {name: value for name, value in colours.items() if name != "name"}
    test = part_of(datasets.find("csv")(**given), told["out"].parent / "split.csv", "test")
    samples = [test[i] for i in range(len(test))]
    p = model.head.probabilities(model.scores(torch.stack([model.prepare(s.image) for s in samples])).double())
    evaluation = found.evaluation["test"]
    assert evaluation.n == len(samples)
    assert evaluation.accuracy == float(np.mean(p.argmax(1).tolist() == np.array([s.label for s in samples])))
    surest = [each for each in evaluation.reliability if each.count]
    assert sum(b.count * b.confidence for b in surest) / evaluation.n == pytest.approx(float(p.amax(1).mean()))


def test_the_history_says_of_the_best_epoch_what_the_evaluation_says(told):
    """Torchmetrics there, numpy here; a network that has hardly learned is wrong now and then."""
    photographs = {"name": "fundus", "samples": 90, "size": 32}
    found = finetune(**told | {"dataset": photographs, "rate": 2e-3, "epochs": 2})
    best, val = found.history.loc[found.history["val_loss"].argmin()], found.evaluation["val"]
    assert 0 < val.accuracy < 1
    ours = (val.accuracy, val.balanced_accuracy, val.kappa)
    assert ours == pytest.approx(tuple(best[["val_accuracy", "val_balanced_accuracy", "val_kappa"]]), abs=1e-6)


def test_nothing_of_the_process_is_changed(told):
    torch.manual_seed(3)
    log = logging.getLogger("pytorch_lightning").level
    before = (torch.get_rng_state(), signal.getsignal(signal.SIGTERM), torch.is_grad_enabled())
    random = np.random.get_state()[1]  # noqa: NPY002
    finetune(**told)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (signal.getsignal(signal.SIGTERM), torch.is_grad_enabled()) == before[1:]
    assert (np.random.get_state()[1] == random).all()  # noqa: NPY002
    assert logging.getLogger("pytorch_lightning").level == log
    assert not torch.are_deterministic_algorithms_enabled()
    assert sorted(path.name for path in told["out"].iterdir()) == [
        ".lock", "asked.json", "evaluation.json", "history.csv", "last.ckpt", "model.json", "model.safetensors"
    ]  # fmt: skip


def test_a_folder_goes_on_and_is_read_back_with_what_it_was_asked_for_alone(told, colours, tmp_path):
    finetune(**told)
    with pytest.raises(ValueError, match=re.escape("has rate 0.05, and is asked for 0.01")):
        finetune(**told | {"rate": 0.01})
    for setting in ({"field": True}, {"classes": ["red", "blue", "green"]}):
        with pytest.raises(ValueError, match=f"has {'settings' if 'field' in setting else 'class_names'} .*, and is"):
            finetune(**told | {"dataset": colours | setting})
    (tmp_path / "moved").mkdir()
    table = (tmp_path / "colours.csv").rename(tmp_path / "moved/colours.csv")
    moved = told | {"dataset": colours | {"path": str(table), "root": str(tmp_path)}}
    finetune(**moved)
    for file, change, further in (
        (table, lambda held: held.replace(b"3.png,0", b"3.png,1"), {}),
        (tmp_path / "3.png", lambda _: (tmp_path / "0.png").read_bytes(), {"epochs": 9, "patience": 9}),
    ):
        held = file.read_bytes()
        file.write_bytes(change(held))
        with pytest.raises(ValueError, match="has other pictures, labels or parts"):
            finetune(**moved | further)
        file.write_bytes(held)
    assert len(finetune(**moved | further).history) == 9
    assert len(finetune(**moved | {"rate": 0.01}, overwrite=True).history) > 0


def test_a_damaged_folder_is_refused_in_words(told):
    finetune(**told)
    for name in ("asked.json", "history.csv", "evaluation.json", "model.safetensors", "last.ckpt"):
        whole = (told["out"] / name).read_bytes()
        for content in ("junk", "{}", "[]", ""):
            (told["out"] / name).write_text(content)
            with pytest.raises(ValueError, match=r"is damaged \(.*or overwrite it"):
                finetune(**told | {"epochs": 99 if name == "last.ckpt" else 6, "patience": 99})
        (told["out"] / name).write_bytes(whole)


def test_a_split_that_teaches_nothing_is_not_left_behind(told, tmp_path):
    table = tmp_path / "colours.csv"
    rows = table.read_text()
    table.write_text("\n".join(rows.splitlines()[:3]))
    with pytest.raises(ValueError, match="a split of 2 pictures has no picture in part 'val'"):
        finetune(**told)
    table.write_text(rows)
    assert finetune(**told).evaluation["test"].accuracy == 1


def test_somebody_elses_network_is_not_written_over(told):
    told["out"].mkdir(parents=True)
    (told["out"] / "model.safetensors").write_bytes(b"dear")
    with pytest.raises(ValueError, match="which was not trained here"):
        finetune(**told, overwrite=True)
    assert (told["out"] / "model.safetensors").read_bytes() == b"dear"


@pytest.mark.filterwarnings("ignore:.*they are left out")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0.png,train,,0\ngone.png,val,,1", "names 1 samples that are not there or cannot be read, first 'gone.png'"),
        ("0.png,train,,1\n1.png,val,,1", "1 samples have another label by now, first '0.png' ('1' in the file, '0'"),
        ("0.png,train,0-0,0\n1.png,train,1-9,1", "1 samples have another cluster by now, first '1.png'"),
        ("0.png,train,0-0,0\n3.png,val,0-0,0", "has one class alone in train"),
        ("0.png,train,0-0,0\n1.png,train,1-0,1", "has no picture in part 'val'"),
    ],
)
def test_a_split_that_does_not_fit_is_refused(told, rows, message):
    file = told["out"].parent / "split.csv"
    file.parent.mkdir()
    file.write_text(f"sample,part,cluster,label\n{rows}\n")
    with pytest.raises(ValueError, match=re.escape(message)):
        finetune(**told)


def test_what_a_split_lacks_is_told(told):
    file = told["out"].parent / "split.csv"
    file.parent.mkdir()
    rows = ["0.png,train", "1.png,train", "2.png,train", "3.png,test", "6.png,val", "7.png,val"]
    file.write_text("\n".join(["sample,part", *rows]))
    with pytest.warns(UserWarning, match="they are left out") as said:
        found = finetune(**told | {"epochs": 1})
    texts = " ".join(str(each.message) for each in said)
    for expected in (
        "does not name 42 of 48 pictures",
        "no picture of 'blue' in part 'val'",
        "no picture of 'green', 'blue' in part 'test'",
        "1 clusters of",  # 0.png and 3.png
    ):
        assert expected in texts
    assert found.evaluation["test"].n == 1


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"head": "binary"}, "unknown head to train 'binary'"),
        ({"epochs": 0}, "epochs must be"),
        ({"rate": -1.0}, "rate must be"),
        ({"balance": "some"}, "balance must be"),
        ({"model": {"name": "fundus-resnet", "layer": "layer3"}}, "unknown setting of a model to train 'layer'"),
        ({"model": {"name": "fundus-resnet", "mean": "grey"}}, "model: key 'mean' must be a list"),
        ({"dataset": {"name": "fundus", "samples": 0}}, "samples must be a whole number, 1 or more"),
        ({"size": 3}, "takes no pictures of 3 × 3 pixels"),
        ({"dataset": {"name": "csv", "path": "colours.csv", "classes": ["a"]}}, "has one class alone; a network"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"rate": 1e30}, "the loss is no finite number in epoch 1: learn with a lower rate than 1e+30"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_in_words(told, said, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(message)):
        finetune(**told | said)


def test_without_lightning_the_extra_is_named(told, monkeypatch):
    monkeypatch.setattr("camfaith.benchmark.training.finetune.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape("pip install 'camfaith[train]'")):
        finetune(**told)


def test_weights_are_those_on_this_disk_and_none_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.warns(UserWarning, match="no weights for 'resnet18' on this disk: it learns from scratch"):
        assert starting_weights("resnet18", None) is None
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/resnet18-f37072fd.pth").touch()
    assert starting_weights("resnet18", None) == "DEFAULT"
    assert starting_weights("resnet18", "none") is None
    assert starting_weights("fundus-resnet", None) == "DEFAULT"
    assert starting_weights("net.py:tiny", None) is None


def test_the_command_trains_and_says_how_well(told, colours):
    table = f'csv(path="{colours["path"]}", classes=["red", "green", "blue"])'
    words = ["finetune", "--model", told["model"], "--dataset", table, "--out", str(told["out"]), "--no-report"]
    for name, value in QUICK.items():
        words += [f"--{name}", str(value)]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 0, ended.output
    assert "1.000" in ended.output
    assert Path(told["out"], "model.json").is_file()
    ended = CliRunner().invoke(app, [*words, "--head", "ordinal"])
    assert (ended.exit_code, "has head 'softmax'" in ended.output) == (2, True)
