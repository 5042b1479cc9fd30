"""Calling a method on images: the heat map, the picture, the layer that is found."""

import warnings

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from camfaith.methods import SHIPPED, GradCAM, GradCAMPlusPlus, HiResCAM, Method, Saliency, find
from camfaith.models import Classifier
from camfaith.models.display import overlay, overlay_signed
from camfaith.models.maps import drawable

SPECIAL = ("oracle", "rollout", "legrad")  # they need a mask, or a transformer

FOUND = {
    ("alexnet", 96): "features",
    ("densenet121", 64): "features",
    ("efficientnet_b0", 64): "features",
    ("googlenet", 64): "inception5b",
    ("inception_v3", 107): "Mixed_7c",
    ("mnasnet0_5", 64): "layers",
    ("mobilenet_v2", 64): "features",
    ("mobilenet_v3_small", 64): "features",
    ("regnet_y_400mf", 64): "trunk_output",
    ("resnet18", 32): "layer3",  # layer4 is one cell at this size
    ("shufflenet_v2_x0_5", 64): "conv5",
    ("squeezenet1_0", 64): "classifier.2",
    ("vgg11", 64): "features",
}


def untrained(name: str, classes: int = 5) -> nn.Module:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    if name in ("vgg11", "alexnet"):  # a hundred million random numbers for a head nobody looks at
        with torch.device("meta"):
            network = torchvision.models.get_model(name, weights=None, num_classes=classes)
        grid = network.avgpool.output_size
        network.features = network.features.to_empty(device="cpu")
        channels = [m.out_channels for m in network.features.modules() if isinstance(m, nn.Conv2d)][-1]
        network.classifier = nn.Linear(channels * grid[0] * grid[1], classes)
        for parameter in network.features.parameters():
            nn.init.normal_(parameter, 0.0, 0.05)
        return network.eval()
    return torchvision.models.get_model(name, weights=None, num_classes=classes, **options).eval()


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return untrained("resnet18").eval()


