"""What a metric must leave as it found it. Each check raises `Broken` if a metric does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from camfaith.benchmark.conformance.examination import Broken, require_none
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate, must_equal
from camfaith.benchmark.conformance.of_metrics.scenes import noise
from camfaith.benchmark.conformance.trials import Trial, set_generators
from camfaith.metrics import Maps
from camfaith.models.leaks import Watch, alike, copies_of


class Overheard:
    """Stands in for a metric, and listens while it judges; subclasses say to what."""

    def __init__(self, metric: Any) -> None:
        self._metric = metric

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._metric, name)
        return partial(self.hear, found) if name in ("judge", "judge_all") else found

    def hear(self, judge: Callable[..., Any], *given: Any) -> Any:
        raise NotImplementedError


class _Written(Overheard):
    """Tells what `judge` writes into."""

    def hear(self, judge: Callable[..., Any], *given: Any) -> Any:
        before = {name: value.clone() for name, value in _tensors(given).items()}
        found = judge(*given)
        for name, value in _tensors(given).items():
            if name in before and not alike(value, before[name]):
                raise Broken(f"judge writes into {name}")
        return found


_ASPECTS = ("signed", "saliency", "ranks", "cells", "displayed", "ties")


def _tensors(given: tuple[Any, ...]) -> dict[str, Tensor]:
    """All tensors in what judge is given, by name."""
    every = zip(("case", "maps", "answers"), given, strict=True)
    return {told: tensor for name, value in every for told, tensor in _held(name, value)}


def _held(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Mapping):
        for place, part in enumerate(value.values()):
            yield from _held(f"{name}[{place}]", part)
    elif is_dataclass(value):
        for part in (*(each.name for each in fields(value)), *(_ASPECTS if isinstance(value, Maps) else ())):
            if isinstance(tensor := getattr(value, part), Tensor):
                yield f"{name}.{part}", tensor


def inputs_untouched(candidate: Candidate, trial: Trial) -> None:
    """The metric writes into nothing that it is given: images, maps, masks, answers."""
    scene = noise(trial)
    before = scene.each(torch.clone)
    candidate.judged(scene, _Written(candidate.make()))
    for name, value in before.tensors.items():
        if not alike(scene.tensors[name], value):
            raise Broken(f"the caller's {name} are changed")


def network_untouched(candidate: Candidate, trial: Trial) -> None:
    """The network's weights, modes, hooks and gradients are as they were, and PyTorch's settings too; one in training
    mode is judged in evaluation mode."""
    scene = noise(trial)
    scene.network.train()
    scene.network.get_submodule("conv1").eval()
    weight = next(scene.network.parameters()).requires_grad_(False)
    weight.grad = torch.ones_like(weight)
    before = Watch(scene.network, copies_of(scene.network))
    found = candidate.judged(scene)
    require_none(before, "network", "mode", "gradients", "hooks", "process")
    must_equal(found, candidate.judged(noise(trial)), "in training and in evaluation mode")


def random_state(candidate: Candidate, trial: Trial) -> None:
    """The global generators of torch, numpy and Python are left alone."""
    scene = noise(trial)
    set_generators(7)
    before = Watch(scene.network)
    candidate.judged(scene)
    require_none(before, "generators")
