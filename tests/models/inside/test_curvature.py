"""The second derivative of a score at a layer, against the whole Hessian of a network small enough to have one."""

from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.functional import hessian, jacobian
from torch.nn import functional as F
from torchvision.models import VisionTransformer

from camfaith.methods import ShapleyCAM
from camfaith.models import Classifier, LayerError
from camfaith.models.errors import NotApplicable
from camfaith.models.inside.curvature import curvature


def bent() -> nn.Module:
    """conv → SiLU → conv → in-place ReLU → pooling → tanh → linear: its logits bend in every layer before the tanh."""
    source = torch.Generator().manual_seed(4)
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 2, 3),
            silu=nn.SiLU(),
            conv2=nn.Conv2d(2, 3, 2),
            relu=nn.ReLU(inplace=True),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            tanh=nn.Tanh(),
            drop=nn.Dropout(0.5),
            head=nn.Linear(3, 3),
        )
    ).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=source)
    return network.eval()


def noise(count: int, side: int) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(11), dtype=torch.float64)


def difference(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits.softmax(1) * torch.arange(3)).sum(1) * targets


@pytest.mark.parametrize("cut", [1, 2, 3])
@pytest.mark.parametrize("score", [None, difference], ids=["logit", "another score"])
def test_it_is_the_whole_hessian_times_the_activations(cut, score):
    network, pictures, targets = bent(), noise(2, 6), torch.tensor([2, 1])
    layer = list(dict(network.named_children()))[cut - 1]
    options = {} if score is None else {"score": score}
    g, product = curvature(Classifier(network), pictures, targets, layer, **options)
    assert product.abs().max() > 1e-3
    a = network[:cut](pictures).detach()
    for image in range(2):

        def explained(values: Tensor, image: int = image) -> Tensor:
            logits = network[cut:](values.view(1, *a.shape[1:]).clone())
            return logits[0, targets[image]] if score is None else score(logits, targets[image : image + 1])[0]

        flat = a[image].flatten()
        torch.testing.assert_close(g[image].flatten(), jacobian(explained, flat), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(product[image].flatten(), hessian(explained, flat) @ flat, rtol=1e-9, atol=1e-11)


def test_a_layer_that_the_score_does_not_depend_on_is_named(tiny):
    network = nn.ModuleDict({"used": tiny, "beside": nn.Conv2d(3, 2, 1).double()})

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = network

        def forward(self, x: Tensor) -> Tensor:
            self.parts["beside"](x)
            return self.parts["used"](x)

    with pytest.raises(LayerError, match=r"does not depend on.*parts\.beside"):
        curvature(Classifier(Both()), noise(1, 9), torch.tensor([0]), "parts.beside")


def test_a_part_without_a_second_derivative_is_named():
    network = bent()
    network.tanh = nn.Hardsigmoid()
    with pytest.raises(NotApplicable, match=r"hardsigmoid.*name a layer behind that part"):
        curvature(Classifier(network), noise(1, 6), torch.tensor([0]), "conv1")


class Attention(nn.Module):
    """Tokens, and their mixture by attention: PyTorch's fused kernel, or the same in three steps."""

    def __init__(self, *, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        if self.fused:
            x = x[:, None]  # one head
            return (x + F.scaled_dot_product_attention(x, x.cos(), x.sin()))[:, 0]
        return x + (x @ x.cos().mT / x.shape[2] ** 0.5).softmax(2) @ x.sin()


class Rows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mT.contiguous()  # else the fused kernel does not take it


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def transformer(*, fused: bool) -> nn.Module:
    """2×3 patches without a class token, attention twice, a head on their mean."""
    source = torch.Generator().manual_seed(4)
    network = nn.Sequential(
        OrderedDict(
            embed=nn.Conv2d(3, 4, 2, 2),
            tokens=nn.Flatten(2),
            first=Rows(),
            second=Attention(fused=fused),
            third=Attention(fused=fused),
            mean=Mean(),
            head=nn.Linear(4, 3),
        )
    ).double()
    for parameter in network.parameters():
        nn.init.normal_(parameter, generator=source)
    return network.eval()


@pytest.mark.parametrize("layer", ["embed", "second"])
def test_a_score_behind_fused_attention_bends_as_one_behind_its_steps(layer):
    pictures, targets = noise(2, 6), torch.tensor([2, 1])
    found, expected = (
        curvature(Classifier(transformer(fused=fused)), pictures, targets, layer) for fused in (True, False)
    )
    assert expected[1].abs().max() > 1e-3
    torch.testing.assert_close(found, expected)
    assert torch.backends.cuda.flash_sdp_enabled()


def test_shapleycam_explains_a_vision_transformer_as_pytorch_builds_it():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = VisionTransformer(16, 8, 2, 2, 8, 16, num_classes=3).double().eval()
        nn.init.normal_(network.heads.head.weight)
    pictures, targets, layer = noise(2, 16), torch.tensor([2, 1]), "encoder.layers.encoder_layer_1.ln_1"
    _, product = curvature(Classifier(network), pictures, targets, layer)
    step, slopes = 1e-5, []
    for sign in (1, -1):

        def move(_module: nn.Module, _inputs: object, x: Tensor, sign: int = sign) -> Tensor:
            return torch.cat([x[:, :1], x[:, 1:] * (1 + sign * step)], 1)

        handle = network.get_submodule(layer).register_forward_hook(move)
        slopes.append(Classifier(network).evidence(pictures, targets, [layer]).gradients[layer])
        handle.remove()
    torch.testing.assert_close(product, (slopes[0] - slopes[1]) / (2 * step), rtol=1e-5, atol=1e-8)
    assert (product.abs().amax((1, 2, 3)) > 1e-6).all()
    assert ShapleyCAM(network, layer).raw(pictures, targets).abs().amax() > 1e-6
