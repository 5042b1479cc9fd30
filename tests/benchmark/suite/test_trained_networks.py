"""A suite takes the folder of a trained network as a model, and knows when it is another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from safetensors.torch import save_file

from camfaith.benchmark import run
from camfaith.benchmark.suite.declaration import ModelEntry, Suite
from camfaith.benchmark.suite.identity import declared_model, model_key
from camfaith.benchmark.suite.opening import open_model
from camfaith.models.card import Card, read_card, write_card
from camfaith.models.loading import build_for
from camfaith.models.reference import GRADES, MEAN, SIZE, STD


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "fundus" / "resnet"
    path.mkdir(parents=True)
    save_file(build_for("fundus-resnet", len(GRADES) - 1).state_dict(), path / "model.safetensors")
    settings = {"class_names": GRADES, "head": "ordinal", "mean": MEAN, "std": STD, "resize": SIZE, "crop": SIZE}
    write_card(path, Card(architecture="fundus-resnet", layer="layer2", **settings))
    return path


def keys(folder, **said):
    entry = ModelEntry(name=str(folder), **said)
    return declared_model(entry), model_key(open_model(entry, "cpu"), entry)


def test_what_a_card_says_and_its_weights_are_in_the_keys_and_how_it_was_trained_is_not(folder, tmp_path):
    declared, key = keys(folder)
    assert keys(folder) == (declared, key)
    card = read_card(folder)
    for other in (
        replace(card, layer="layer3"),
        replace(card, resize=128),
        replace(card, architecture="fundus-tag-resnet"),
    ):
        write_card(folder, other)
        found = keys(folder)
        assert found[0] != declared
        assert (found[1] == key) == (other.architecture != card.architecture)
    write_card(folder, replace(card, training={"epochs": 3}))
    assert keys(folder)[1] == key
    save_file(build_for("fundus-resnet", 4, "DEFAULT").state_dict(), folder / "model.safetensors")
    write_card(folder, card)
    found = keys(folder)
    assert found[0] != declared
    assert found[1] != key
    folder.rename(tmp_path / "moved")
    assert keys(tmp_path / "moved")[1] == found[1]


def test_its_label_is_the_folders_last_name_unless_another_is_given(folder, monkeypatch):
    monkeypatch.chdir(folder)
    for name, said, label in ((str(folder), {}, "resnet"), (".", {}, "resnet"), (f"{folder}/", {"label": "r"}, "r")):
        assert ModelEntry(name=name, **said).label == label
    assert ModelEntry(name="fundus-resnet").label is None
    assert Suite.of("quick").changed(models=[str(folder)]).model[0].label == "resnet"


def test_it_is_run_and_read_back_and_another_in_its_place_is_refused(folder, tmp_path):
    methods, metrics = ["gradcam", "random", "cam"], ["average-drop"]
    suite = {
        "suite": {"name": "s", "methods": methods, "metrics": metrics, "batch_size": 4, "target": "severe"},
        "model": [{"name": str(folder)}],
        "dataset": [{"name": "fundus", "samples": 4}],
    }
    scores = run(suite, out=tmp_path / "run").scores
    assert set(scores["model"]) == {"resnet"}
    assert set(scores.loc[scores["method"] == "gradcam", "status"]) == {"ok"}
    assert scores.loc[scores["method"] == "cam", "error"].str.contains("not linear in the last layer's logits").all()
    result = run(suite, out=tmp_path / "run")
    (told,) = result.info["models"]
    assert (told["layer"], told["head"], told["classes"]) == ("layer2", "ordinal", [*GRADES])
    assert result.accuracy["confidence"].between(0.2, 1).all()
    save_file(build_for("fundus-resnet", 4, "DEFAULT").state_dict(), folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"is not the file that model\.json was written for"):
        run(suite, out=tmp_path / "run")
    write_card(folder, read_card(folder))
    with pytest.raises(ValueError, match=r"'resnet' is not the one that .* \(another weights\)"):
        run(suite, out=tmp_path / "run")
