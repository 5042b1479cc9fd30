"""One small network of each family, with random weights: its target layer, and where that layer's cells lie."""

import copy
from functools import partial

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models as vision
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from camfaith.methods import CAM, GradCAM, HiResCAM, find
from camfaith.models import Classifier, LayerError
from camfaith.models.errors import NotApplicable
from camfaith.models.naming import find_module
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning import rate

SWIN = {"patch_size": [4, 4], "embed_dim": 12, "depths": [2, 2], "num_heads": [2, 2], "window_size": [2, 2]}
NARROW = {"channels": (4, 4, 4, 8), "stem_width": 4}
TIMM_VIT = {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2}
TIMM_SWIN = {"img_size": 32, "window_size": 2, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)}


def convnext() -> nn.Module:
    return vision.ConvNeXt([CNBlockConfig(8, 16, 1), CNBlockConfig(16, None, 1)], num_classes=4, layer_scale=1.0)


def vit() -> nn.Module:
    return vision.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=4)


def swin_v2() -> nn.Module:
    return vision.SwinTransformer(**SWIN, num_classes=4, block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def maxvit() -> nn.Module:
    return vision.MaxVit((32, 32), 8, 2, [8, 12], [1, 1], 4, 0.0, num_classes=4)


def of_timm(name: str, **settings: object) -> nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=4, **settings)


