"""A small network with batch norm, and the process's own precision."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from camfaith.models import Classifier


class Normed(nn.Module):
    """Convolution, batch norm with statistics of its own, and a head of three classes."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            self.conv = nn.Conv2d(3, 6, 3, padding=1)
            self.norm = nn.BatchNorm2d(6)
            self.head = nn.Linear(6, 3)
            with torch.no_grad():
                self.norm.running_mean.normal_()
                self.norm.running_var.uniform_(0.2, 3)
                self.norm.weight.normal_()
                self.norm.bias.normal_()

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean((2, 3)))


@pytest.fixture
def network():
    return Normed().eval()


@pytest.fixture
def classifier(network):
    return Classifier(network, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.fixture
def flags():
    """The two switches of TF32, put back when the test is over."""

    def now():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = now()
    yield now
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