def noise(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_raw_maps_are_drawn_with_both_signs(resnet):
    cam, image = HiResCAM(resnet), noise(2, 64)
    raw = cam.raw(image, 0)
    assert raw.min() < 0 < raw.max()
    drawn = cam.visualize(image, raw, signed=True)
    expected = [overlay_signed(drawable(i), r) for i, r in zip(image, raw, strict=True)]
    assert [d.tobytes() for d in drawn] == [e.tobytes() for e in expected]
    assert drawn[0].tobytes() != cam.visualize(image, raw)[0].tobytes()
    picture = Image.new("RGB", (120, 90), "teal")
    assert cam.visualize(picture, raw[:1], signed=True).tobytes() == overlay_signed(picture, raw[0]).tobytes()


@pytest.mark.parametrize("signed", [False, True])
def test_the_colours_of_a_map_of_pixels_end_at_a_quantile_and_those_of_a_layers_map_at_its_greatest(resnet, signed):
    image, values = Image.new("L", (32, 32)), torch.rand(32, 32, generator=torch.Generator().manual_seed(0)) ** 40
    draw = overlay_signed if signed else overlay
    for method, of_pixels in ((Saliency, True), (GradCAM, False)):
        expected = draw(image, values, of_pixels=of_pixels)
        assert method(resnet).visualize(image, values, signed=signed).tobytes() == expected.tobytes()
    assert draw(image, values, of_pixels=True).tobytes() != draw(image, values).tobytes()


def test_a_method_says_truly_whether_its_maps_are_of_pixels(tiny, images):
    for name in SHIPPED:
        if name in SPECIAL:
            continue
        cam = find(name)(tiny, "relu2")
        assert cam.of_pixels == (cam.raw(images(1, 16), 1).shape == (1, 16, 16)), name
    assert not find("noise-tunnel")(tiny, "relu2", method="captum-gradcam").of_pixels


@pytest.mark.parametrize("batch", [True, False])
def test_as_many_heat_maps_as_pictures_are_wanted(resnet, batch):
    with pytest.raises(ValueError, match="one heat map"):
        GradCAM(resnet).visualize(noise(3, 8) if batch else Image.new("RGB", (8, 8)), torch.rand(2, 8, 8))


def test_images_maps_and_pictures_may_be_numpy_arrays_and_lists(resnet):
    cam, image = GradCAM(resnet), noise(2, 64)
    heatmap = cam(image, 3)
    assert torch.equal(cam(image.numpy(), 3), heatmap)
    assert torch.equal(cam.raw(image.tolist(), 3), cam.raw(image, 3))
    expected = [drawn.tobytes() for drawn in cam.visualize(image, heatmap)]
    assert [drawn.tobytes() for drawn in cam.visualize(image.numpy(), heatmap.numpy())] == expected
    assert cam.visualize(list(image), heatmap.tolist())[1].tobytes() == expected[1]


def test_without_a_class_the_predicted_one_is_explained(resnet):
    image = noise(3, 64)
    predicted = Classifier(resnet).scores(image).argmax(1)
    assert torch.equal(GradCAM(resnet).raw(image), GradCAM(resnet).raw(image, predicted))


@pytest.mark.parametrize(("name", "side"), FOUND)
def test_the_target_layer_of_every_torchvision_family_is_found(name, side):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = untrained(name)
        cam = GradCAM(network)
        heatmap = cam(noise(1, side), 2)
    assert cam.layer == FOUND[name, side]
    assert heatmap.shape == (1, side, side)
    assert 0 <= float(heatmap.min()) <= float(heatmap.max()) <= 1


def test_a_layer_may_be_given_as_the_module_itself(resnet):
    image = noise(1, 64)
    for method in (GradCAM, find("noise-tunnel"), find("occlusion"), find("fused")):
        assert method(resnet, resnet.layer3[1]).layer == "layer3.1"
    assert torch.equal(GradCAM(resnet, resnet.layer3).raw(image, 0), GradCAM(resnet, "layer3").raw(image, 0))
    assert GradCAM(Classifier(resnet), resnet.layer3).layer == "layer3"


@pytest.mark.parametrize("layer", [nn.ReLU(), "itself"])
def test_a_module_that_is_no_layer_of_the_network_is_refused(resnet, layer):
    with pytest.raises(ValueError, match=r"a layer of ResNet, got (ReLU|ResNet), which is none .*named_modules"):
        GradCAM(resnet, resnet if layer == "itself" else layer)
    with pytest.raises(ValueError, match="such as 'layer4', or the module; got int"):
        GradCAM(resnet, 4)


def test_several_layers_are_for_fused_which_the_error_shows(resnet):
    with pytest.raises(ValueError, match="GradCAMPlusPlus takes one target layer, got a list: for one map") as error:
        GradCAMPlusPlus(resnet, ["layer3", resnet.layer4])
    code = str(error.value).rpartition("fused: camfaith.methods.")[2]
    made = eval(code, {"Fused": find("fused"), "model": resnet})
    assert (made.at.args[0], made.layers) == (GradCAMPlusPlus, ("layer3", "layer4"))
    with pytest.raises(ValueError, match=r"fused: camfaith.methods.Fused\(model, layers=\['layer3', 'layer4'\]\)"):
        find("fused")(resnet, ("layer3", "layer4"))
    with pytest.raises(ValueError, match="got a list: give it without the list"):
        GradCAM(resnet, [resnet.layer4])
    with pytest.raises(ValueError, match="Saliency takes one target layer, got a list: give one"):
        Saliency(resnet, ["layer3", "layer4"])


@pytest.mark.parametrize(("scale", "got"), [(255, "0 to 255"), (-2, "-2 to -?0"), (torch.nan, "nan to nan")])
@pytest.mark.parametrize("signed", [False, True])
def test_a_picture_outside_0_to_1_is_not_drawn_over(resnet, signed, scale, got):
    picture = torch.stack([torch.zeros(8, 8), torch.ones(8, 8), torch.ones(8, 8)]) * scale
    for given in (picture, picture[None]):
        with pytest.raises(ValueError, match=rf"in \[0, 1\], got values from {got}: give it as it was before its norm"):
            GradCAM(resnet).visualize(given, torch.rand(1, 8, 8), signed=signed)


def test_rounding_may_take_a_picture_a_little_outside_0_to_1(resnet):
    picture = torch.stack([torch.full((8, 8), -0.001), torch.full((8, 8), 1.001), torch.ones(8, 8)])
    expected = GradCAM(resnet).visualize(picture.clamp(0, 1), torch.eye(8))
    assert GradCAM(resnet).visualize(picture, torch.eye(8)).tobytes() == expected.tobytes()


class Fixed(Method):
    """The same native map for every image."""

    name = "fixed"

    def __init__(self, model: nn.Module, values: Tensor) -> None:
        super().__init__(model)
        self.values = values

    def explain(self, evidence, classifier):
        return self.values.expand(len(evidence), -1, -1)


@pytest.mark.parametrize(("value", "drawn"), [(0.3, 1), (1e-9, 1), (0.0, 0), (-2.0, 0)])
def test_a_constant_map_is_shown_as_ones_where_positive_and_as_zeros_elsewhere_with_a_warning(resnet, value, drawn):
    with pytest.warns(UserWarning, match=r"Fixed: the map of image \[0, 1\] is constant"):
        shown = Fixed(resnet, torch.full((7, 7), value))(noise(2, 33))
    assert (shown == drawn).all()


def test_a_map_that_is_not_finite_is_never_shown(resnet):
    values = torch.ones(3, 3)
    values[1, 1] = torch.nan
    with pytest.raises(FloatingPointError, match=r"image \[0\] holds NaN"):
        Fixed(resnet, values)(noise(1, 32))


def test_the_heat_map_is_rectified_upsampled_and_stretched(resnet):
    shown = Fixed(resnet, torch.tensor([[-5.0, 1.0], [1.0, 1.0]]))(noise(1, 4))
    assert shown[0, 0].tolist() == pytest.approx([0, 0.25, 0.75, 1])
    assert shown[0, 3].tolist() == [1, 1, 1, 1]


def test_methods_work_in_inference_mode(tiny, images):
    expected = [find(name)(tiny, "relu2").raw(images(1, 16), 1) for name in SHIPPED if name not in SPECIAL]
    with torch.inference_mode():
        found = [find(name)(tiny, "relu2").raw(images(1, 16), 1) for name in SHIPPED if name not in SPECIAL]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_a_picture_is_drawn_as_the_classifier_sees_it(resnet):
    picture = Image.effect_noise((60, 40), 80).convert("RGB")
    cam = GradCAM(Classifier(resnet, resize=32, crop=32))
    heatmap = torch.rand(1, 32, 32)
    seen = drawable(cam.classifier.prepare(picture))
    assert cam.visualize(picture, heatmap).tobytes() == overlay(seen, heatmap[0]).tobytes()
    assert cam.visualize(picture, heatmap[:, ::8, ::8], signed=True).size == (32, 32)
    whole = torch.rand(40, 60)
    assert cam.visualize(picture, whole).tobytes() == overlay(picture, whole).tobytes()


def test_a_compiled_network_is_explained_as_itself(resnet):
    compiled = torch.compile(resnet, backend="eager")
    assert torch.equal(GradCAM(compiled, "layer3").raw(noise(1, 32), 1), GradCAM(resnet, "layer3").raw(noise(1, 32), 1))
    assert GradCAM(compiled, resnet.layer3).layer == "layer3"


def test_a_library_s_variant_is_given_images_as_the_library_is(resnet, monkeypatch):
    last = torch.channels_last
    monkeypatch.setattr("camfaith.methods.base.laid_out", lambda _network, images: images.to(memory_format=last))
    layouts = []
    handle = resnet.register_forward_pre_hook(lambda _module, inputs: layouts.append(inputs[0].is_contiguous()))
    for variant in ("paper", "pgc"):
        GradCAMPlusPlus(resnet, "layer3", variant=variant).raw(noise(2, 32), 1)
    handle.remove()
    assert layouts == [False, True]
