"""Speed, measured by `tox -e perf` and never asserted: the engine against the network's own forwards."""

from __future__ import annotations

import pytest
import torch

from camfaith.methods import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM
from camfaith.metrics import Deletion
from camfaith.models import load

NAMES = ("fundus-resnet", "fundus-vgg", "fundus-effnet")
IMAGES, STEPS, BATCH = 16, 33, 64


@pytest.fixture
def threads():
    """As many threads as a user has; the other tests take one."""
    before = torch.get_num_threads()
    torch.set_num_threads(torch.multiprocessing.cpu_count())
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NAMES)
def test_raw_forwards(benchmark, threads, name):
    model = load(name)
    images = torch.rand(BATCH, 3, 96, 96).contiguous(memory_format=torch.channels_last)
    benchmark.group = f"{IMAGES * (STEPS - 1)} forwards of {name}"

    def forwards():
        for _ in range(IMAGES * (STEPS - 1) // BATCH):
            model.scores(images)

    benchmark(forwards)


@pytest.mark.parametrize("name", NAMES)
def test_deletion_of_as_many_forwards(benchmark, threads, name):
    model = load(name)
    images, maps = torch.rand(IMAGES, 3, 96, 96), torch.rand(IMAGES, 96, 96)
    benchmark.group = f"{IMAGES * (STEPS - 1)} forwards of {name}"
    # 32 inner points; the two ends come on top
    benchmark(lambda: Deletion(steps=STEPS)(model, images, None, maps, batch_size=BATCH))


@pytest.mark.parametrize("together", [True, False], ids=["one pass", "one pass each"])
def test_five_gradient_maps(benchmark, threads, together):
    model = load("fundus-vgg")
    images = torch.rand(IMAGES, 3, 96, 96)
    methods = [kind(model, "features") for kind in (GradCAM, GradCAMPlusPlus, XGradCAM, HiResCAM, LayerCAM)]
    benchmark.group = "five gradient maps of fundus-vgg"

    def shared():
        evidence = model.evidence(images, None, ["features"])
        return [method.explain(evidence, model) for method in methods]

    benchmark(shared if together else lambda: [method.raw(images) for method in methods])
