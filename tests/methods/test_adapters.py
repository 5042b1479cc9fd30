"""Other libraries' methods give what the library gives its user, and leave nothing behind."""

import logging
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camfaith.methods import Calls, find
from camfaith.methods.adapters import LIBRARIES, adapted, methods_of
from camfaith.models import Classifier, UnknownName
from camfaith.models.counting import counting
from camfaith.models.errors import NotApplicable

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
def test_a_map_of_grad_cam_is_what_its_user_gets(asked, name):
    installed("pgc:")
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    classifier, evidence = asked
    network = classifier.network
    with getattr(pytorch_grad_cam, name)(model=network, target_layers=[network.relu2]) as cam:
        expected = cam(normalised(evidence.images), [ClassifierOutputTarget(2), ClassifierOutputTarget(0)])
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


@pytest.mark.parametrize(("library", "package"), [("pgc", "grad-cam"), ("torchcam", "torchcam")])
def test_a_library_that_is_missing_is_told_with_its_extra(monkeypatch, library, package):
    adapted.cache_clear()
    monkeypatch.setitem(sys.modules, LIBRARIES[library].module, None)
    with pytest.raises(ValueError, match=rf"need {package}: pip install 'camfaith\[{library}\]'"):
        find(f"{library}:GradCAM")


def test_a_network_that_the_library_refuses_is_not_for_its_method(asked):
    installed("torchcam:")
    classifier, evidence = asked
    with pytest.raises(NotApplicable, match=r"torchcam:LeGrad refuses Sequential: .*VisionTransformer"):
        find("torchcam:LeGrad")(classifier, "relu2").explain(evidence, classifier)


def test_other_names_with_a_colon_are_modules():
    with pytest.raises(ValueError, match="cannot import 'torchcam2:GradCAM'"):
        find("torchcam2:GradCAM")
