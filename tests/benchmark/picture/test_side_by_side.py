"""Several methods on one picture: the same maps as each alone, from one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from camfaith import methods as all_methods
from camfaith.benchmark import explain
from camfaith.benchmark.picture.side_by_side import METHODS, NoModel
from camfaith.models import Classifier, UnknownName, load, maps
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.counting import counting as tallied


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8))


@pytest.fixture
def tiny_classifier(counting):
    return Classifier(counting, name="five", layer="inner.body", class_names=["a", "b", "c", "d", "e"])


@pytest.fixture(scope="module")
def vgg():
    return load("fundus-vgg")


def calls(model, **settings):
    with tallied(model.network) as tally:
        explain(model=model, **settings)
    return tally.forwards, tally.backwards


EARLY = {"name": "gradcam", "layer": "inner.stem", "label": "early"}
PATH = {"name": "integrated-gradients", "n_steps": 4}


@pytest.mark.parametrize(
    ("methods", "classes", "expected"),
    [
        (METHODS, ["a"], (1, 1)),
        (["gradcam"], ["e", 2, "predicted"], (3, 3)),
        ([*METHODS, "elementwise", "eigengradcam", "sobel"], ["e", 2, "predicted"], (3, 3)),
        (["gradcam", EARLY], ["a", "b"], (2, 2)),
        (["eigencam", "random"], ["a", "b"], (2, 0)),
        (["gradcam", "input-x-gradient", PATH], ["a", "b"], (2 * 6, 2 * 6)),  # what methods send themselves, on top
    ],
)
def test_one_forward_and_one_backward_a_class_whatever_the_methods(
    tiny_classifier, picture, methods, classes, expected
):
    assert calls(tiny_classifier, image=picture, methods=methods, classes=classes) == expected


def test_a_methods_own_layer_goes_before_the_one_named_for_all(tiny_classifier, picture):
    found = explain(picture, model=tiny_classifier, methods=["gradcam", EARLY], classes=["a"], layer="inner.stem.0")
    assert found.layers == ["inner.stem.0", "inner.stem"]
    for layer, label in zip(found.layers, ("gradcam", "early"), strict=True):
        alone = all_methods.GradCAM(tiny_classifier, layer).raw(picture, 0)
        np.testing.assert_allclose(found.panels[label, 0].raw, alone[0].numpy(), rtol=1e-4, atol=1e-6)


def test_a_target_layer_that_has_to_be_found_costs_one_forward(counting, picture):
    assert calls(Classifier(counting), image=picture, classes=[0, 1]) == (3, 2)
    assert calls(Classifier(counting), image=picture, classes=[0, 1], layer="inner.body") == (2, 2)


@pytest.mark.parametrize("signed", [False, True])
def test_every_panel_is_the_map_of_the_method_asked_alone(vgg, signed):
    names, classes = ["gradcam", "gradcam++", "hirescam", "input-x-gradient", "random"], [3, 0]
    found = explain("fundus:3", model=vgg, methods=names, classes=classes, signed=signed)
    image = vgg.prepare(found.picture)
    for name in names:
        cam = all_methods.find(name)(vgg)
        for index in classes:
            panel, raw = found.panels[name, index], cam.raw(image, index)
            np.testing.assert_allclose(panel.raw, raw[0].numpy(), rtol=1e-3, atol=1e-5 * float(raw.abs().max()))
            heatmap = raw if signed else cam(image, index)
            drawn = np.asarray(cam.visualize(found.picture, heatmap, signed=signed))
            assert np.abs(np.asarray(panel.picture).astype(int) - drawn).max() <= 3
    different = [found.panels["hirescam", index].picture.tobytes() for index in classes]
    assert different[0] != different[1]


def test_the_picture_is_what_the_network_saw(vgg):
    wide = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8))
    found = explain(wide, model=vgg, methods=["sobel"])
    cut = wide.resize((144, 96), Image.Resampling.BILINEAR).crop((24, 0, 120, 96))
    assert np.abs(np.asarray(found.picture).astype(int) - np.asarray(cut)).max() <= 2


def test_a_class_that_is_not_there_is_refused(vgg, tiny_classifier, picture):
    with pytest.raises(UnknownName, match=r"unknown class 'sever': did you mean 'severe'"):
        explain("fundus:3", model=vgg, classes=["sever"])
    with pytest.raises(ValueError, match=r"expected 0 to 4, got \[1, 5\]"):
        explain("fundus:3", model=vgg, classes=[1, 5])
    twins = Classifier(tiny_classifier.network, layer="inner.body", class_names=["crane", "b", "crane", "d", "e"])
    with pytest.raises(ValueError, match=r"'crane' could be any of the classes \[0, 2\]"):
        explain(picture, model=twins, classes=["crane"])
    nameless = Classifier(tiny_classifier.network, layer="inner.body")
    with pytest.raises(UnknownName, match=r"unknown class 'cat'.* the model has no names for its classes"):
        explain(picture, model=nameless, classes=["cat"])


def test_a_class_may_be_told_in_other_capitals_or_by_one_of_its_words(tiny_classifier, picture):
    names = ["cat", "tench, Tinca tinca", "Egyptian cat", "tiger cat", "e"]
    model = Classifier(tiny_classifier.network, layer="inner.body", class_names=names)
    found = explain(picture, model=model, methods=["gradcam"], classes=["Cat", "tinca TINCA", "egyptian cat"])
    assert [c.index for c in found.classes] == [0, 1, 2]
    fewer = Classifier(tiny_classifier.network, layer="inner.body", class_names=["a", *names[1:]])
    with pytest.raises(UnknownName, match=r"did you mean 'Egyptian cat' or 'tiger cat'[?]"):
        explain(picture, model=fewer, classes=["cat"])


def test_classes_are_named_or_numbered_once_each_and_the_predicted_one_unless_others_are(vgg):
    found = explain("fundus:3", model=vgg, methods=["gradcam"], classes=["mild", 4, "predicted", 3, 1])
    assert [(c.index, c.name, c.predicted) for c in found.classes] == [
        (1, "mild", False),
        (4, "proliferative", False),
        (3, "severe", True),
    ]
    assert set(found.panels) == {("gradcam", 1), ("gradcam", 4), ("gradcam", 3)}
    p = vgg.scores(vgg.prepare(found.picture))[0].softmax(0)
    (only,) = explain("fundus:3", model=vgg, methods=["gradcam"]).classes
    assert (only.index, only.predicted, int(p.argmax())) == (3, True, 3)
    assert only.probability == pytest.approx(float(p.max()), rel=1e-4)


@pytest.mark.parametrize(("image", "model"), [("fundus:3", "fundus-vgg"), ("fundus-tag:3", "fundus-tag-resnet")])
def test_a_shipped_sample_is_explained_by_the_model_that_ships_for_it(image, model):
    assert explain(image, methods=["sobel"]).model == model


def test_a_picture_is_explained_by_the_best_network_on_this_disk_and_nothing_is_downloaded(
    tmp_path, monkeypatch, picture
):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *a, **k: pytest.fail("it was downloaded"))
    with pytest.raises(NoModel, match=f"none of torchvision's has its weights in {tmp_path / 'checkpoints'}"):
        explain(picture)
    (tmp_path / "checkpoints").mkdir()
    for name in ("squeezenet1_1", "squeezenet1_0", "shufflenet_v2_x0_5"):  # 58.2, 58.1 and 60.6 % top-1
        file = torchvision.models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
        with torch.random.fork_rng():
            torch.save(torchvision.models.get_model(name, weights=None).state_dict(), tmp_path / "checkpoints" / file)
    found = explain(picture, methods=["sobel"], classes=["predicted", "tench"])
    assert found.model == "shufflenet_v2_x0_5"
    assert (found.classes[1].index, found.picture.size) == (0, (224, 224))


def test_a_method_that_does_not_apply_leaves_its_panels_empty_and_the_others_as_they_are(vgg):
    alone = explain("fundus:3", model=vgg, methods=["gradcam"], classes=[3, 1])
    found = explain("fundus:3", model=vgg, methods=["cam", "gradcam"], classes=[3, 1])
    assert found.methods == ["cam", "gradcam"]
    for index in (3, 1):
        assert found.panels["cam", index].picture is found.panels["cam", index].raw is None
        assert found.panels["cam", index].note.startswith("CAM needs global average pooling")
        assert found.panels["gradcam", index].picture.tobytes() == alone.panels["gradcam", index].picture.tobytes()
    assert [method for method, _ in found.missing] == ["cam"]


def test_a_layer_that_cannot_serve_or_a_method_that_breaks_costs_its_own_methods_alone(
    tiny_classifier, picture, tmp_path
):
    (tmp_path / "broken.py").write_text(
        "class Broken:\n"
        "    def __init__(self, model, target_layer=None): pass\n"
        "    def explain(self, evidence, classifier): raise KeyError('lost')\n"
    )
    bad = [{"name": "layercam", "layer": "inner.head"}, f"{tmp_path / 'broken.py'}:Broken"]
    found = explain(picture, model=tiny_classifier, methods=[*bad, "gradcam", "saliency"], classes=["a", "b"])
    alone = explain(picture, model=tiny_classifier, methods=["gradcam", "saliency"], classes=["a", "b"])
    (layercam, why), (_, broken) = found.missing
    assert (layercam, broken) == ("layercam", "KeyError: 'lost'")
    assert "'inner.head' has no spatial output" in why
    for key, panel in alone.panels.items():
        np.testing.assert_array_equal(found.panels[key].raw, panel.raw)


def test_a_network_without_a_spatial_layer_is_explained_by_what_needs_none(picture):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 40, 3)).eval()
    found = explain(picture, model=network, methods=["gradcam", "input-x-gradient"])
    assert [method for method, _ in found.missing] == ["gradcam"]
    assert "name the target layer yourself" in found.missing[0][1]
    assert found.panels["input-x-gradient", found.classes[0].index].raw.shape == (32, 40)


def test_without_a_single_map_there_is_an_error_with_every_reason(vgg, tiny_classifier, picture):
    with pytest.raises(NotApplicable, match=r"no method gives a map: cam: CAM needs .*; oracle: the oracle needs"):
        explain(picture, model=vgg, methods=["cam", "oracle"])
    with pytest.raises(NotApplicable, match=r"no method gives a map: gradcam: layer 'inner.head' has no spatial"):
        explain(picture, model=tiny_classifier, methods=["gradcam"], layer="inner.head")


def test_a_shipped_sample_brings_its_mask(vgg):
    found = explain("fundus:3", model=vgg, methods=["oracle"])
    assert 0 < found.panels["oracle", 3].raw.mean() < 0.2
    assert found.name == "fundus:3"
    with pytest.raises(ValueError, match="has the samples 0 to 499, got 500"):
        explain("fundus:500", model=vgg)


def test_maps_that_show_nothing_say_so(vgg, tmp_path):
    (tmp_path / "flat.py").write_text(
        "class Against:\n"
        "    def __init__(self, model, target_layer=None): pass\n"
        "    def explain(self, evidence, classifier): return -evidence.images[:, 0]\n"
    )
    against = {"name": f"{tmp_path / 'flat.py'}:Against", "label": "against"}
    found = explain("fundus:3", model=vgg, methods=["constant", against, "gradcam"])
    assert [found.panels[m, 3].note for m in found.methods] == [
        "constant, same for all classes",
        "nothing for the class",
        "",
    ]
    signed = explain("fundus:3", model=vgg, methods=["constant", against], signed=True)
    assert signed.panels["constant", 3].note == "max |M| = 1, same for all classes"


def test_signed_panels_say_how_their_signs_are_to_be_read(vgg, tmp_path):
    (tmp_path / "library.py").write_text(
        "class Displayed:\n"
        "    displayed = True\n"
        "    def __init__(self, model, target_layer=None): pass\n"
        "    def explain(self, evidence, classifier): return evidence.images[:, 0]\n"
    )
    kinds = [("input-x-gradient", "smoothgrad"), ("input-x-gradient", "vargrad"), ("saliency", "smoothgrad")]
    tunnels = [{"name": "noise-tunnel", "method": m, "kind": k, "samples": 2, "label": m + k} for m, k in kinds]
    rise = {"name": "rise", "n_masks": 2}
    methods = ["gradcam", "hirescam", "saliency", "fullgrad", rise, *tunnels, f"{tmp_path / 'library.py'}:Displayed"]
    signed, plain = (explain("fundus:3", model=vgg, methods=methods, signed=s) for s in (True, False))
    assert [signed.panels[m, 3].signs for m in signed.methods] == [
        *("before ReLU", "", "unsigned", "unsigned", "unsigned"),
        *("", "unsigned", "unsigned", "after ReLU"),
    ]
    assert {panel.signs for panel in plain.panels.values()} == {""}


def test_classes_of_torchvisions_networks_have_their_names_whatever_the_weights(tmp_path):
    weights = str(tmp_path / "w.safetensors")
    with torch.random.fork_rng():
        save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)
    with pytest.warns(UserWarning, match="gets its images as they are"):
        found = explain(Image.new("RGB", (64, 64)), model="squeezenet1_1", weights=weights, classes=["tench", 281])
    assert [(c.index, c.name) for c in found.classes] == [(0, "tench"), (281, "tabby")]
    few = Classifier(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AvgPool2d(62), nn.Flatten()), name="resnet18")
    (shown,) = explain(Image.new("RGB", (64, 64)), model=few, classes=[1]).classes
    assert shown.name == "class 1"


@pytest.mark.parametrize("signed", [False, True])
def test_a_picture_says_where_colours_end_before_the_greatest_value(vgg, tmp_path, signed):
    (tmp_path / "one.py").write_text(
        "class Pixels:\n"
        "    step = 1\n"
        "    def __init__(self, model, target_layer=None): pass\n"
        "    def explain(self, evidence, classifier): return evidence.images[:, 0, ::self.step, ::self.step] ** 9\n"
        "class Cells(Pixels):\n"
        "    step = 8\n"
    )
    mine = [{"name": f"{tmp_path / 'one.py'}:{name}", "label": name} for name in ("Pixels", "Cells")]
    found = explain("fundus:3", model=vgg, methods=[*mine, "saliency", "gradcam", "oracle"], signed=signed)
    panels = [found.panels[m, 3] for m in found.methods]
    assert [panel.cut for panel in panels] == [True, False, True, False, False]
    if signed:
        values = np.sort(np.abs(panels[2].raw), None)
        end = values[int(np.ceil(0.995 * len(values))) - 1]
        assert panels[2].note == f"≥ {end:.2g} (max |M| = {values[-1]:.2g})"
        assert panels[3].note == f"max |M| = {np.abs(panels[3].raw).max():.2g}"


@pytest.mark.parametrize("signed", [False, True])
def test_every_colour_of_a_picture_is_on_the_scale_from_blue_to_red_or_from_dark_to_bright(vgg, signed):
    found = explain("fundus:3", model=vgg, methods=["hirescam"], signed=signed)
    scale, grey = np.asarray(found.scale).astype(int), np.asarray(found.picture.convert("L"))
    dark, middle, bright = scale[0, [0, 127, -1]]  # on white
    if signed:
        assert (dark[2] > dark[0] + 90, middle.min() >= 253, bright[0] > bright[2] + 90) == (True, True, True)
    else:
        assert dark.tolist() == pytest.approx([128, 128, 130], abs=2)
        assert bright.min() > 200
    raw = torch.from_numpy(found.panels["hirescam", 3].raw)[None]
    if signed:
        place = (maps.upsample(raw / raw.abs().max(), (96, 96))[0] + 1) / 2
    else:
        place = maps.normalise(maps.upsample(maps.rectify(raw), (96, 96)))[0]
    expected = scale[255 - grey, (255 * place).round().long().numpy()]
    assert np.abs(np.asarray(found.panels["hirescam", 3].picture) - expected).max() <= 3


def test_a_suite_with_one_model_stands_for_that_model(tmp_path, picture):
    text = '[suite]\nname = "s"\nmethods = ["gradcam"]\nmetrics = ["conservation"]\n[[dataset]]\nname = "fundus"\n'
    one = '[[model]]\nname = "fundus-effnet"\nlayer = "features.4"\nclasses = ["v", "w", "x", "y", "z"]\n'
    suite = tmp_path / "own.toml"
    suite.write_text(text + one)
    found = explain(picture, model=suite, methods=["gradcam"], classes=["w"])
    assert (found.model, found.layers, found.classes[0].index) == ("fundus-effnet", ["features.4"], 1)
    suite.write_text(text + one + '[[model]]\nname = "fundus-vgg"\n')
    with pytest.raises(ValueError, match="several models: name one of fundus-effnet, fundus-vgg"):
        explain(picture, model=suite)


def test_a_model_that_cannot_be_asked_says_what_to_change(picture):
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(99, 3)).eval()
    with pytest.raises(ValueError, match=r"fails on an image of 32×40 px.*give the size it takes as resize and crop"):
        explain(picture, model=network)
    with pytest.raises(ValueError, match="weights go with the name of a model"):
        explain(picture, model=network, weights="none")
    with pytest.raises(ValueError, match=r"weights go with a model; name the one that 'w.pth' are for"):
        explain(picture, weights="w.pth")
    with pytest.raises(ValueError, match="at least one method and one class"):
        explain(picture, model=network, methods=[])
