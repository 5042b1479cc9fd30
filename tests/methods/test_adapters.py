"""Other libraries' methods give what the library gives its user, and leave nothing behind."""

import logging
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer

from camfaith.methods import Calls, find
from camfaith.methods.adapters import LIBRARIES, adapted, methods_of
from camfaith.models import Classifier, UnknownName, maps
from camfaith.models.errors import NotApplicable
from camfaith.models.speed.counting import counting

PGC = ["pgc:GradCAM", "pgc:GradCAMPlusPlus", "pgc:EigenCAM", "pgc:AblationCAM", "pgc:ScoreCAM", "pgc:FullGrad"]
TORCHCAM = ["torchcam:CAM", "torchcam:GradCAMpp", "torchcam:ScoreCAM", "torchcam:ISCAM", "torchcam:SmoothGradCAMpp"]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def installed(name: str) -> None:
    module = LIBRARIES[name.partition(":")[0]].module
    pytest.importorskip(module, reason=f"{name} needs its library; pip install 'camfaith[peers]'")


@pytest.fixture
def asked(tiny, images):
    """A classifier that normalises, and evidence of two images with a class each."""
    classifier = Classifier(tiny, mean=MEAN, std=STD)
    return classifier, classifier.evidence(images(2, 15), [2, 0], ["relu2"])


def normalised(images: Tensor) -> Tensor:
    return (images - images.new_tensor(MEAN).view(3, 1, 1)) / images.new_tensor(STD).view(3, 1, 1)


def hooks_of(network: nn.Module) -> list[tuple[str, ...]]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return [tuple(map(str, getattr(module, kind))) for module in network.modules() for kind in kinds]


@pytest.mark.parametrize("name", ["GradCAM", "GradCAMPlusPlus", "XGradCAM", "EigenCAM", "ScoreCAM"])
def test_a_map_of_grad_cam_is_what_its_user_gets(logit_of, asked, name):
    installed("pgc:")
    import pytorch_grad_cam

    classifier, evidence = asked
    network = classifier.network
    with getattr(pytorch_grad_cam, name)(model=network, target_layers=[network.relu2]) as cam:
        expected = cam(normalised(evidence.images), [logit_of(2), logit_of(0)])
    found = find(f"pgc:{name}")(classifier, "relu2").explain(evidence, classifier)
    assert found.shape == (2, 15, 15)
    assert np.array_equal(found.numpy(), expected)


def test_finercam_of_grad_cam_compares_each_images_own_class(asked):
    installed("pgc:")
    from pytorch_grad_cam import FinerCAM

    classifier, evidence = asked
    images, network = normalised(evidence.images), classifier.network
    with FinerCAM(network, [network.relu2]) as cam:
        expected = [cam(images[row : row + 1], target_idx=target) for row, target in enumerate((2, 0))]
    found = find("pgc:FinerCAM")(classifier, "relu2").explain(evidence, classifier)
    assert np.array_equal(found.numpy(), np.concatenate(expected))


@pytest.mark.parametrize("name", ["CAM", "GradCAM", "GradCAMpp", "LayerCAM", "ScoreCAM", "FinerCAM"])
def test_a_map_of_torchcam_is_what_its_user_gets(asked, name):
    installed("torchcam:")
    from torchcam import methods

    classifier, evidence = asked
    with getattr(methods, name)(classifier.network, "relu2") as extractor:
        (expected,) = extractor([2, 0], classifier.network(normalised(evidence.images)))
    found = find(f"torchcam:{name}")(classifier, "relu2").explain(evidence, classifier)
    assert found.shape == (2, 7, 7)
    assert torch.equal(found, expected.detach())


@pytest.mark.parametrize("name", ["pgc:FinerCAM", "pgc:GradCAM", "torchcam:FinerCAM", "torchcam:GradCAM"])
def test_every_image_is_explained_for_a_class_of_its_own(asked, name):
    installed(name)
    classifier, evidence = asked
    method = find(name)(classifier, "relu2")
    alone = [method.explain(evidence.select([row]), classifier) for row in range(2)]
    torch.testing.assert_close(method.explain(evidence, classifier), torch.cat(alone))
    other = classifier.evidence(evidence.images[:1], [0], ["relu2"])
    assert not torch.allclose(method.explain(other, classifier), alone[0], atol=1e-3)


@pytest.mark.parametrize("name", [*PGC, *TORCHCAM])
def test_the_declared_cost_is_what_the_library_calls(asked, name):
    installed(name)
    classifier, evidence = asked
    method = find(name)(classifier, "relu2")
    with counting(classifier.network) as tally:
        method.explain(evidence, classifier)
    declared = method.cost(evidence.images[:1])
    assert Calls(tally.forwards, tally.backwards) == declared * 2
    with counting(classifier.network) as tally:
        method.cost(evidence.images[:1])
    assert tally.forwards == 0


