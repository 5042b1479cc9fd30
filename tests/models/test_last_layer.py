"""A network by name, built for other classes: all of it but the last layer is as it was."""

import pytest
import torch
from torch import nn
from torchvision import models as torchvision_models

from camfaith.models import load
from camfaith.models.last_layer import with_outputs
from camfaith.models.loading import build_for


@pytest.mark.parametrize(
    ("name", "last"),
    [
        ("fundus-vgg", "classifier.4"),
        ("squeezenet1_1", "classifier.1"),
        ("mobilenet_v3_small", "classifier.3"),
        ("timm:resnet10t", "fc"),
        ("timm:deit_tiny_distilled_patch16_224", "head|head_dist"),
    ],
)
def test_the_last_layer_alone_is_drawn_anew_and_the_same_every_time(name, last):
    before = torch.random.get_rng_state()
    found, again = (build_for(name, 3).state_dict() for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    usual = load(name, weights="none").network.state_dict()
    other = {key for key, value in found.items() if not torch.equal(value, usual[key])}
    assert {key.rpartition(".")[0] for key in other} == set(last.split("|"))
    assert all(torch.equal(value, again[key]) for key, value in found.items())
    assert {len(found[key]) for key in other} == {3}


@pytest.mark.parametrize("name", ["fundus-resnet", "timm:resnet10t"])
def test_weights_of_any_number_of_classes_are_started_from(tmp_path, name):
    """All layers are the file's, and the last is as it is without a file."""
    torch.manual_seed(1)
    source = build_for(name, 7)
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    found, plain = build_for(name, 3, tmp_path / "a.pth").state_dict(), build_for(name, 3).state_dict()
    theirs = source.state_dict()
    last = {key for key in plain if plain[key].shape != theirs[key].shape}
    assert len(last) == 2
    assert all(torch.equal(value, plain[key] if key in last else theirs[key]) for key, value in found.items())
    torch.save(build_for("fundus-vgg", 3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not fit"):
        build_for(name, 3, tmp_path / "other.pth")


def test_a_shipped_networks_own_weights_are_its_default():
    found = build_for("fundus-resnet", 2, "DEFAULT")
    assert torch.equal(found.stem.conv.weight, load("fundus-resnet").network.stem.conv.weight)
    assert found.head.out_features == 2


def test_a_network_in_a_file_of_ones_own_stays_as_it_is(tmp_path):
    (tmp_path / "mine.py").write_text("from torch import nn\n\nmade = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))\n")
    name = f"{tmp_path / 'mine.py'}:made"
    assert build_for(name, 3)[1].out_features == 3
    assert load(name).network[1].out_features == 5


@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_a_network_is_the_same_with_the_librarys_weights_and_without(monkeypatch):
    """Torchvision's builders add layers, or turn the colours, according to the weights that they are given."""
    name = "googlenet"
    enum = torchvision_models.get_model_weights(name)
    whole = torchvision_models.get_model(name, weights=None, init_weights=False).state_dict()
    monkeypatch.setattr(enum, "get_state_dict", lambda self, **_: whole)
    given, none = build_for(name, 3, "DEFAULT"), build_for(name, 3)
    assert given.state_dict().keys() == none.state_dict().keys()
    assert given.transform_input == none.transform_input
    assert isinstance(given.train()(torch.rand(2, 3, 96, 96)), torch.Tensor)


def test_a_layer_keeps_its_kind_and_a_network_without_one_says_so():
    net = nn.Sequential(nn.Linear(4, 6, bias=False).double(), nn.ReLU())
    assert with_outputs(net, 2) == ["0"]
    assert (net[0].out_features, net[0].bias, net[0].weight.dtype) == (2, None, torch.float64)
    with pytest.raises(ValueError, match="ReLU has no linear layer inside"):
        with_outputs(nn.ReLU(), 2)
