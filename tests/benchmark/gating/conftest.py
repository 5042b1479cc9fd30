"""A project of somebody's own: a CAM, which edits change, and a suite that takes a second."""

from __future__ import annotations

from pathlib import Path

import pytest

SUITE = """
[suite]
name = "small"
methods = ["gradcam"]
metrics = [{ name = "deletion", steps = 4 }, { name = "insertion", steps = 4, baseline = "blur" }]
batch_size = 64
[[model]]
name = "fundus-resnet"
[[dataset]]
name = "fundus"
size = 32
limit = 20
"""
CAM = """from camfaith.methods import Method

class MyCAM(Method):
    name = "mycam"
    rectified = True

    def explain(self, evidence, classifier):
        activations, gradients = (getattr(evidence, of)[self.layer] for of in ("activations", "gradients"))
        return (WEIGHTS * activations).sum(1)
"""


class Project:
    """A folder with `small.toml` and `mycam.py`."""

    SOUND = "gradients.mean((2, 3), keepdim=True)"
    REFACTORED = "gradients.flatten(2).mean(2)[..., None, None]"
    BROKEN = "-gradients.mean((2, 3), keepdim=True)"
    FLAT = f"0 * {SOUND}"
    ERRING = "evidence.nothing"
    TWICE = f"classifier.scores(evidence.images).sum() * 0 + {SOUND}"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small.toml").write_text(SUITE)
        self.write(self.SOUND)

    def write(self, weights: str, file: str = "mycam.py") -> None:
        (self.folder / file).write_text(CAM.replace("WEIGHTS", weights))


@pytest.fixture(scope="session")
def project_in() -> type[Project]:
    return Project
