"""How a network runs fastest on this machine, found by measuring: layout and batch, and what a user allows besides."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from camfaith.models.capture import evaluating, inferring
from camfaith.models.classifier import Classifier
from camfaith.models.speed.batches import halving, out_of_memory
from camfaith.models.speed.folding import folded, with_relus_folded
from camfaith.models.walk import every_module

Shortcut = Literal["fold", "tf32", "bf16", "compile"]
"""What may change numbers: batch norms and ReLUs folded into the convolutions before them, less precise arithmetic, and
code that a compiler fused."""
SHORTCUTS: tuple[Shortcut, ...] = get_args(Shortcut)
BATCHES = (16, 32, 64, 128, 256, 512)
_WORTH = 1.03  # a choice must be so much faster to be taken: anything less is noise
_LONG = 0.25  # seconds; a batch that takes longer gains nothing by growing
_SPREAD = 80  # weights a pixel: ResNets gain 4 % at 110 (2 images of 224 px), 15 at 56, and lose 20 at 85 (32 of 64 px)


@dataclass(frozen=True)
class Setup:
    """How the engine sends images through a network; `rate` in images per second as measured, 0 where it was not.

    `fused`: convolutions and the ReLUs behind them run in one step. `refused` says why a shortcut that was allowed is
    not taken.
    """

    batch_size: int = 64
    channels_last: bool = True
    shortcuts: tuple[Shortcut, ...] = ()
    rate: float = 0.0
    refused: dict[str, str] = field(default_factory=dict)
    fused: bool = False

    @property
    def memory_format(self) -> torch.memory_format:
        return torch.channels_last if self.channels_last else torch.contiguous_format


def arranged(classifier: Classifier, setup: Setup) -> Callable[[Tensor], Tensor]:
    """The classifier's forward as a setup has it; the classifier itself stays as it is."""
    if not setup.fused and not setup.shortcuts:
        return classifier
    twin = copy.copy(classifier)
    twin._modules = dict(classifier._modules)
    with evaluating(classifier.network):
        if "fold" in setup.shortcuts:
            twin.network = folded(classifier.network)
        elif setup.fused and "compile" not in setup.shortcuts:  # which fuses by itself
            twin.network = with_relus_folded(classifier.network)
        if "compile" in setup.shortcuts:
            setattr(twin, "network", torch.compile(twin.network))  # noqa: B010

    def forward(images: Tensor) -> Tensor:
        rows = len(images)
        if "compile" in setup.shortcuts and rows < setup.batch_size:  # one shape, compiled once
            images = torch.cat([images, images[:1].expand(setup.batch_size - rows, -1, -1, -1)])
        with _precision(setup.shortcuts, images.device):
            logits: Tensor = twin(images)
        return logits[:rows]

    return forward


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
    """On a CUDA device: convolutions and products in full single precision, whose backward gives the same each time.

    torch's own defaults are TF32 for convolutions, and cuDNN's fastest kernels, which add in any order. A shortcut that
    is allowed goes before it; all flags come back.
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
    """`images` in the layout that suits one call of a network: as was measured (`going_by`), else the same for the same
    shapes.

    Channels last makes convolutions on a CPU up to twice as fast, but wants the weights of every kernel larger than
    1×1 laid out anew in each call. It is taken where these are few beside the pixels of the batch; else, and on other
    devices, the images stay as they are.
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
    """Altered images like these that go through the network at once, without measuring: enough to keep an accelerator
    busy; on a CPU what its caches hold, and more where small images would leave most of the time to laying out weights.
    """
    if images.device.type != "cpu":
        return 64
    return 16 if images.shape[-2] * images.shape[-1] > 10_000 else 32


def scoring_batch(images: Tensor) -> int:
    """The batch for scores alone, without gradients: as was measured (`going_by`), else `batch_size`."""
    setup = _measured.get()
    return setup.batch_size if setup else batch_size(images)


