"""What a call must leave as it found it: images, network, random numbers, memory. Each check raises `Broken` if a
method does not."""

from __future__ import annotations

import gc
import sys
from collections import OrderedDict, deque
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.examination import Broken, require_none
from camfaith.benchmark.conformance.of_methods.candidate import Candidate, must_agree
from camfaith.benchmark.conformance.of_methods.contract import EQUAL
from camfaith.benchmark.conformance.trials import Trial, set_generators
from camfaith.models import Evidence
from camfaith.models.leaks import Watch, copies_of
from camfaith.models.speed.counting import counting


def images_untouched(candidate: Candidate, trial: Trial) -> None:
    """The method writes nothing into the evidence: images, activations, gradients, logits, targets, seeds, masks."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    kept = _tensors(evidence.copy())
    bound.explain(evidence)
    left = _tensors(evidence)
    for name, value in kept.items():
        if name not in left:
            raise Broken(f"the evidence's {name} were taken away")
        if not torch.equal(left[name], value):
            raise Broken(f"the evidence's {name} were changed")


def network_untouched(candidate: Candidate, trial: Trial) -> None:
    """Parameters, buffers, requires_grad flags, .grad, submodules and attributes of the network are as they were."""
    bound = candidate.on_ground(trial)
    network = bound.classifier.network
    next(network.parameters()).requires_grad_(False)
    bias = network.get_parameter("head.bias")
    bias.grad = torch.ones_like(bias)
    before = Watch(network, copies_of(network))
    bound.maps(trial.images(), trial.targets)
    require_none(before, "network", "gradients")


def training_mode(candidate: Candidate, trial: Trial) -> None:
    """For a network in training mode, maps are those of evaluation mode, and modes and statistics stay as they were."""
    bound = candidate.on_ground(trial)
    network, images = bound.classifier.network, trial.images()
    expected = bound.maps(images, trial.targets)
    network.train()
    network.get_submodule("conv1").eval()
    before = Watch(network, copies_of(network))
    found = bound.maps(images, trial.targets)
    require_none(before, "mode", "network")
    must_agree(found, expected, EQUAL, "in training and in evaluation mode")


def hooks(candidate: Candidate, trial: Trial) -> None:
    """The network has the hooks that it had, and no others."""
    bound = candidate.on_ground(trial)
    network = bound.classifier.network
    network.get_submodule("conv1").register_forward_hook(lambda *_: None)
    before = Watch(network)
    bound.maps(trial.images(), trial.targets)
    require_none(before, "hooks")


def random_state(candidate: Candidate, trial: Trial) -> None:
    """The global generators of torch, numpy and Python are left alone."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    bound.explain(evidence)
    set_generators(7)
    before = Watch(bound.classifier.network)
    bound.explainer.explain(evidence, bound.classifier)
    require_none(before, "generators")


def process_untouched(candidate: Candidate, trial: Trial) -> None:
    """PyTorch's grad mode, autocast, defaults, deterministic algorithms, and switches of cuDNN and TF32 are left
    alone."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    before = Watch(bound.classifier.network)
    bound.explain(evidence)
    require_none(before, "process")


def memory(candidate: Candidate, trial: Trial) -> None:
    """The numbers of objects and bytes do not grow over 180 calls (fewer, if a call needs many forwards), each with
    other evidence."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    with counting(bound.classifier.network) as tally:
        bound.explain(evidence)
    rounds = max(4, min(60, 600 // max(tally.forwards, 1)))
    marks = []
    for mark in range(3):
        for call in range(rounds):
            bound.explain(_shifted(evidence, 1e-6 * (mark * rounds + call)))
        gc.collect()
        marks.append(_held())
    # What is made only once does not grow again.
    objects, size = (min(second - first, third - second) / rounds for first, second, third in zip(*marks, strict=True))
    if objects > 0.5:
        raise Broken(f"{objects:.1f} objects stay behind after each call")
    if size > 0.5:
        raise Broken(f"{size:.0f} bytes more are held after each call")


def _shifted(evidence: Evidence, by: float) -> Evidence:
    """Other evidence, for a slightly changed image."""
    activations = {layer: value + by for layer, value in evidence.activations.items()}
    return replace(evidence, images=evidence.images + by, activations=activations)


_SIZED = {bytes, bytearray, str, int, np.ndarray}
"""Kinds of objects that hold memory and that Python's collector does not know."""


def _held() -> tuple[int, int]:
    """The number of objects: those that the collector knows, and those in its containers. And the number of bytes in
    tensors, arrays, bytes, texts and numbers. Both are exact: a method that keeps nothing adds none."""
    objects = [o for o in gc.get_objects() if type(o) is not torch.UntypedStorage]  # which looking makes
    count = len(objects) + sum(len(o) for o in objects if type(o) in (list, dict, OrderedDict, set, deque))
    sizes = {id(o): sys.getsizeof(o) for o in gc.get_referents(*objects) if type(o) in _SIZED}
    dense = [o for o in objects if type(o) in (Tensor, nn.Parameter) and o.layout is torch.strided]
    storages = [tensor.untyped_storage() for tensor in dense]
    tensors = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return count, sum(sizes.values()) + sum(tensors.values())


def _tensors(evidence: Evidence) -> dict[str, Tensor]:
    found = {"masks": evidence.masks} if evidence.masks is not None else {}
    found |= {name: getattr(evidence, name) for name in ("images", "targets", "logits", "seeds")}
    for kind in ("activations", "gradients"):
        found |= {f"{kind} of {layer}": value for layer, value in getattr(evidence, kind).items()}
    return found