@pytest.mark.parametrize("name", [*PGC, *TORCHCAM])
def test_nothing_is_printed_and_no_hook_stays(asked, name, capfd, caplog, recwarn):
    installed(name)
    classifier, evidence = asked
    classifier.network.relu1.register_forward_hook(lambda *_: None)
    before, level = hooks_of(classifier.network), logging.root.manager.disable
    find(name)(classifier, "relu2").explain(evidence, classifier)
    assert hooks_of(classifier.network) == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    assert not recwarn.list
    assert logging.root.manager.disable == level


def test_a_network_is_whole_again_after_the_library_broke_off(asked):
    installed("pgc:")
    classifier, evidence = asked
    network, calls = classifier.network, []

    def fail_later(*_: object) -> None:
        calls.append(1)
        if len(calls) == 3:  # when its ablation layer stands in the place of relu2
            raise IndexError("broken")

    network.head.register_forward_hook(fail_later)
    before, layer = hooks_of(network), network.relu2
    with pytest.raises(IndexError, match="broken"):
        find("pgc:AblationCAM")(classifier, "relu2").explain(evidence, classifier)
    assert network.relu2 is layer
    assert hooks_of(network) == before


def test_settings_go_to_the_librarys_constructor(asked):
    installed("torchcam:")
    classifier, evidence = asked
    method = find("torchcam:SmoothGradCAMpp")(classifier, "relu2", num_samples=7)
    assert method.cost(evidence.images[:1]) == Calls(forwards=8, backwards=7)


def test_a_method_is_found_once_and_bears_the_version_of_its_library():
    installed("pgc:")
    from importlib.metadata import version

    found = find("pgc:GradCAM")
    assert found is find("pgc:GradCAM")
    assert found.name == "pgc:GradCAM"
    assert found.version == f"grad-cam {version('grad-cam')}"


@pytest.mark.parametrize(
    ("library", "some", "none"),
    [
        ("pgc", {"GradCAM", "FinerCAM", "RefineCAM", "SESS", "KPCA_CAM"}, {"AblationLayer", "ActivationsAndGradients"}),
        ("torchcam", {"CAM", "GradCAMpp", "FinerCAM", "LeGrad"}, {"OutputTarget", "Tensor"}),
        ("zennit", {"EpsilonPlusFlat", "EpsilonGammaBox", "EpsilonAlpha2Beta1"}, {"Epsilon", "ZPlus", "BetaSmooth"}),
    ],
)
def test_only_the_methods_of_a_library_are_methods(library, some, none):
    installed(f"{library}:")
    assert some <= set(methods_of(library))
    assert not none & set(methods_of(library))


def test_a_method_that_the_library_has_not_is_told_with_its_nearest():
    installed("torchcam:")
    with pytest.raises(UnknownName, match=r"method of torchcam 'GradCAMPP'.*did you mean .*'GradCAMpp'"):
        find("torchcam:GradCAMPP")


@pytest.mark.parametrize(("library", "package"), [("pgc", "grad-cam"), ("torchcam", "torchcam"), ("zennit", "zennit")])
def test_a_library_that_is_missing_is_told_with_its_extra(monkeypatch, library, package):
    adapted.cache_clear()
    monkeypatch.setitem(sys.modules, LIBRARIES[library].module, None)
    with pytest.raises(ValueError, match=rf"need {package}: pip install 'camfaith\[{library}\]'"):
        find(f"{library}:GradCAM")


def test_a_network_that_the_library_refuses_is_not_for_its_method(asked):
    installed("torchcam:")
    classifier, evidence = asked
    with pytest.raises(
        NotApplicable, match=r"torchcam:LeGrad refuses layer 'relu2' of Sequential: .*VisionTransformer"
    ):
        find("torchcam:LeGrad")(classifier, "relu2").explain(evidence, classifier)


def vit() -> nn.Module:
    return VisionTransformer(
        image_size=12, patch_size=3, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3
    )


def swin() -> nn.Module:
    return SwinTransformer([2, 2], 8, [1, 1], [1, 2], [2, 2], num_classes=3)


VIT = (vit, (12, 12), "encoder.layers.encoder_layer_1.ln_1")
SWIN = (swin, (12, 20), "features.2")


@pytest.fixture
def transformer():
    """A small transformer with random weights, and evidence of two images at a layer that gives no B×K×h×w."""

    def build(make, size, layer):
        with torch.random.fork_rng():
            torch.manual_seed(2)
            network = make().double().eval()
            for parameter in network.parameters():
                nn.init.normal_(parameter, 0.0, 0.3)
            images = torch.rand(2, 3, *size, dtype=torch.float64)
        classifier = Classifier(network)
        return classifier, classifier.evidence(images, [2, 0], [layer])

    return build


def shown_by_grad_cam(raw: Tensor, size: tuple[int, int]) -> Tensor:
    """Rectified and stretched, then grown and stretched again."""
    return maps.normalise(maps.upsample(maps.normalise(maps.rectify(raw)), size)).float()


