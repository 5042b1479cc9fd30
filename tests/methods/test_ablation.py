"""AblationCAM against a loop over channels and pytorch-grad-cam, with tails that can or cannot run alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from camfaith.methods import CAM, AblationCAM, Calls
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.ablation import tail
from camfaith.models.speed.counting import counting


def close(found: Tensor, expected: Any, relative: float = 1e-9) -> None:
    expected = torch.as_tensor(expected).to(found)
    torch.testing.assert_close(found, expected, rtol=relative, atol=relative * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "layer"), [("fundus-resnet", "layer3"), ("fundus-effnet", "features")])
def test_before_a_pooled_linear_head_ablationcam_weighs_by_what_cam_adds(reference, images, name, layer):
    """y − y_k = w_ck mean(A^k)."""
    classifier, pictures = reference(name), images(3, 40)
    targets = classifier.scores(pictures).argmin(1)
    evidence = classifier.evidence(pictures, targets, [layer], gradients=False)
    added = CAM(classifier, layer)._weighted(evidence).mean((2, 3))
    y = evidence.logits.gather(1, targets[:, None])
    assert (y < 0).any(), "the sign is what this is about"
    expected = torch.einsum("bk,bkhw->bhw", added / y.abs(), evidence.activations[layer])
    close(AblationCAM(classifier, layer).explain(evidence, classifier), expected)


def slow_ablationcam(classifier: Classifier, layer: str, picture: Tensor, channels: Tensor, target: int) -> Tensor:
    """One channel after the other at zero, each with a forward of the whole network."""
    module = classifier.network.get_submodule(layer)
    y, total = float(classifier.scores(picture[None])[0, target]), torch.zeros_like(channels[0])
    for k, channel in enumerate(channels):

        def zero(_module: nn.Module, _inputs: Any, output: Tensor, k: int = k) -> Tensor:
            output = output.clone()
            output[:, k] = 0
            return output

        handle = module.register_forward_hook(zero)
        total += (y - float(classifier.scores(picture[None])[0, target])) / abs(y) * channel
        handle.remove()
    return total


@pytest.mark.parametrize(("name", "layer"), [("fundus-vgg", "features.4"), ("fundus-effnet", "features.2")])
def test_ablationcam_is_one_channel_after_the_other_at_zero(evidence, name, layer):
    classifier, found = evidence(name, layer)
    rows = zip(found.images, found.activations[layer], [1, 3], strict=True)
    expected = torch.stack([slow_ablationcam(classifier, layer, x, a, c) for x, a, c in rows])
    close(AblationCAM(classifier, layer).explain(found, classifier), expected, 1e-8)


def test_where_the_logit_is_zero_ablationcam_divides_nothing(evidence):
    classifier, found = evidence("fundus-vgg", "features.4")
    cam, y = AblationCAM(classifier, "features.4"), found.logits.gather(1, found.targets[:, None])
    zero = replace(found, logits=torch.zeros_like(found.logits))
    dropped = cam.explain(found, classifier) * y.abs()[..., None]
    close(cam.explain(zero, classifier), dropped - y[..., None] * found.activations["features.4"].sum(1), 1e-8)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_channel_that_speaks_for_a_class_has_a_positive_weight_whatever_its_logit(sign):
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    nn.init.ones_(network[0].weight)
    network[3].weight.data, network[3].bias.data = torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([sign * 10.0, 0])
    found = {
        variant: AblationCAM(network, "0", variant=variant).raw(torch.ones(1, 3, 4, 4), 0)
        for variant in ("paper", "pgc")
    }
    assert (found["paper"] > 0).all()
    assert (sign * found["pgc"] > 0).all()


@pytest.mark.parametrize(
    ("name", "layer"), [("fundus-vgg", "features.4"), ("fundus-effnet", "features.2"), ("fundus-effnet", "features")]
)
def test_ablationcam_of_pgc_agrees_with_pytorch_grad_cam(logit_of, pgc, evidence, name, layer):
    classifier, found = evidence(name, layer)
    a, targets = found.activations[layer], [logit_of(c) for c in (1, 3)]
    module = classifier.network.get_submodule(layer)
    with pgc.AblationCAM(classifier, [module]) as theirs:
        weights = theirs.get_cam_weights(found.images, module, targets, a.numpy(), None)
    ours = AblationCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


OF_TIMM = {
    "tokens": (
        "vit_base_patch16_siglip_gap_224",
        {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 40, "num_heads": 2},
        "blocks.1.norm1",
        lambda tokens: tokens.mT.unflatten(2, (4, 4)),
    ),
    "channels last": (
        "swin_tiny_patch4_window7_224",
        {"img_size": 32, "window_size": 2, "embed_dim": 12, "depths": (2, 2), "num_heads": (2, 2)},
        "layers.0.blocks.1",
        lambda cells: cells.permute(0, 3, 1, 2),
    ),
    "a class token": (
        "vit_tiny_patch16_224",
        {"img_size": 32, "patch_size": 8, "depth": 2, "embed_dim": 16, "num_heads": 2},
        "blocks.1.norm1",
        None,
    ),
}


@pytest.fixture
def of_timm() -> Callable[[str], Any]:
    """A small transformer in double precision, a layer of it, and where its cells lie."""

    def make(name: str) -> Any:
        model, sizes, layer, cells = OF_TIMM[name]
        network, source = timm.create_model(model, num_classes=4, **sizes).double().eval(), torch.Generator()
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0, 0.3, generator=source.manual_seed(parameter.numel()))
        return network, layer, cells

    return make


@pytest.mark.parametrize("name", ["tokens", "channels last"])
def test_ablationcam_of_pgc_agrees_with_pytorch_grad_cam_on_transformers(logit_of, pgc, of_timm, images, name):
    from pytorch_grad_cam.ablation_layer import AblationLayerVit

    network, layer, cells = of_timm(name)
    classifier, module = Classifier(network), network.get_submodule(layer)
    found = classifier.evidence(images(2, 32), [1, 3], [layer], gradients=False)
    a, targets = found.activations[layer], [logit_of(c) for c in (1, 3)]
    with pgc.AblationCAM(network, [module], cells, AblationLayerVit()) as theirs:
        weights = theirs.get_cam_weights(found.images, module, targets, a.numpy(), None)
    ours = AblationCAM(classifier, layer, variant="pgc").explain(found, classifier)
    close(ours, torch.einsum("bk,bkhw->bhw", torch.from_numpy(weights).double(), a), 1e-5)


def test_where_pytorch_grad_cam_takes_a_class_tokens_channel_too_its_variant_is_refused(of_timm, images):
    network, layer, _ = of_timm("a class token")
    with pytest.raises(NotApplicable, match=r"'pgc' of ablationcam .*'blocks.1.norm1'.* 1 of them .* variant='paper'"):
        AblationCAM(network, layer, variant="pgc").raw(images(1, 32), 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layer", ["conv2", "relu2"])
def test_ablationcam_of_pgc_in_half_precision_is_one_channel_after_the_other(tiny, images, layer, dtype):
    tiny.to(dtype)
    cam, picture = AblationCAM(tiny, layer, variant="pgc"), images(1, 16).to(dtype)
    evidence = cam.classifier.evidence(picture, 1, [layer])
    lowest = evidence.activations[layer].min()
    if layer == "conv2" and dtype == torch.float16:
        with pytest.raises(NotApplicable, match=r"1e7 and less, which float16 does not hold; .*network.float"):
            cam.explain(evidence, cam.classifier)
        return
    y, expected = evidence.logits[0, 1], 0
    for k, channel in enumerate(evidence.activations[layer][0]):

        def switched_off(_module: nn.Module, _inputs: Any, output: Tensor, k: int = k) -> Tensor:
            output = output.clone()
            output[:, k] = 0 if lowest == 0 else lowest - 1e7 * (k + 1)
            return output

        handle = tiny.get_submodule(layer).register_forward_hook(switched_off)
        expected = expected + (y - cam.classifier.scores(picture)[0, 1].float()) / y * channel
        handle.remove()
    close(cam.explain(evidence, cam.classifier)[0], expected, 1e-2)


class Shared(nn.Module):
    """Logits that grow with the number of images sent together, which a head that runs alone does not see."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x) * len(x)


