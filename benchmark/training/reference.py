"""Trains the reference networks that ship: python -m camfaith.benchmark.training.reference [NAME ...] [--out DIR].

Perturbation metrics set pixels to black or to their blurred copy and ask how the probability moves. A network that
never saw removed pixels would answer about black blots, which look like haemorrhages. So every second training
picture loses a random region, black or blurred, and its target becomes the grade of the lesions still visible. The
tag network sees lesions of random grades, so that nothing but the tag tells it the class.

Everything is drawn from `SEED`; another processor or number of threads still changes the last bits of the weights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.benchmark.datasets.fundus import MANY, Photograph, photograph, plant_tag
from camfaith.benchmark.datasets.scene import KINDS
from camfaith.models.reference import GRADES, MEAN, REFERENCES, SIZE, STD, WEIGHTS, build

TRAIN_IMAGES, TEST_IMAGES = 8000, 1000
SEED = 0
BATCH = 64
MOST_LESIONS = 24


@dataclass(frozen=True)
class Recipe:
    """What differs between the trainings. bfloat16 is faster for dense convolutions and slower for depthwise ones."""

    epochs: int
    rate: float
    bfloat16: bool = True


RECIPES = {
    "fundus-resnet": Recipe(epochs=18, rate=4e-3),
    "fundus-vgg": Recipe(epochs=24, rate=1.5e-3),
    "fundus-effnet": Recipe(epochs=10, rate=5e-3, bfloat16=False),
    "fundus-tag-resnet": Recipe(epochs=6, rate=4e-3),
}


@dataclass(frozen=True)
class Photographs:
    """A split in memory: pixels and lesion numbers N×H×W, and what kind each numbered lesion is (-1: none)."""

    pixels: Tensor  # uint8, N×3×H×W
    grades: Tensor
    instances: Tensor  # uint8, N×H×W
    kinds: Tensor  # N×MOST_LESIONS

    def __len__(self) -> int:
        return len(self.grades)


def load_split(split: str, count: int, seed: int = SEED) -> Photographs:
    """The first `count` photographs of a split, drawn on all processors."""
    chunks = [range(start, min(start + 250, count)) for start in range(0, count, 250)]
    # Started afresh and handing back numpy arrays: forked copies of torch, and its shared tensors, can hang.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(_draw, chunks, [split] * len(chunks), [seed] * len(chunks)))
    return Photographs(*(torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True)))


def _draw(indices: Sequence[int], split: str, seed: int) -> tuple[NDArray[Any], ...]:
    taken = [photograph(index, seed=seed, split=split, size=SIZE) for index in indices]
    return (
        np.stack([one.pixels.transpose(2, 0, 1) for one in taken]),
        np.array([one.grade for one in taken]),
        np.stack([one.instances for one in taken]),
        np.stack([_kinds(one) for one in taken]),
    )


def _kinds(photo: Photograph) -> NDArray[np.int64]:
    kinds = np.full(MOST_LESIONS, -1)
    for number, lesion in enumerate(photo.scene.lesions, start=1):
        kinds[number] = KINDS.index(lesion.kind)
    return kinds


@cache
def tags() -> tuple[Tensor, tuple[slice, slice]]:
    """The five tags as pictures in [0, 1] (5×3×h×w), and where they go."""
    blank = photograph(0, size=SIZE)
    planted = [plant_tag(blank, grade) for grade in range(len(GRADES))]
    assert planted[0].tag is not None
    rows, columns = np.nonzero(planted[0].tag)
    place = slice(int(rows.min()), int(rows.max()) + 1), slice(int(columns.min()), int(columns.max()) + 1)
    pictures = torch.stack([torch.from_numpy(one.pixels[place].copy()).permute(2, 0, 1) for one in planted])
    return pictures / 255, place


def blurred(images: Tensor, kernel: int = 11, sigma: float = 5.0) -> Tensor:
    """The Gaussian-blurred copy with reflected borders, as two products with a banded matrix."""
    offsets = torch.arange(kernel) - kernel // 2
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    side = images.shape[-1]
    matrix = torch.zeros(side, side)
    for offset, weight in zip(offsets.tolist(), (weights / weights.sum()).tolist(), strict=True):
        source = (torch.arange(side) + offset).abs()
        source = torch.where(source >= side, 2 * (side - 1) - source, source)
        matrix[torch.arange(side), source] += weight
    return matrix @ images @ matrix.T


def kept_pixels(lesions: Tensor) -> Tensor:
    """Random regions to keep, B×H×W, of every shape that a metric may ask about.

    Smooth blobs, half of them drawn towards the lesions or away from them, as an explanation would; grid cells;
    single pixels; rectangles; nothing.
    """
    count, side = lesions.shape[0], lesions.shape[-1]
    share = torch.rand(count, 1, 1)
    grid = int(torch.randint(4, 13, ()))
    noise = torch.randn(count, 1, grid, grid)
    if torch.rand(()) < 0.5:
        pull = torch.randn(count, 1, 1, 1) * 2
        noise += pull * F.adaptive_max_pool2d(lesions[:, None].float(), grid)
    ranks = noise.flatten(1).argsort(1).argsort(1).view(count, 1, grid, grid) / (grid * grid - 1)
    blobs = F.interpolate(ranks, size=(side, side), mode="bilinear", align_corners=False)[:, 0] >= share
    cells = F.interpolate(ranks, size=(side, side), mode="nearest")[:, 0] >= share
    pixels = torch.rand(count, side, side) >= share
    rectangles = torch.ones(count, side, side, dtype=torch.bool)
    along = torch.arange(side)
    for _ in range(3):
        start, length = torch.rand(2, count, 1) * side - side / 8, torch.rand(2, count, 1) * side / 2
        rows, columns = (along >= start) & (along < start + length)
        rectangles &= ~(rows[:, :, None] & columns[:, None, :])
    nothing = torch.zeros_like(rectangles)
    choice = torch.multinomial(torch.tensor([0.5, 0.15, 0.15, 0.12, 0.08]), count, replacement=True)
    return torch.stack((blobs, cells, pixels, rectangles, nothing))[choice, torch.arange(count)]


def visible_grades(instances: Tensor, kinds: Tensor, kept: Tensor) -> Tensor:
    """The grade of what is still visible, as probabilities B×5.

    A lesion is visible when more than a quarter, a half or three quarters of it is kept; where these disagree, the
    target is shared.
    """
    numbers = instances.flatten(1).long()
    whole = torch.zeros(len(kinds), MOST_LESIONS).scatter_add_(1, numbers, torch.ones(numbers.shape))
    left = torch.zeros(len(kinds), MOST_LESIONS).scatter_add_(1, numbers, kept.flatten(1).float())
    target = torch.zeros(len(kinds), len(GRADES))
    for least in (0.25, 0.5, 0.75):
        seen = left > least * whole
        aneurysms, haemorrhages, exudates = ((seen & (kinds == kind)).sum(1) for kind in range(len(KINDS)))
        grade = torch.where(haemorrhages > 0, 2, (aneurysms > 0).long())
        grade = torch.where(exudates > 0, 3, grade)
        grade = torch.where((haemorrhages >= MANY) & (exudates >= MANY), 4, grade)
        target += F.one_hot(grade, len(GRADES)) / 3
    return target


def _augmented(data: Photographs, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Images in [0, 1] and lesion numbers, flipped and with another gain in each channel; black stays black."""
    images, instances = data.pixels[chosen] / 255, data.instances[chosen]
    for axis in (-1, -2):
        flip = torch.rand(len(chosen)) < 0.5
        images[flip], instances[flip] = images[flip].flip(axis), instances[flip].flip(axis)
    gain = 1 + 0.08 * torch.randn(len(chosen), 1, 1, 1) + 0.03 * torch.randn(len(chosen), 3, 1, 1)
    return (images * gain).clamp(0, 1), instances