@pytest.mark.parametrize(("make", "size", "layer"), [VIT, SWIN])
@pytest.mark.parametrize("name", ["GradCAM", "XGradCAM", "HiResCAM"])
def test_grad_cam_reads_the_patches_of_a_transformer(transformer, make, size, layer, name):
    installed("pgc:")
    classifier, evidence = transformer(make, size, layer)
    own = find(name.lower())(classifier, layer).explain(evidence, classifier)
    found = find(f"pgc:{name}")(classifier, layer).explain(evidence, classifier)
    torch.testing.assert_close(found, shown_by_grad_cam(own, size), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("make", "size", "layer"), [VIT, SWIN])
def test_torchcam_reads_the_patches_of_a_transformer(transformer, make, size, layer):
    installed("torchcam:")
    classifier, evidence = transformer(make, size, layer)
    own = find("gradcam")(classifier, layer).explain(evidence, classifier)
    found = find("torchcam:GradCAM")(classifier, layer).explain(evidence, classifier)
    torch.testing.assert_close(found, maps.normalise(maps.rectify(own)), atol=1e-4, rtol=0)


def test_legrad_of_torchcam_is_ours_of_its_block(transformer):
    installed("torchcam:")
    classifier, evidence = transformer(*VIT)
    own = find("legrad")(classifier, layers=1).explain(evidence, classifier)
    found = find("torchcam:LeGrad")(classifier, "encoder.layers.encoder_layer_1").explain(evidence, classifier)
    torch.testing.assert_close(found, maps.normalise(own), atol=1e-4, rtol=0)


def test_a_layer_that_is_no_block_is_not_for_legrad(transformer):
    installed("torchcam:")
    classifier, evidence = transformer(*VIT)
    with pytest.raises(NotApplicable, match=r"refuses layer 'encoder.layers.encoder_layer_1.ln_1' .*self_attention"):
        find("torchcam:LeGrad")(classifier, VIT[2]).explain(evidence, classifier)


def test_ablation_of_tokens_wants_the_librarys_layer_for_them(transformer):
    installed("pgc:")
    from pytorch_grad_cam.ablation_layer import AblationLayerVit

    classifier, evidence = transformer(*VIT)
    with pytest.raises(NotApplicable, match=r"layer '.*ln_1' gives B×T×K; .*ablation_layer=AblationLayerVit\(\)"):
        find("pgc:AblationCAM")(classifier, VIT[2]).explain(evidence, classifier)
    method = find("pgc:AblationCAM")(classifier, VIT[2], ablation_layer=AblationLayerVit())
    assert bool(method.explain(evidence, classifier).std((1, 2)).gt(0.1).all())


def test_tokens_are_refused_where_the_library_cannot_be_told_of_them(transformer, monkeypatch):
    installed("torchcam:")
    classifier, evidence = transformer(*SWIN)
    monkeypatch.setattr("camfaith.methods.adapters.reshapes", lambda _kind: False)  # as torchcam before 0.5
    with pytest.raises(NotApplicable, match=r"takes no `reshape_transform`, and layer 'features.2' gives B×h×w×K"):
        find("torchcam:GradCAM")(classifier, "features.2").explain(evidence, classifier)


def test_what_is_no_map_for_each_image_is_refused(asked, monkeypatch):
    installed("torchcam:")
    classifier, evidence = asked
    method = find("torchcam:GradCAM")(classifier, "relu2")
    monkeypatch.setattr(method, "ask", lambda *_: torch.zeros(1, 7, 7))
    with pytest.raises(NotApplicable, match=r"gives shape 1×7×7 for 2 images at layer 'relu2', expected one map"):
        method.explain(evidence, classifier)


class Pair(nn.Module):
    """What a network puts out, and its images beside it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"images": images, "scores": self.network(images)}


@pytest.mark.parametrize("name", ["pgc:GradCAM", "pgc:ScoreCAM", "torchcam:GradCAM", "torchcam:ScoreCAM"])
def test_of_a_network_that_returns_more_the_library_sees_the_logits(asked, name):
    installed(name)
    plain, evidence = asked
    expected = find(name)(plain, "relu2").explain(evidence, plain)
    classifier = Classifier(Pair(plain.network), mean=MEAN, std=STD, output="scores")
    method = find(name)(classifier, "network.relu2")
    assert torch.equal(method.explain(evidence, classifier), expected)
    assert hooks_of(classifier.network) == hooks_of(Pair(plain.network))
    assert method.cost(evidence.images[:1]) == find(name)(plain, "relu2").cost(evidence.images[:1])


def test_a_setting_that_the_librarys_constructor_does_not_take_is_told_at_once(asked):
    installed("pgc:")
    with pytest.raises(TypeError, match=r"pgc:GradCAM: .*unexpected keyword argument 'depth'; its settings are \w+"):
        find("pgc:GradCAM")(asked[0], "relu2", depth=3)


def test_what_was_counted_until_the_library_broke_off_is_not_kept(asked, monkeypatch):
    installed("torchcam:")
    classifier, evidence = asked
    method = find("torchcam:GradCAM")(classifier, "relu2")
    with monkeypatch.context() as broken:
        broken.setattr(method, "ask", lambda *_: 1 / 0)
        assert method.cost(evidence.images[:1]) == Calls()
    assert method.cost(evidence.images[:1]) == Calls(forwards=1, backwards=1)
