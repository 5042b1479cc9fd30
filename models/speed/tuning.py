"""Finding by measuring how a network runs fastest on this machine."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from camfaith.models.capture import inferring
from camfaith.models.classifier import Classifier
from camfaith.models.speed.batches import halving, out_of_memory
from camfaith.models.speed.setup import SHORTCUTS, Setup, Shortcut, arranged, exact_arithmetic, threads_of

BATCHES = (16, 32, 64, 128, 256, 512)
_WORTH = 1.03  # a choice must be so much faster to be taken: anything less is noise
_WORTH_A_THREAD = 1.1  # fewer threads move last digits, so they must gain more
_LONG = 0.25  # seconds; a batch that takes longer gains nothing by growing


@exact_arithmetic()
def tune(classifier: Classifier, image: Tensor, allow: Sequence[Shortcut] = ()) -> Setup:
    """The fastest setup for images like this one (1×3×H×W), found in a few seconds at most.

    It chooses the layout first, then the smallest batch within 3 % of the fastest, then fewer threads where they are
    10 % faster (small networks, a busy machine), then fusing and each allowed shortcut that is at least 3 % faster.
    """
    best = _first(classifier, image)
    best = _better(best, classifier, image, replace(best, channels_last=False, rate=0.0))
    best = _best_batch(best, classifier, image)
    best = _fewer_threads(best, classifier, image)
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
    """Measures both again, longer and in turns: the gain is little more than the noise of one short measurement."""
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


def _fewer_threads(best: Setup, classifier: Classifier, image: Tensor) -> Setup:
    """Half the threads, and half again, as long as that gains."""
    count = torch.get_num_threads() if classifier.device.type == "cpu" else 1
    while count > 1:
        count //= 2
        found = _better(best, classifier, image, replace(best, threads=count), _WORTH_A_THREAD)
        if found is best:
            break
        best = found
    return best


def _better(best: Setup, classifier: Classifier, image: Tensor, other: Setup, worth: float = _WORTH) -> Setup:
    try:
        found = rate(classifier, image, other)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        return best
    return replace(other, rate=found) if found > worth * best.rate else best


def rate(classifier: Classifier, image: Tensor, setup: Setup, seconds: float = 0.15) -> float:
    """Images per second through the network: the best of several warm batches."""
    images = _batch(image, setup)
    with inferring(classifier.network), threads_of(setup), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = arranged(classifier, setup)
        return setup.batch_size / fastest(lambda: forward(images), images.device, seconds)


def _batch(image: Tensor, setup: Setup) -> Tensor:
    return image.expand(setup.batch_size, -1, -1, -1).contiguous(memory_format=setup.memory_format)


def fastest(work: Callable[[], object], device: torch.device, seconds: float = 0.15) -> float:
    """The seconds of the shortest of several runs, after one that warms up."""
    work()
    times: list[float] = []
    while len(times) < 2 or sum(times) < seconds:
        wait_for(device)
        began = time.perf_counter()
        work()
        wait_for(device)
        times.append(time.perf_counter() - began)
    return min(times)


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
