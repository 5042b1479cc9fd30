"""A data set that a network of one convolution learns, and such a network."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

NETWORK = """
import torch
from torch import nn


def tiny():
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3),
        nn.Linear(6, 7),
    )
"""


@pytest.fixture
def network(tmp_path):
    """The name of a network with batch norm and dropout."""
    (tmp_path / "net.py").write_text(NETWORK)
    return f"{tmp_path / 'net.py'}:tiny"


@pytest.fixture
def colours(tmp_path):
    """A table of 48 pictures of noise, whose colour is their class; two pictures of a class are a cluster each."""
    draw = np.random.default_rng(0)
    rows = ["file,label,cluster"]
    for index in range(48):
        label = index % 3
        pixels = draw.integers(0, 120, (16, 20, 3), np.uint8)
        pixels[..., label] += 100
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
        rows.append(f"{index}.png,{label},{index % 3}-{index // 6}")
    (tmp_path / "colours.csv").write_text("\n".join(rows))
    return {"name": "csv", "path": str(tmp_path / "colours.csv"), "classes": ["red", "green", "blue"]}
