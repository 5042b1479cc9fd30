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


@pytest.fixture(scope="session")
def colours_in():
    """Writes into a folder what is to be trained: the name of a network with batch norm and dropout; and a table of 48
    pictures of noise, whose colour is their class; two pictures of a class are a cluster each."""

    def write(folder):
        (folder / "net.py").write_text(NETWORK)
        draw = np.random.default_rng(0)
        rows = ["file,label,cluster"]
        for index in range(48):
            label = index % 3
            pixels = draw.integers(0, 120, (16, 20, 3), np.uint8)
            pixels[..., label] += 100
            Image.fromarray(pixels).save(folder / f"{index}.png")
            rows.append(f"{index}.png,{label},{index % 3}-{index // 6}")
        (folder / "colours.csv").write_text("\n".join(rows))
        table = {"name": "csv", "path": str(folder / "colours.csv"), "classes": ["red", "green", "blue"]}
        return {"model": f"{folder / 'net.py'}:tiny", "dataset": table}

    return write
