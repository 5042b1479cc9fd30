"""How images are sent through a network: layout, batch and arithmetic, and the shortcuts that a user allows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from camfaith.models.capture import evaluating
from camfaith.models.classifier import Classifier
from camfaith.models.settings import Count
from camfaith.models.speed.folding import folded, with_relus_folded
from camfaith.models.speed.shortcuts import SHORTCUTS as SHORTCUTS
from camfaith.models.speed.shortcuts import Shortcut as Shortcut
from camfaith.models.walk import every_module

_SPREAD = 80  # weights a pixel: ResNets gain 4 % at 110 (2 images of 224 px), 15 at 56, and lose 20 at 85 (32 of 64 px)


@dataclass(frozen=True)
class Setup:
    """How the engine sends images through a network; `rate` is in images per second as measured, 0 where it was not.

    With `fused`, each convolution and the ReLU behind it run in one step. `threads` is how many the processor gives to
    it, 0 for all that the process has. `refused` says why a shortcut that was allowed is not taken.
    """

    batch_size: Count = 64
    channels_last: bool = True
    shortcuts: tuple[Shortcut, ...] = ()
    rate: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    fused: bool = False
    threads: int = 0

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def arranged(classifier: Classifier, setup: Setup) -> Callable[[Tensor], Tensor]:
    """The classifier's forward under a setup; the classifier itself stays as it is."""
    if not setup.fused and not setup.shortcuts:
        return classifier
    twin = copy.copy(classifier)
    twin._modules = dict(classifier._modules)
    with evaluating(classifier.network):
        if "fold" in setup.shortcuts:
            twin.network = folded(classifier.network)
        elif setup.fused and "compile" not in setup.shortcuts:  # the compiler fuses by itself
            twin.network = with_relus_folded(classifier.network)
        if "compile" in setup.shortcuts:
            setattr(twin, "network", torch.compile(twin.network))  # noqa: B010

    def forward(images: Tensor) -> Tensor:
        rows = len(images)
        if "compile" in setup.shortcuts and rows < setup.batch_size:  # full batches only: one compilation
            images = torch.cat([images, images[:1].expand(setup.batch_size - rows, -1, -1, -1)])
        with _precision(setup.shortcuts, images.device):
            logits: Tensor = twin(images)
        return logits[:rows]

    return forward


def thread_count(setup: Setup) -> int:
    """The threads that a setup takes in this process, which may have fewer."""
    own = torch.get_num_threads()
    return min(setup.threads or own, own)


@contextmanager
def threads_of(setup: Setup) -> Iterator[None]:
    """Computes with the setup's threads in the block; the process has as many as before afterwards."""
    before = torch.get_num_threads()
    if thread_count(setup) == before:
        yield
        return
    try:
        torch.set_num_threads(thread_count(setup))
        yield
    finally:
        torch.set_num_threads(before)


_measured: ContextVar[Setup | None] = ContextVar("measured", default=None)


@contextmanager
def going_by(setup: Setup) -> Iterator[None]:
    """Methods that score images of their own do so in this setup's batches and layout, in the block.

    Without its shortcuts, and not fused: maps stay exact, and a traced twin of the network would hide its calls.
    """
    token = _measured.set(setup)
    try:
        yield
    finally:
        _measured.reset(token)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """On a CUDA device, convolutions and products run in full single precision, and a backward repeats bit for bit.

    By default torch computes convolutions in TF32, with cuDNN's fastest kernels, which add in any order. An allowed
    shortcut overrides this inside; all flags come back.
    """
    kernels, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = kernels.allow_tf32, products.allow_tf32, kernels.deterministic, kernels.benchmark
    try:
        kernels.allow_tf32, products.allow_tf32, kernels.deterministic, kernels.benchmark = False, False, True, False
        yield
    finally:
        kernels.allow_tf32, products.allow_tf32, kernels.deterministic, kernels.benchmark = before


@contextmanager
def _precision(shortcuts: Sequence[Shortcut], device: torch.device) -> Iterator[None]:
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    cast: Any = torch.autocast(device.type, torch.bfloat16) if "bf16" in shortcuts else nullcontext()
    try:
        if "tf32" in shortcuts:
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        with cast:
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution


def laid_out(network: nn.Module, images: Tensor) -> Tensor:
    """`images` in the layout that suits one call of a network: the measured one (`going_by`), else one that is chosen
    from the shapes alone.

    Channels last makes convolutions on a CPU up to twice as fast, but each call must lay out the weights of every
    kernel larger than 1×1 anew. It is taken where these weights are few beside the pixels of the batch; otherwise, and
    on other devices, the images stay as they are.
    """
    if setup := _measured.get():
        return images.contiguous(memory_format=setup.memory_format)
    if images.device.type != "cpu":
        return images
    kernels = (m.weight for m in every_module(network) if isinstance(m, nn.Conv2d) and m.kernel_size != (1, 1))
    if sum(weight.numel() for weight in kernels) > _SPREAD * images[:, 0].numel():
        return images
    return images.contiguous(memory_format=torch.channels_last)


def batch_size(images: Tensor) -> int:
    """How many altered images like these to send through the network at once, without measuring.

    Enough to keep an accelerator busy. On a CPU as many as its caches hold, and more of small images, for which laying
    out the weights would otherwise take most of the time.
    """
    if images.device.type != "cpu":
        return 64
    return 16 if images.shape[-2] * images.shape[-1] > 10_000 else 32


def scoring_batch(images: Tensor) -> int:
    """The batch for scores alone, without gradients: the measured one (`going_by`), else `batch_size`."""
    setup = _measured.get()
    return setup.batch_size if setup else batch_size(images)
