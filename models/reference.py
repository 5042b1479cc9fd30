"""The reference networks that ship with their weights: one of each family that explains itself differently.

All take photographs of `SIZE` × `SIZE` pixels, RGB in [0, 1], normalised with `MEAN` and `STD`, and give one logit
for each of `GRADES`. They were trained to take black or blurred pixels as missing
(`camfaith.benchmark.training.reference`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

GRADES = ("no lesions", "mild", "moderate", "severe", "proliferative")
MEAN = (0.49, 0.21, 0.11)
STD = (0.30, 0.15, 0.10)
SIZE = 96
WEIGHTS = Path(__file__).parent / "weights"


class Residual(nn.Module):
    """relu(x + f(x)): two 3×3 convolutions, with a 1×1 convolution on the shortcut where the shape changes."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        residue = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu2(residue + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """Residual blocks, global average pooling and a linear head; `layer3` gives a 12×12 grid, not negative."""

    def __init__(self, classes: int = len(GRADES)) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(3, 16, 3, 2, 1, bias=False), bn=nn.BatchNorm2d(16), relu=nn.ReLU())
        )
        self.layer1 = nn.Sequential(Residual(16, 16))
        self.layer2 = nn.Sequential(Residual(16, 32, 2))
        self.layer3 = nn.Sequential(Residual(32, 64, 2), Residual(64, 64))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        logits: Tensor = self.head(self.pool(x).flatten(1))
        return logits


class VGG(nn.Module):
    """Convolutions with biases and max pooling, no batch norm, and a fully connected head over a 6×6 grid."""

    def __init__(self, classes: int = len(GRADES)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for after, stride, pool in ((16, 2, False), (16, 1, True), (32, 1, False), (32, 1, True), (64, 1, False),
                                    (64, 1, True)):  # fmt: skip
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.ReLU()]
            layers += [nn.MaxPool2d(2)] if pool else []
            before = after
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 6 * 6, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (SIZE, SIZE):
            raise ValueError(f"the fully connected head takes {SIZE}×{SIZE} pixels, got {x.shape[-2]}×{x.shape[-1]}")
        logits: Tensor = self.classifier(self.features(x))
        return logits


class SqueezeExcitation(nn.Module):
    """x · sigmoid(W₂ silu(W₁ mean(x))), one factor a channel."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.SiLU()
        self.expand = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x * self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return out


class InvertedResidual(nn.Module):
    """Expand, depthwise 3×3, squeeze-excitation, project; added to the input where the shape is kept."""

    def __init__(self, before: int, after: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = _conv_bn_silu(before, wide, 1)
        self.depthwise = _conv_bn_silu(wide, wide, 3, stride, groups=wide)
        self.excite = SqueezeExcitation(wide, max(before // 4, 4))
        self.project = nn.Sequential(nn.Conv2d(wide, after, 1, bias=False), nn.BatchNorm2d(after))
        self.adds = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.project(self.excite(self.depthwise(self.expand(x))))
        return x + out if self.adds else out


def _conv_bn_silu(before: int, after: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(after), act=nn.SiLU()))


class EffNet(nn.Module):
    """Inverted residuals with SiLU; `features[-1]`, the last 1×1 convolution, gives a signed 12×12 grid."""

    def __init__(self, classes: int = len(GRADES)) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv_bn_silu(3, 16, 3, 2),
            InvertedResidual(16, 24, 2, 2),
            InvertedResidual(24, 40, 2, 3),
            InvertedResidual(40, 40, 1, 3),
            InvertedResidual(40, 40, 1, 3),
            _conv_bn_silu(40, 128, 1),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(128, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return logits


@dataclass(frozen=True)
class Reference:
    """How a reference network is built and what it was trained on."""

    builder: Callable[[], nn.Module]
    dataset: str  # "fundus", or "fundus-tag": photographs with the tag that gives the class away


REFERENCES: Mapping[str, Reference] = {
    "fundus-resnet": Reference(ResNet, "fundus"),
    "fundus-vgg": Reference(VGG, "fundus"),
    "fundus-effnet": Reference(EffNet, "fundus"),
    "fundus-tag-resnet": Reference(ResNet, "fundus-tag"),
}


def build(name: str) -> nn.Module:
    """The reference network, untrained."""
    if name not in REFERENCES:
        raise ValueError(f"no reference network {name!r}; there are {', '.join(REFERENCES)}")
    return REFERENCES[name].builder()


def load_weights(name: str) -> nn.Module:
    """The reference network with the weights that ship with it, in evaluation mode."""
    network = build(name)
    network.load_state_dict(load_file(WEIGHTS / f"{name}.safetensors"))
    return network.eval()