FAMILIES = {
    "resnet": (partial(vision.resnet18, num_classes=4), 64, "layer4", ("first", 0, 2, 2)),
    "convnext": (convnext, 32, "features", ("first", 0, 4, 4)),
    "vit": (vit, 32, "encoder.layers.encoder_layer_1.ln_1", ("tokens", 1, 4, 4)),
    "swin": (partial(vision.SwinTransformer, **SWIN, num_classes=4), 32, "permute", ("first", 0, 4, 4)),
    "swin v2": (swin_v2, 32, "permute", ("first", 0, 4, 4)),
    "maxvit": (maxvit, 32, "blocks.1", ("first", 0, 4, 4)),
    "timm resnet": (partial(of_timm, "resnet10t"), 64, "layer4", ("first", 0, 2, 2)),
    "narrow timm resnet": (partial(of_timm, "resnet10t", **NARROW), 64, "layer4", ("first", 0, 2, 2)),
    "timm convnext": (
        partial(of_timm, "convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 8, 16)), 64, "stages", ("first", 0, 2, 2)
    ),
    "timm vit": (partial(of_timm, "vit_tiny_patch16_224", **TIMM_VIT), 32, "blocks.1.norm1", ("tokens", 1, 4, 4)),
    "timm deit": (
        partial(of_timm, "deit_tiny_distilled_patch16_224", **TIMM_VIT), 32, "blocks.1.norm1", ("tokens", 2, 4, 4)
    ),
    "timm vit with registers and pooled patches": (
        partial(of_timm, "vit_medium_patch16_reg4_gap_256", **TIMM_VIT), 32, "blocks", ("tokens", 4, 4, 4)
    ),
    "timm vit of another shape": (
        partial(of_timm, "vit_tiny_patch16_224", **TIMM_VIT | {"img_size": (16, 40)}),
        (16, 40),
        "blocks.1.norm1",
        ("tokens", 1, 2, 5),
    ),
    "timm swin": (partial(of_timm, "swin_tiny_patch4_window7_224", **TIMM_SWIN), 32, "norm", ("last", 0, 4, 4)),
    "timm maxvit": (
        partial(of_timm, "maxvit_rmlp_pico_rw_256", img_size=64, embed_dim=(32, 32), depths=(1, 1)),
        64,
        "norm",
        ("first", 0, 8, 8),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def family():
    """The network of that family, in double precision, with every weight drawn: a head of zeros shows nothing."""
    built: dict[str, nn.Module] = {}

    def make(name: str) -> nn.Module:
        if name not in built:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(2)
                network = FAMILIES[name][0]().double().eval()
                for module in network.modules():
                    if isinstance(module, nn.Linear):
                        nn.init.normal_(module.weight, 0.0, 0.3)
                    elif isinstance(module, nn.LayerNorm):
                        nn.init.uniform_(module.weight, 0.5, 1.5)
                        nn.init.normal_(module.bias, 0.0, 0.3)
            built[name] = network
        return built[name]

    return make


def noise(name: str, count: int = 2) -> Tensor:
    size = FAMILIES[name][1]
    height, width = (size, size) if isinstance(size, int) else size
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def by_hand(network: nn.Module, layer: str, images: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """A layer's output and the score's gradient there, in the network's own form, by one hook."""
    kept = []
    handle = find_module(network, layer).register_forward_hook(lambda _m, _i, output: kept.append(output))
    score = network(images.requires_grad_())[:, target].sum()
    handle.remove()
    return kept[-1].detach(), torch.autograd.grad(score, kept[-1])[0]


def cell(values: Tensor, form: tuple[str, int, int, int], i: int, j: int) -> Tensor:
    """The K values of one cell, B×K."""
    kind, prefix, _, width = form
    if kind == "tokens":
        return values[:, prefix + i * width + j]
    return values[:, i, j] if kind == "last" else values[:, :, i, j]


@pytest.mark.parametrize("name", FAMILIES)
def test_gradcam_and_hirescam_of_every_family_are_those_of_a_loop_over_its_cells(family, name):
    network, layer, form = family(name), *FAMILIES[name][2:]
    activations, gradients = by_hand(network, layer, noise(name), 1)
    places = [(i, j) for i in range(form[2]) for j in range(form[3])]
    weights = sum(cell(gradients, form, i, j) for i, j in places) / len(places)
    expected = [(weights * cell(activations, form, i, j)).sum(1) for i, j in places]
    cam = GradCAM(network)
    found = cam.raw(noise(name), 1)
    assert cam.layer == layer
    assert found.shape == (2, *form[2:])
    torch.testing.assert_close(found.flatten(1), torch.stack(expected, 1))
    assert found.abs().amax() > 1e-6
    product = [(cell(gradients, form, i, j) * cell(activations, form, i, j)).sum(1) for i, j in places]
    torch.testing.assert_close(HiResCAM(network).raw(noise(name), 1).sum((1, 2)), sum(product))


FIRST = {"vit": "encoder.layers.encoder_layer_0.ln_1", "swin": "features.0", "timm swin": "patch_embed"}
FIRST |= dict.fromkeys(["timm vit", "timm deit", "timm vit of another shape"], "blocks.0.norm1")


@pytest.mark.parametrize("name", FIRST)
def test_a_patch_of_the_image_is_its_cell_and_no_other(family, name):
    network, plain = family(name), noise(name, 1)
    before = Classifier(network).evidence(plain, 0, [FIRST[name]]).activations[FIRST[name]]
    rows, columns = before.shape[2:]
    high, wide = plain.shape[2] // rows, plain.shape[3] // columns
    for i, j in [(0, columns - 1), (1, 2)]:
        changed = plain.clone()
        changed[:, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide] += 1
        after = Classifier(network).evidence(changed, 0, [FIRST[name]]).activations[FIRST[name]]
        assert (after != before).any(1)[0].nonzero().tolist() == [[i, j]]


def test_a_transformer_that_pools_its_patches_before_a_linear_head_has_an_exact_cam():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = of_timm("vit_tiny_patch16_224", **TIMM_VIT, global_pool="avg", class_token=False, fc_norm=False)
    images = noise("timm vit").float()
    nn.init.normal_(network.head.bias)
    found = CAM(network.eval()).raw(images, [0, 3])
    expected = Classifier(network).scores(images)[[0, 1], [0, 3]] - network.head.bias[[0, 3]].detach()
    torch.testing.assert_close(found.mean((1, 2)), expected)
    torch.testing.assert_close(GradCAM(network).raw(images, [0, 3]) * 16, found)


def test_an_untrained_head_of_zeros_gives_no_layer():
    with pytest.raises(LayerError, match=r"depends on no patch.*a head of zeros, untrained.*name the target layer"):
        GradCAM(vit().eval()).raw(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("name", ["vit", "swin", "timm vit", "timm deit", "timm swin"])
def test_token_networks_take_images_of_either_layout(family, name):
    classifier, images, layer = Classifier(family(name)), noise(name), FAMILIES[name][2]
    plain, last = (images.contiguous(memory_format=f) for f in (torch.contiguous_format, torch.channels_last))
    torch.testing.assert_close(classifier.scores(last), classifier.scores(plain))
    one, other = (classifier.evidence(x, 1, [layer]).gradients[layer] for x in (plain, last))
    torch.testing.assert_close(other, one)
    assert rate(classifier, images[:1], Setup(2, channels_last=True), seconds=0) > 0


STEADY = ("gradcam", "hirescam", "layercam", "elementwise", "eigencam", "kpca-cam")
IN_HALF = {
    "narrow timm resnet": (*STEADY, "cam", "gradcam++", "xgradcam", "eigengradcam"),
    "vit": (*STEADY, "rollout", "legrad"),
    "timm swin": STEADY,
}


@pytest.mark.parametrize(("precision", "error"), [(torch.float16, 0.03), (torch.bfloat16, 0.2)], ids=str)
@pytest.mark.parametrize("name", IN_HALF)
def test_maps_of_a_network_in_half_precision_are_close_to_its_own_in_double(family, name, precision, error):
    half = copy.deepcopy(family(name)).to(precision)
    whole = copy.deepcopy(half).double()
    for method in IN_HALF[name]:
        found, expected = (find(method)(network).raw(noise(name), 1) for network in (half, whole))
        assert found.dtype == torch.float32, method
        assert (found - expected).abs().max() < error * expected.abs().max(), method


@pytest.mark.parametrize("method", ["deep-lift", "deep-lift-shap", "lrp-epsilon"])
def test_what_divides_by_differences_is_refused_in_float16_and_not_in_bfloat16(family, method):
    network = copy.deepcopy(family("narrow timm resnet"))
    with pytest.raises(NotApplicable, match="too small for float16"):
        find(method)(network.half()).raw(noise("vit", 1), 1)
    assert find(method)(network.bfloat16()).raw(noise("vit", 1), 1).isfinite().all()


@pytest.mark.parametrize("name", ["vit", "timm swin"])
def test_captums_gradcam_takes_neither_tokens_nor_channels_last(family, name):
    with pytest.raises(NotApplicable, match=rf"captum's GradCAM.*{FAMILIES[name][2]}.*use gradcam"):
        find("captum-gradcam")(family(name)).raw(noise(name), 1)
