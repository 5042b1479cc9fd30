"""Superpixels: an image cut along its colours, by SLIC."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor


def superpixels(image: Tensor, segments: int = 50, compactness: float = 10.0) -> Tensor:
    """The number of each pixel's superpixel (H×W, from 0) in an image (3×H×W): about `segments` of them, by SLIC on Lab
    colours after a Gaussian blur of σ = 1 pixel (Achanta et al. 2012). Higher `compactness` makes them squarer.

    `ImportError` where scikit-image is not installed.
    """
    slic = require("skimage.segmentation").slic
    pixels = image.detach().permute(1, 2, 0).double().cpu().numpy()
    found = slic(pixels, n_segments=segments, compactness=compactness, sigma=1, start_label=0)
    _, counted = np.unique(found, return_inverse=True)
    return torch.from_numpy(counted.reshape(found.shape)).to(image.device)


def require(module: str) -> Any:
    """A module of the extra `superpixels`; `ImportError` says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        name = {"skimage": "scikit-image", "sklearn": "scikit-learn"}[module.partition(".")[0]]
        raise ImportError(f"superpixels need {name}: pip install 'camfaith[superpixels]'") from error
