"""Networks small enough for fast maps, some of them plain enough that the right map is known."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import VisionTransformer

CLASSES = 3


@dataclass(frozen=True)
class Ground:
    """A kind of network on which a method is examined, and its target layer."""

    name: str
    build: Callable[..., nn.Module]
    layer: str
    earlier: str
    """An earlier layer, with another map."""
    before_relu: str | None = None
    """The layer whose output goes into a ReLU."""


def small(
    seed: int,
    *,
    pooled: bool = False,
    stride: int = 2,
    inplace: bool = False,
    bias: bool = True,
    symmetric: bool = False,
    faint: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Three convolutions (two if `pooled`), batch norm, global pooling, dropout, a linear head; for any image size.

    Unless `pooled`, gradients at `relu2` differ from cell to cell. Without `bias` there is no constant, and no batch
    norm. `symmetric` kernels are their own mirror images. `faint` scales the activations from `conv2` on, and the
    logits with them.
    """
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(3, 4, 3, stride, 1, bias=bias),
        "norm": nn.BatchNorm2d(4) if bias else nn.Identity(),
        "relu1": nn.ReLU(inplace),
        "conv2": nn.Conv2d(4, 6, 3, padding=1, bias=bias),
        "relu2": nn.ReLU(inplace),
    }
    if not pooled:
        layers |= {"conv3": nn.Conv2d(6, 6, 3, padding=1, bias=bias), "relu3": nn.ReLU(inplace)}
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flat": nn.Flatten(), "drop": nn.Dropout(0.3)}
    layers |= {"head": nn.Linear(6, CLASSES, bias=bias)}
    return _finished(nn.Sequential(OrderedDict(layers)), seed, symmetric, faint, dtype)


class Patches(nn.Module):
    """A vision transformer for any image size: a class token and patches, without position embeddings."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, 8))
        layers = (nn.TransformerEncoderLayer(8, 2, 12, 0.3, batch_first=True, norm_first=True) for _ in range(2))
        self.blocks = nn.Sequential(*layers)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv1(images).flatten(2).mT
        logits: Tensor = self.head(self.blocks(torch.cat([self.token.expand(len(images), -1, -1), patches], 1))[:, 0])
        return logits


def transformer(
    seed: int, *, stride: int = 2, symmetric: bool = False, faint: float = 1.0, dtype: torch.dtype = torch.float64
) -> nn.Module:
    """A vision transformer with patches of `stride` pixels; the rest as in `small`."""
    return _finished(Patches(stride), seed, symmetric, faint, dtype)


class Resized(VisionTransformer):  # type: ignore[misc]
    """torchvision's vision transformer with two blocks; it resizes images of any size to its own."""

    def __init__(self) -> None:
        super().__init__(8, 2, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, dropout=0.3, num_classes=CLASSES)
        self.conv1, self.head = self.conv_proj, self.heads.head

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = super().forward(F.interpolate(images, (8, 8), mode="bilinear"))
        return logits


def torchvisions(
    seed: int,
    *,
    stride: int = 2,  # noqa: ARG001 - its patches are its own
    symmetric: bool = False,
    faint: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> nn.Module:
    """Like `transformer`, for methods that know only torchvision's modules; with position embeddings, unless
    `symmetric`."""
    network = Resized()
    _finished(network, seed, symmetric, faint, dtype)
    if symmetric:
        nn.init.zeros_(network.encoder.pos_embedding)
    return network


GROUNDS = (
    Ground("convolutional", small, "relu2", "relu1", "conv2"),
    Ground("pooled", partial(small, pooled=True), "relu2", "relu1", "conv2"),
    Ground("transformer", transformer, "blocks.1", "blocks.0"),
    Ground("torchvision transformer", torchvisions, "encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_0"),
)


def _finished(network: nn.Module, seed: int, symmetric: bool, faint: float, dtype: torch.dtype) -> nn.Module:
    """Parameters and statistics drawn from a generator of their own; in evaluation mode."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for kept in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if kept.is_floating_point():
                    fan = kept[0].numel() if kept.ndim > 1 else 4
                    kept.copy_(torch.randn(kept.shape, generator=source, dtype=torch.float64) * (2 / fan) ** 0.5)
            if isinstance(module, nn.BatchNorm2d):
                assert module.running_var is not None
                module.running_var.abs_().add_(0.5)
            if symmetric and isinstance(module, nn.Conv2d):
                kernel = module.weight
                kernel.copy_((kernel + kernel.flip(2) + kernel.flip(3) + kernel.flip(2, 3)) / 4)
        for name, parameter in network.named_parameters(remove_duplicate=False):
            if name in ("conv2.weight", "conv2.bias", "conv3.bias", "head.bias"):
                parameter.mul_(faint)
    return network.to(dtype).eval()


class Repeating(nn.Module):
    """`mix` runs twice in a forward; or `mix` and then `again`, with the same weights."""

    def __init__(self, seed: int, *, shared: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))
        self.mix = nn.Conv2d(5, 5, 3, padding=1)
        self.last = nn.Conv2d(5, 6, 3, padding=1)
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)
        _finished(self, seed, False, 1.0, torch.float64)
        if not shared:
            self.again = nn.Conv2d(5, 5, 3, padding=1, dtype=torch.float64)
            self.again.load_state_dict(self.mix.state_dict())
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.mix(self.relu1(self.first(x))))
        x = self.relu3(self.mix(x) if self.shared else self.again(x))
        logits: Tensor = self.head(self.flat(self.pool(self.relu4(self.last(x)))))
        return logits


def colour_reader(
    *, threshold: float = 0.1, weight: float = 100.0, against: float = 0.0, bias: float | Tensor = 0.0
) -> nn.Module:
    """Class c's logit is `weight` times the mean of colour c above `threshold`, less `against` times that of the colour
    before it (blue for class 0), plus `bias`: `relu` shows on three channels, pixel by pixel, the evidence for each
    class."""
    network = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 3, 1),
            relu=nn.ReLU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(3, CLASSES),
        )
    )
    weights = {
        "conv.weight": torch.eye(3).view(3, 3, 1, 1),
        "conv.bias": torch.full((3,), -threshold),
        "head.weight": weight * torch.eye(3) - against * torch.eye(3).roll(-1, 1),
        "head.bias": torch.as_tensor(bias).expand(3),
    }
    return _with(network, weights)


def cancelling(height: int, width: int) -> nn.Module:
    """Channel 0 of `conv` is red and speaks for class 0, each cell with 100. Channel 1 is green − 1/2, and its cells
    speak with 10, on the fields of `checkers` with 15."""
    network = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 2, 1), flat=nn.Flatten(), head=nn.Linear(2 * height * width, 2))
    )
    worth = torch.stack([torch.full((height, width), 100.0), 10 + 5 * checkers(height, width)]).flatten()
    weights = {
        "conv.weight": torch.tensor([[1.0, 0, 0], [0, 1, 0]]).view(2, 3, 1, 1),
        "conv.bias": torch.tensor([0.0, -0.5]),
        "head.weight": torch.stack([worth, torch.zeros_like(worth)]),
        "head.bias": torch.zeros(2),
    }
    return _with(network, weights)


def _with(network: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    network.double().load_state_dict(weights)
    return network.eval()


def checkers(height: int, width: int) -> Tensor:
    """1 where the sum of the row's and the column's numbers is even, else 0: the fields of one colour on a chequered
    board."""
    return ((torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0).double()
