"""Networks that count what goes through them, and suites that are small enough for a test."""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from camfaith.benchmark.results.folder import Note, RunFolder, block_name
from camfaith.benchmark.results.tables import SCHEMAS
from camfaith.models.speed import tuning

torch.set_num_threads(1)  # the networks are tiny: a second thread costs more than it gives
torch.manual_seed(0)  # for the networks that are drawn while the tests are collected


@pytest.fixture(autouse=True)
def seeded():
    """A test draws the same numbers alone and among others."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """What is measured of the tests' networks stays out of the user's cache."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _name: str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def idle(monkeypatch):
    """A busy machine warns in no test that is not about it."""
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    """A network's speed is measured by its second and third call, and nothing waits for the disk."""
    fastest = tuning.fastest
    monkeypatch.setattr(tuning, "fastest", lambda work, device, seconds=0.0: fastest(work, device, 0.0))
    monkeypatch.setattr("os.fsync", lambda _handle: None)


@pytest.fixture(scope="module")
def _made(tmp_path_factory):
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def copy_of(_made, tmp_path):
    """A folder that is made once for all tests of a file: the copy that is this test's own."""

    def copy(name: str, make: Callable[[Path], object]) -> Path:
        if not (_made / name).exists():
            make(_made / name)
        return Path(shutil.copytree(_made / name, tmp_path / name))

    return copy


@pytest.fixture(scope="session")
def write_part() -> Callable[..., None]:
    """Writes a model's part of a made-up run: data frames by their tables' names, in which columns may be missing."""

    def write(run: RunFolder, info: dict[str, Any], model: str, dataset: str, frames: dict[str, pd.DataFrame]) -> None:
        keys = {kind: {each["label"]: each["key"] for each in info[f"{kind}s"]} for kind in ("method", "metric")}
        tables = {}
        for name, frame in frames.items():
            known = {f"{kind}_key": frame[kind].map(of).fillna("") for kind, of in keys.items() if kind in frame}
            whole = frame.assign(run=info["run"], context="context", model=model, dataset=dataset, **known)
            whole = whole.reindex(columns=SCHEMAS[name].names).astype(object)
            tables[name] = pa.Table.from_pandas(whole, SCHEMAS[name], preserve_index=False)
        cells = {key: list(keys["metric"].values()) for key in keys["method"].values()}
        ids = dict.fromkeys(frames["scores"].query("method != ''")["sample"], "content")
        note = Note("context", model, dataset, ids, {}, cells, {}, [], "all", 0, {}, {}, {}, {}, {})
        run.write_part(block_name(model, dataset), 0, note, tables)

    return write


class Counting(nn.Module):
    """Wraps a network and counts the images that go forward and the scores that go backward."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = network
        self.forwards = self.backwards = 0

    def forward(self, images: Tensor) -> Tensor:
        self.forwards += len(images)
        logits = self.inner(images)
        if logits.requires_grad:
            logits.register_hook(self._count)
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)


class Tiny(nn.Module):
    """Two convolutions, global average pooling and a linear head: five classes, 8 channels, a quarter of the side."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(self.stem(images)).mean((2, 3)))


def _five_classes() -> Tiny:
    """The tiny network with fixed weights that make its classes differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = Tiny()
        with torch.no_grad():
            network.head.weight.mul_(20)
        return network


@pytest.fixture
def counting() -> Counting:
    return Counting(_five_classes())


@pytest.fixture
def tiny() -> nn.Module:
    """conv1, relu1, conv2, relu2, global average pooling, a linear head of 3 classes; takes any size."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        network = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 4, 3, padding=1),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(4, 5, 3, stride=2),
                relu2=nn.ReLU(),
                pool=nn.AdaptiveAvgPool2d(1),
                flat=nn.Flatten(),
                head=nn.Linear(5, 3),
            )
        )
    return network.double().eval()


@pytest.fixture
def small_suite() -> dict[str, Any]:
    """Six photographs of 32 px, three methods, two controls, all six metrics."""
    return {
        "suite": {
            "name": "small",
            "methods": ["gradcam", "xgradcam", "layercam", "random", "oracle"],
            "metrics": [
                {"name": "deletion", "steps": 4},
                {"name": "insertion", "steps": 4, "baseline": "blur"},
                {"name": "sensitivity-n", "sizes": [0.1, 0.5], "subsets": 8},
                "conservation",
                "corner-artifact",
                "energy-pointing-game",
            ],
            "batch_size": 16,
            "chunk": 4,
        },
        "model": [{"name": "tiny"}],
        "dataset": [{"name": "fundus", "limit": 6, "size": 32}],
    }


class Answer(nn.Module):
    """Returns what it was given, whatever the images."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, _images: Tensor) -> object:
        return self.answer


@pytest.fixture
def answering() -> type[Answer]:
    """A network with one answer, whatever the images."""
    return Answer
