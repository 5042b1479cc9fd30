"""A trained network's folder is a model: built by its card, with its weights and no others."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from camfaith.models import UnknownName, load
from camfaith.models.card import Card, read_card, write_card
from camfaith.models.loading import build_for, card_of

IMAGES = torch.rand(2, 3, 32, 32)
COLOURS = {"mean": (0.4, 0.3, 0.2), "std": (0.2, 0.2, 0.1)}
GRADES = ("none", "mild", "severe")


@pytest.fixture
def folder(tmp_path):
    """Of a network of three grades, by two logits."""
    torch.manual_seed(5)
    network = build_for("fundus-effnet", 2)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    path = tmp_path / "networks" / "effnet"
    path.mkdir(parents=True)
    save_file(network.state_dict(), path / "model.safetensors")
    settings = {"class_names": GRADES, "head": "ordinal", "resize": (40, 48), "crop": 32, "pad": True}
    card = Card(architecture="fundus-effnet", layer="features.5", dataset="fundus", **settings, **COLOURS)
    write_card(path, card)
    return path


def changed(folder, **content):
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | content))


def test_a_folder_is_the_network_that_was_trained_with_its_settings_each_of_which_can_be_replaced(folder):
    network = build_for("fundus-effnet", 2)
    network.load_state_dict(load(str(folder)).network.state_dict())
    found = load(str(folder))
    mean, std = (torch.tensor(COLOURS[name])[:, None, None] for name in ("mean", "std"))
    up = network.eval()((IMAGES - mean) / std).sigmoid()
    expected = torch.stack([1 - up[:, 0], up[:, 0] * (1 - up[:, 1]), up[:, 0] * up[:, 1]], 1)
    torch.testing.assert_close(found.scores(IMAGES).exp(), expected)
    assert (found.class_names, found.layer, found.resize) == (GRADES, "features.5", (40, 48))
    assert (found.crop, found.pad) == (32, True)
    other = load(str(folder), class_names=("a", "b"), head="regression", std=(1, 1, 1), layer="features.4", pad=False)
    assert (other.class_names, other.head.name, other.std) == (("a", "b"), "regression", (1, 1, 1))
    assert (other.mean, other.layer, other.pad) == (COLOURS["mean"], "features.4", False)
    untrained = load(str(folder), weights="none").network.state_dict()
    assert not torch.equal(untrained["classifier.weight"], found.network.state_dict()["classifier.weight"])


def test_a_card_read_is_the_card_written_with_the_weights_digest(folder):
    card = read_card(folder)
    assert card.sha256 == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert write_card(folder, card) == card == read_card(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"weights": "../other.safetensors"}, ValueError, "'../other.safetensors' lie outside of .*effnet"),
        ({"weights": "/etc/hosts"}, ValueError, "'/etc/hosts' lie outside of .*effnet"),
        ({"weights": "link.safetensors"}, ValueError, "'link.safetensors' lie outside of .*effnet"),
        ({"weights": "gone.safetensors"}, FileNotFoundError, r"no weights file at .*gone.safetensors, which .*json"),
        ({"sha256": "0" * 64}, ValueError, "is not the file that model.json was written for.*give another file"),
        ({"architecture": "fundus-vgg"}, ValueError, r"does not fit '.*effnet': missing \['features.0.weight'"),
        ({"architecture": "resnet81"}, UnknownName, "unknown model 'resnet81': did you mean 'resnet18'"),
        ({"architecture": "hf:some/net"}, ValueError, "networks of transformers are not built for other classes"),
        ({"class_names": ["a", "b"]}, ValueError, "does not fit"),
        ({"class_names": ["a"]}, ValueError, "no card of a network: class_names must be two names or more"),
        ({"head": "os:getcwd"}, UnknownName, "unknown head in model.json of .* 'os:getcwd'"),
        ({"head": "ordnal"}, UnknownName, "did you mean 'ordinal'"),
        ({"crop": "96"}, ValueError, "is no card of a network: crop"),
        ({"std": [0.2, 0, 0.1]}, ValueError, "std: 1: Input should be greater than 0"),
        ({"interpolation": "bilinaer"}, ValueError, "did you mean 'bilinear'"),
        ({"colour": 1}, ValueError, "is no card of a network: colour: Unexpected keyword argument"),
    ],
)  # fmt: skip
def test_a_card_that_does_not_hold_is_refused(folder, content, error, words):
    save_file({"a": torch.zeros(1)}, folder.parent / "other.safetensors")
    (folder / "link.safetensors").symlink_to(folder.parent / "other.safetensors")
    changed(folder, **content)
    with pytest.raises(error, match=words):
        load(str(folder))


def test_weights_that_changed_since_are_refused_unless_they_are_asked_for(folder):
    save_file(build_for("fundus-effnet", 2).state_dict(), folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"is not the file that model.json was written for"):
        load(str(folder))
    found = load(str(folder), weights=folder / "model.safetensors")
    assert torch.equal(found.network.classifier.weight, build_for("fundus-effnet", 2).classifier.weight)


def test_what_is_no_json_and_what_is_no_folder_of_a_network_says_so(folder):
    (folder / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"model.json is no card of a network: Invalid JSON"):
        load(str(folder))
    (folder / "model.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model.json in .*effnet"):
        load(str(folder))


def test_code_of_ones_own_is_run_but_not_out_of_the_cards_folder(folder, tmp_path):
    text = "from camfaith.models.reference import EffNet\n\ndef made():\n    return EffNet()\n"
    for path in (tmp_path / "net.py", folder / "net.py"):
        path.write_text(text)
    expected = load(str(folder)).scores(IMAGES)
    changed(folder, architecture=f"{tmp_path / 'net.py'}:made")
    torch.testing.assert_close(load(str(folder)).scores(IMAGES), expected)
    for inside in (folder, folder / ".." / "effnet"):
        changed(folder, architecture=f"{inside / 'net.py'}:made")
        for read in (load, card_of):  # by which a run tells models apart, before it loads any
            with pytest.raises(ValueError, match="in its own folder, which is not run; keep code elsewhere"):
                read(str(folder))
    changed(folder, architecture="elsewhere/net.py:made")
    with pytest.raises(FileNotFoundError, match=r"effnet names elsewhere.net.py:made, and there is no .* start in the"):
        load(str(folder))


def test_a_network_trained_further_has_the_architecture_of_that_which_it_was(folder, tmp_path):
    further = build_for(str(folder), 3, "DEFAULT")
    theirs = load(str(folder)).network
    assert torch.equal(further.features[0].conv.weight, theirs.features[0].conv.weight)
    assert further.classifier.out_features == 3
    save_file(further.state_dict(), tmp_path / "model.safetensors")
    assert write_card(tmp_path, Card(architecture=str(folder), class_names=GRADES)).architecture == "fundus-effnet"
    assert load(str(tmp_path)).scores(IMAGES).shape == (2, 3)
    changed(tmp_path, architecture=str(tmp_path))
    with pytest.raises(ValueError, match=r"names another folder, .*, as the architecture; name its own"):
        load(str(tmp_path))


def test_a_network_goes_before_a_folder_of_its_name(folder, monkeypatch):
    folder.rename(folder.parent / "fundus-vgg")
    monkeypatch.chdir(folder.parent)
    assert len(load("fundus-vgg").class_names) == 5
    assert load("./fundus-vgg").class_names == GRADES
