"""Complexity, ADCC and ARCC from their formulas, and from their parts."""

import math

import pytest
import torch
from torch.nn import functional as F

from camfaith.metrics import ADCC, ARCC, ROAD, AverageDrop, Coherency, Complexity, functional


@pytest.mark.parametrize(
    ("name", "rho", "complexity", "third", "expected"),
    [
        ("adcc", 1.0, 0.0, 0.0, 1.0),
        ("adcc", 0.2, 0.3, 0.6, 3 / (1 / 0.6 + 1 / 0.7 + 1 / 0.4)),
        ("adcc", 0.2, 0.3, 1.0, 0.0),
        ("adcc", -1.0, 1.0, 1.0, 0.0),
        ("adcc", math.nan, 0.3, 1.0, math.nan),
        ("arcc", 1.0, 0.0, 0.5, 1.0),
        ("arcc", 0.2, 0.3, 0.2, 3 / (1 / 0.6 + 1 / 0.7 + 1 / 0.4)),
        ("arcc", 0.2, 0.3, -0.2, 0.0),
        ("arcc", math.nan, 0.3, 0.2, math.nan),
    ],
)
def test_they_are_harmonic_means(name, rho, complexity, third, expected):
    given = (torch.tensor([one], dtype=torch.float64) for one in (rho, complexity, third))
    assert float(getattr(functional, name)(*given)) == pytest.approx(expected, nan_ok=True)


def test_each_is_the_mean_of_what_its_parts_say(classifier, images, showing):
    pictures, targets = images(4, 12), [0, 1, 2, 0]
    raw = F.adaptive_avg_pool2d(pictures.mean(1), 4) - 0.5
    method = showing(lambda images: F.adaptive_avg_pool2d(images.mean(1), 4) - 0.1)
    found = {
        kind: kind()(classifier, pictures, targets, raw, method=method)
        for kind in (Complexity, Coherency, AverageDrop, ROAD, ADCC, ARCC)
    }
    shown = F.interpolate(raw.clamp(min=0)[:, None], size=(12, 12), mode="bilinear", align_corners=False)[:, 0]
    for i in range(4):
        low, high = shown[i].min(), shown[i].max()
        C = float(((shown[i] - low) / (high - low)).abs().sum()) / 144
        assert float(found[Complexity]["complexity"][i]) == pytest.approx(C)
        coherent = (float(found[Coherency]["coherency"][i]) + 1) / 2
        kept, removed = 1 - float(found[AverageDrop]["drop"][i]), min(max(2 * float(found[ROAD]["road"][i]), 0), 1)
        assert float(found[ADCC]["adcc"][i]) == pytest.approx(3 / (1 / coherent + 1 / (1 - C) + 1 / kept))
        arcc = 3 / (1 / coherent + 1 / (1 - C) + 1 / removed) if removed else 0
        assert float(found[ARCC]["arcc"][i]) == pytest.approx(arcc, abs=1e-9)
    assert len(set(found[ARCC]["arcc"].tolist())) > 1