@pytest.mark.parametrize("shared", [False, True])
def test_a_head_of_zeros_tells_nothing_about_the_one_that_is_trained(tiny, images, shared):
    classifier, layer = (Classifier(Shared(tiny)), "network.relu2") if shared else (Classifier(tiny), "relu2")
    trained = tiny.head.weight.clone()
    with torch.no_grad():
        tiny.head.weight.zero_()
        tiny.head.bias.zero_()
        assert not tail(classifier, layer, images(1, 16)).alone
        tiny.head.weight.copy_(trained)
    assert tail(classifier, layer, images(1, 16)).alone != shared


class Unsplit(nn.Module):
    """Counts its images, so that one image does not do for many activations."""

    def __init__(self, network: nn.Module, classes: int) -> None:
        super().__init__()
        self.network, self.classes = network, classes

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x).view(len(x), self.classes)


@pytest.mark.parametrize("classes", [-1, 3], ids=["another shape", "an error"])
def test_a_head_that_cannot_run_alone_costs_a_forward_for_each_channel(tiny, images, classes):
    pictures, network = images(1, 16), Unsplit(tiny, classes)
    cam = AblationCAM(network, "network.relu2")
    assert not tail(cam.classifier, "network.relu2", pictures).alone
    assert cam.cost(pictures) == Calls(forwards=5 + 1)
    evidence = cam.classifier.evidence(pictures, 1, ["network.relu2"], gradients=False)
    with counting(network) as tally:
        found = cam.explain(evidence, cam.classifier)
    assert tally.forwards == 5 + 1
    close(found, AblationCAM(tiny, "relu2").raw(pictures, 1), 1e-12)
