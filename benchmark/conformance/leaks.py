"""What a call must leave as it found it: images, network, random numbers, memory. Each check raises `Broken` if a
method does not."""

from __future__ import annotations

import gc
import random
import sys
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.candidate import Broken, Candidate, Trial, must_agree, set_generators
from camfaith.benchmark.conformance.contract import EQUAL
from camfaith.models import Evidence
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
    parameters = dict(network.named_parameters())
    next(iter(parameters.values())).requires_grad_(False)
    bias = network.get_parameter("head.bias")
    bias.grad = torch.ones_like(bias)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    flags = {name: parameter.requires_grad for name, parameter in parameters.items()}
    grads = {name: _copy(parameter.grad) for name, parameter in parameters.items()}
    modules, settings = list(network.modules()), _settings(network)
    bound.maps(trial.images(), trial.targets)
    if [id(module) for module in network.modules()] != [id(module) for module in modules]:
        raise Broken("a submodule was exchanged")
    found = _settings(network)
    for place in (*settings, *found):
        was, now = settings.get(place, "not there"), found.get(place, "not there")
        if was is not now and was != now:
            raise Broken(f"{place[1]} of {place[0] or 'the network'} was {was} and is {now}")
    for name, value in network.state_dict().items():
        if not torch.equal(value, state[name]):
            raise Broken(f"{name} was changed")
    for name, parameter in parameters.items():
        if parameter.requires_grad != flags[name]:
            raise Broken(f"requires_grad of {name} was {flags[name]} and is {parameter.requires_grad}")
        if not _same(parameter.grad, grads[name]):
            raise Broken(f".grad of {name} was changed")


def training_mode(candidate: Candidate, trial: Trial) -> None:
    """For a network in training mode, maps are those of evaluation mode, and modes and statistics stay as they were."""
    bound = candidate.on_ground(trial)
    network, images = bound.classifier.network, trial.images()
    expected = bound.maps(images, trial.targets)
    network.train()
    network.get_submodule("conv1").eval()
    modes = {name: module.training for name, module in network.named_modules()}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    found = bound.maps(images, trial.targets)
    for name, module in network.named_modules():
        if module.training != modes[name]:
            raise Broken(f"{name or 'the network'} was in {_mode(modes[name])} mode and is in {_mode(module.training)}")
    for name, value in network.named_buffers():
        if not torch.equal(value, buffers[name]):
            raise Broken(f"{name} was updated")
    must_agree(found, expected, EQUAL, "in training and in evaluation mode")


def hooks(candidate: Candidate, trial: Trial) -> None:
    """The network has the hooks that it had, and no others."""
    bound = candidate.on_ground(trial)
    network = bound.classifier.network
    network.get_submodule("conv1").register_forward_hook(lambda *_: None)
    before = _hooks_of(network)
    bound.maps(trial.images(), trial.targets)
    if changed := sorted(set(before.items()) ^ set(_hooks_of(network).items())):
        (name, kind), _ = changed[0]
        raise Broken(f"{kind[1:]} of {name or 'the network'} are others than before")


def random_state(candidate: Candidate, trial: Trial) -> None:
    """The global generators of torch, numpy and Python are left alone."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    bound.explain(evidence)
    set_generators(7)
    before = _generators()
    bound.explainer.explain(evidence, bound.classifier)
    for name, state in _generators().items():
        if state != before[name]:
            raise Broken(f"{name}'s global generator was used or set")


def process_untouched(candidate: Candidate, trial: Trial) -> None:
    """PyTorch's grad mode, defaults, deterministic algorithms, and switches of cuDNN and TF32 are left alone."""
    bound = candidate.on_ground(trial)
    evidence = bound.evidence(trial.images(), trial.targets)
    before = _process()
    bound.explain(evidence)
    for name, value in _process().items():
        if value != before[name]:
            raise Broken(f"{name} was {before[name]} and is {value}")


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


def _mode(training: bool) -> str:
    return "training" if training else "evaluation"


def _tensors(evidence: Evidence) -> dict[str, Tensor]:
    found = {"masks": evidence.masks} if evidence.masks is not None else {}
    found |= {name: getattr(evidence, name) for name in ("images", "targets", "logits", "seeds")}
    for kind in ("activations", "gradients"):
        found |= {f"{kind} of {layer}": value for layer, value in getattr(evidence, kind).items()}
    return found


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.clone()


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is other if one is None or other is None else torch.equal(one, other)


def _settings(network: nn.Module) -> dict[tuple[str, str], Any]:
    """What a module's constructor, or anybody else, set on it: `inplace`, `p`, a `forward` of its own."""
    return {
        (name, attribute): value
        for name, module in network.named_modules()
        for attribute, value in vars(module).items()
        if not attribute.startswith("_") and attribute != "training" and not isinstance(value, Tensor)
    }


_KINDS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def _hooks_of(network: nn.Module) -> dict[tuple[str, str], tuple[int, ...]]:
    found = {(name, kind): tuple(getattr(m, kind)) for name, m in network.named_modules() for kind in _KINDS}
    return found | {
        (name, kind): tuple(getattr(parameter, kind) or ())
        for name, parameter in network.named_parameters()
        for kind in ("_backward_hooks", "_post_accumulate_grad_hooks")
    }


def _generators() -> dict[str, Any]:
    numpys = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in numpys],
        "Python": random.getstate(),
    }


def _process() -> dict[str, Any]:
    kernels = torch.backends.cudnn
    return {
        "torch.is_grad_enabled()": torch.is_grad_enabled(),
        "torch.get_default_dtype()": torch.get_default_dtype(),
        "torch.get_default_device()": torch.get_default_device(),
        "torch.are_deterministic_algorithms_enabled()": torch.are_deterministic_algorithms_enabled(),
        "torch.get_num_threads()": torch.get_num_threads(),
        "torch.backends.cudnn.deterministic": kernels.deterministic,
        "torch.backends.cudnn.benchmark": kernels.benchmark,
        "torch.backends.cudnn.allow_tf32": kernels.allow_tf32,
        "torch.backends.cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
    }