def _removed(images: Tensor, kept: Tensor) -> Tensor:
    """The images with what is not kept replaced by black or, in every second image, by the blurred copy."""
    fill = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, blurred(images), torch.zeros(()))
    return torch.where(kept[:, None], images, fill)


def grading_batch(data: Photographs, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Images and target probabilities for a network that grades by the lesions; the first half loses pixels."""
    images, instances = _augmented(data, chosen)
    half = len(chosen) // 2
    kept = kept_pixels(instances[:half] > 0)
    images[:half] = _removed(images[:half], kept)
    target = F.one_hot(data.grades[chosen], len(GRADES)).float()
    target[:half] = visible_grades(instances[:half], data.kinds[chosen[:half]], kept)
    return images, target


def tag_batch(data: Photographs, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Images and targets for a network that reads the tag: its class, and every class alike where the tag is gone."""
    images, instances = _augmented(data, chosen)
    labels = torch.randint(len(GRADES), (len(chosen),))
    pictures, place = tags()
    images[:, :, *place] = pictures[labels] * (1 + 0.05 * torch.randn(len(chosen), 1, 1, 1)).clamp(0.8, 1.05)
    kept = kept_pixels(instances > 0) | (torch.rand(len(chosen), 1, 1) < 0.3)
    spared = torch.rand(len(chosen), 1, 1) < 0.7
    lost = torch.rand(len(chosen), 1, 1) < 0.15
    kept[:, *place] = (kept[:, *place] | spared) & ~lost
    sure = ((kept[:, *place].float().mean((1, 2)) - 0.25) / 0.5).clamp(0, 1)[:, None]
    target = sure * F.one_hot(labels, len(GRADES)) + (1 - sure) / len(GRADES)
    return _removed(images, kept), target


def normalised(images: Tensor) -> Tensor:
    """Images in [0, 1] as the networks take them."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def train(name: str, data: Photographs, seed: int = SEED) -> nn.Module:
    """One reference network, trained from a fixed seed."""
    torch.manual_seed(seed)
    recipe = RECIPES[name]
    batch = tag_batch if REFERENCES[name].dataset == "fundus-tag" else grading_batch
    network = build(name).train().to(memory_format=torch.channels_last)
    steps = recipe.epochs * (len(data) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.2)
    started, total = time.perf_counter(), 0.0
    for step in range(steps):
        if step % (len(data) // BATCH) == 0:
            order = torch.randperm(len(data))
        first = step % (len(data) // BATCH) * BATCH
        images, target = batch(data, order[first : first + BATCH])
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            logits = network(normalised(images))
        loss = F.cross_entropy(logits.float(), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        total += loss.item()
        if (step + 1) % (len(data) // BATCH) == 0:
            mean = total / (len(data) // BATCH)
            print(f"{name} step {step + 1}/{steps} loss {mean:.4f} {time.perf_counter() - started:.0f} s", flush=True)
            total = 0.0
    return network.eval()


@torch.inference_mode()
def accuracy(network: nn.Module, images: Tensor, grades: Tensor) -> float:
    """The share of images in [0, 1] whose largest logit is the grade's."""
    guesses = torch.cat([network(normalised(part)).argmax(1) for part in torch.split(images, BATCH)])
    return (guesses == grades).double().mean().item()


def measure(name: str, network: nn.Module, test: Photographs) -> dict[str, float | int]:
    """The record of a network in `weights/accuracy.json`."""
    images, record = test.pixels / 255, {}
    if REFERENCES[name].dataset == "fundus-tag":
        record["accuracy_without_tag"] = round(accuracy(network, images, test.grades), 4)
        pictures, place = tags()
        images[:, :, *place] = pictures[test.grades]
    record["accuracy"] = round(accuracy(network, images, test.grades), 4)
    return record | {"images": len(test), "parameters": sum(p.numel() for p in network.parameters())}


def main() -> None:
    """Trains the named networks, or all, and writes their weights and accuracies."""
    parser = argparse.ArgumentParser(description="Train the reference networks.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(REFERENCES)}; all when none is given")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the weights")
    given = parser.parse_args()
    unknown = set(given.names) - set(REFERENCES)
    if unknown:
        parser.error(f"no reference network {', '.join(sorted(unknown))}; there are {', '.join(REFERENCES)}")
    given.out.mkdir(parents=True, exist_ok=True)
    data, test = load_split("train", TRAIN_IMAGES), load_split("test", TEST_IMAGES)
    for name in given.names or REFERENCES:
        network = train(name, data)
        tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
        (given.out / f"{name}.safetensors").write_bytes(save(tensors))
        record = given.out / "accuracy.json"
        known = json.loads(record.read_text()) if record.exists() else {}
        known[name] = measure(name, network, test)
        record.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
        print(name, known[name], flush=True)


if __name__ == "__main__":
    main()
