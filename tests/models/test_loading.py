"""A classifier from a name: shipped, torchvision's, timm's, one's own."""

import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18, squeezenet1_1
from torchvision.transforms.v2 import functional as F

from camfaith.models import Classifier, UnknownName, load
from camfaith.models.loading import _preprocessing, model_names
from camfaith.models.reference import build

NETWORK = "squeezenet1_1"  # the smallest of torchvision's
PLAIN = {"mean": (0, 0, 0), "std": (1, 1, 1)}
SOURCE = """
from torch import nn
from camfaith.models import Classifier

def of_timm():
    import timm
    return timm.create_model("resnet10t", num_classes=3)

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def classifier():
    return Classifier(network(), mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 2.0), class_names=("a", "b"), layer="0")

network_made = network()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "my_networks.py"
    path.write_text(SOURCE)
    return path


def same(found: nn.Module, expected: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, expected[name]) for name, value in found.state_dict().items())


def test_an_untrained_torchvision_network_is_the_same_every_time():
    before = torch.random.get_rng_state()
    one, other = load(NETWORK, weights="none"), load(NETWORK, weights="none")
    assert same(one.network, other.network.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not one.network.training
    assert one.name == NETWORK


def test_a_file_for_other_classes_fits_where_the_classes_are_named(tmp_path):
    torch.save(squeezenet1_1(weights=None, num_classes=3).state_dict(), tmp_path / "a.pth")
    found = load(NETWORK, weights=tmp_path / "a.pth", class_names=("cat", "dog", "owl"), **PLAIN)
    assert found.scores(torch.rand(1, 3, 32, 32)).shape == (1, 3)
    assert found.class_names == ("cat", "dog", "owl")


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownName, match="unknown model 'fundus-resnett': did you mean 'fundus-resnet'"):
        load("fundus-resnett")
    with pytest.raises(UnknownName, match="unknown weights of resnet18 'IMAGENET1K_V3': did you mean 'IMAGENET1K_V1'"):
        load("resnet18", weights="IMAGENET1K_V3")
    with pytest.raises(UnknownName, match=r"unknown model of timm 'resnet10': did you mean .*'resnet1\dt?'"):
        load("timm:resnet10", weights="none")
    assert {"fundus-resnet", "resnet18"} <= set(model_names())


def test_the_preprocessing_of_torchvision_weights_is_taken_over():
    found = Classifier(resnet18(weights=None), **_preprocessing(ResNet18_Weights.DEFAULT))
    assert (found.resize, found.crop) == (256, 224)
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.class_names[:1] == ("tench",)


def test_a_function_in_a_file_gives_a_network(source):
    found = load(f"{source}:network", layer="0")
    assert (found.layer, load(f"{source}:network", output=0).output) == ("0", 0)
    assert found.scores(torch.rand(1, 3, 8, 8)).shape == (1, 2)
    assert same(found.network, load(f"{source}:network").network.state_dict())
    assert isinstance(load(f"{source}:network_made").network, nn.Sequential)
    of_timm = load(f"{source}:of_timm")
    assert (of_timm.mean, of_timm.crop) == ((0.485, 0.456, 0.406), 176), "its preprocessing"


def test_a_function_may_give_a_classifier_whose_settings_can_be_replaced(source):
    found = load(f"{source}:classifier", std=(3.0, 3.0, 3.0))
    assert isinstance(found.network, nn.Sequential)
    assert (found.mean, found.std, found.class_names, found.layer) == ((0.1, 0.2, 0.3), (3.0,) * 3, ("a", "b"), "0")


def test_a_function_in_a_package_gives_a_network(tmp_path, source, monkeypatch):
    folder = tmp_path / "camfaith_test_package"
    folder.mkdir()
    (folder / "networks.py").write_text(source.read_text())
    monkeypatch.syspath_prepend(tmp_path)
    found = load("camfaith_test_package.networks:network")
    torch.save(found.network.state_dict(), tmp_path / "a.pth")
    assert same(load("camfaith_test_package.networks:network", weights=tmp_path / "a.pth").network,
                found.network.state_dict())  # fmt: skip


def test_a_shipped_network_brings_its_preprocessing():
    found = load("fundus-resnet", weights="none")
    assert (found.resize, found.crop, len(found.class_names)) == (96, 96, 5)
    assert type(found.network) is type(build("fundus-resnet"))


def test_a_network_of_timm_brings_its_preprocessing(tmp_path):
    before = torch.random.get_rng_state()
    one, other = (load("timm:resnet10t", weights="none", class_names=("cat", "dog")) for _ in range(2))
    assert same(one.network, other.network.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (one.mean, one.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (one.resize, one.crop) == (201, 176)  # 176 / 0.875
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(one.network))
    torch.testing.assert_close(F.normalize(one.prepare(picture), one.mean, one.std), theirs(picture))
    assert one.scores(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    torch.save(other.network.state_dict(), tmp_path / "a.pth")
    found = load("timm:resnet10t", weights=tmp_path / "a.pth", class_names=("cat", "dog"), mean=(0,) * 3, std=(1,) * 3)
    assert (found.mean, found.crop) == ((0, 0, 0), 176)
    assert same(found.network, other.network.state_dict())


def test_a_network_of_timm_that_squeezes_its_pictures_gets_them_squeezed(monkeypatch):
    squeezing = {"crop_mode": "squash", "crop_pct": 0.9, "interpolation": "bicubic", "input_size": (3, 48, 32)}
    network = timm.create_model("resnet10t", pretrained_cfg_overlay=squeezing)
    monkeypatch.setattr("timm.create_model", lambda *_, **__: network)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8))
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    found = load("timm:resnet10t", weights="none")
    torch.testing.assert_close(F.normalize(found.prepare(picture), found.mean, found.std), theirs(picture))


def test_timm_is_asked_for_pretrained_weights_only_where_the_user_asks(monkeypatch):
    asked = []

    def create(name, *, pretrained, **settings):
        asked.append((name, pretrained, settings))
        return nn.Linear(2, 2)

    monkeypatch.setattr("timm.create_model", create)
    load("timm:resnet10t.c3_in1k", weights="DEFAULT", class_names=("cat", "dog"))
    load("timm:resnet10t", weights="none", class_names=("cat", "dog"))
    assert asked == [("resnet10t.c3_in1k", True, {}), ("resnet10t", False, {"num_classes": 2})]
    with pytest.raises(ValueError, match=r"timm's 'resnet10t' needs to be told its weights: 'DEFAULT'.*'none'"):
        load("timm:resnet10t")
    with pytest.raises(ValueError, match=r"expected a .safetensors, .pth or .pt file or 'none', got 'IMAGENET1K_V1'"):
        load("timm:resnet10t", weights="IMAGENET1K_V1")
    assert len(asked) == 3


def test_without_timm_its_networks_say_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"'timm:resnet10t' needs timm: pip install 'camfaith\[timm\]'"):
        load("timm:resnet10t", weights="none")