@exact_arithmetic()
def tune(classifier: Classifier, image: Tensor, allow: Sequence[Shortcut] = ()) -> Setup:
    """The fastest setup for images like this one (1×3×H×W), by a few seconds of measuring at most.

    The layout first, then the smallest batch within 3 % of the fastest, then fusing and each allowed shortcut that gain
    as much.
    """
    best = _first(classifier, image)
    best = _better(best, classifier, image, replace(best, channels_last=False, rate=0.0))
    best = _best_batch(best, classifier, image)
    if _same_when_fused(best, classifier, image):
        best = _fused(best, classifier, image)
    for shortcut in (s for s in SHORTCUTS if s in allow):
        best = _with(shortcut, best, classifier, image)
    return best


def _first(classifier: Classifier, image: Tensor) -> Setup:
    """The smallest batch of `BATCHES`, or as much of it as the memory holds."""
    return halving(BATCHES[0], lambda size: Setup(size, rate=rate(classifier, image, Setup(size))))


def can_be_fused(classifier: Classifier) -> bool:
    """Whether the network can be traced."""
    try:
        arranged(classifier, Setup(fused=True))
    except Exception:  # tracing raises whatever it likes
        return False
    return True


def _same_when_fused(best: Setup, classifier: Classifier, image: Tensor) -> bool:
    """Whether the network can be fused, and then gives the same logits to the last bit."""
    if not can_be_fused(classifier):
        return False
    images = _batch(image, best)
    with inferring(classifier.network):
        return torch.equal(arranged(classifier, replace(best, fused=True))(images), classifier(images))


def _fused(best: Setup, classifier: Classifier, image: Tensor) -> Setup:
    """Both measured again, in turns and longer: what is gained is little more than the noise of one short look."""
    found = replace(best, fused=True)
    pairs = [(rate(classifier, image, best), rate(classifier, image, found)) for _ in range(3)]
    plain, fused = (max(rates) for rates in zip(*pairs, strict=True))
    return replace(found, rate=fused) if fused > _WORTH * plain else replace(best, rate=plain)


def _with(shortcut: Shortcut, best: Setup, classifier: Classifier, image: Tensor) -> Setup:
    why = _refusal(shortcut, classifier)
    if not why:
        try:
            found = _better(best, classifier, image, replace(best, shortcuts=(*best.shortcuts, shortcut)))
        except Exception as error:  # tracing and compiling raise whatever they like
            why = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            if found is not best:
                return found
            why = "not faster here"
    return replace(best, refused=best.refused | {shortcut: why})


def _refusal(shortcut: Shortcut, classifier: Classifier) -> str:
    if shortcut == "tf32" and classifier.device.type != "cuda":
        return "only on a CUDA device"
    if shortcut == "fold" and not any(isinstance(m, nn.Conv2d) for m in classifier.network.modules()):
        return "the network has no convolution"
    return ""


def _best_batch(best: Setup, classifier: Classifier, image: Tensor) -> Setup:
    found = [best]
    for size in BATCHES[1:]:
        if best.batch_size < BATCHES[0] or size / max(setup.rate for setup in found) > _LONG:
            break
        tried = replace(best, batch_size=size)
        try:
            found.append(replace(tried, rate=rate(classifier, image, tried)))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            break
    top = max(setup.rate for setup in found)
    return next(setup for setup in found if setup.rate * _WORTH >= top)


def _better(best: Setup, classifier: Classifier, image: Tensor, other: Setup) -> Setup:
    try:
        found = rate(classifier, image, other)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return best
    return replace(other, rate=found) if found > _WORTH * best.rate else best


def rate(classifier: Classifier, image: Tensor, setup: Setup, seconds: float = 0.15) -> float:
    """Images per second through the network, the best of several warm batches."""
    images = _batch(image, setup)
    with inferring(classifier.network), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = arranged(classifier, setup)
        return setup.batch_size / fastest(lambda: forward(images), images.device, seconds)


def _batch(image: Tensor, setup: Setup) -> Tensor:
    return image.expand(setup.batch_size, -1, -1, -1).contiguous(memory_format=setup.memory_format)


def fastest(work: Callable[[], object], device: torch.device, seconds: float = 0.15) -> float:
    """The shortest of several runs after one that warms up, in seconds."""
    work()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
