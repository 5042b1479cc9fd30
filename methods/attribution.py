"""What attributions of pixels, most of them captum's, share in this package: raw B×h×w maps, colours summed."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method
from camfaith.models.capture import Evidence, evaluating, single
from camfaith.models.classifier import Classifier
from camfaith.models.walk import require_float

TOGETHER = 64
"""Images that an attribution with many calls sends forward and back at once."""


def captum() -> Any:
    """Imported only when one of its attributions is asked for: the import takes half a second."""
    import captum.attr

    return captum.attr


@contextmanager
def _out_of_place(network: nn.Module) -> Iterator[None]:
    """Inside, in-place activations work on copies: they would write over what captum's hooks hold."""
    python = (module for module in network.modules() if not isinstance(module, torch.jit.ScriptModule))
    changed = [module for module in python if getattr(module, "inplace", False) is True]
    try:
        for module in changed:
            module.inplace = False  # type: ignore[assignment]
        yield
    finally:
        for module in changed:
            module.inplace = True  # type: ignore[assignment]


@contextmanager
def copied_to(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Captum changes the whole gradient of a module's input. A copy for the module alone leaves what flows past it, as
    in a residual branch, as it is, and the module before sees what this one made of the gradient."""

    def copies(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.clone() if isinstance(value, Tensor) else value for value in inputs)

    handles = [module.register_forward_pre_hook(copies) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Captum draws from the global generators of torch and numpy: inside, they start at `seed`; afterwards they are as
    they were."""
    before = np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def noise_baselines(image: Tensor, count: int, seed: int) -> Tensor:
    """Black and `count` − 1 images of noise, uniform in [0, 1] for every pixel and colour: count×3×H×W."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(count - 1, *image.shape, generator=source)
    return torch.cat([torch.zeros_like(image)[None], noise.to(image)])


class Attribution(Method):
    """One value for every pixel and colour; a new attribution overrides `attribute` and `cost`."""

    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    of_pixels: ClassVar[bool] = True

    def attribute(self, evidence: Evidence, classifier: Classifier, images: Tensor) -> Tensor:
        """The values at `images` (which ask for gradients), B×K×h×w.

        `images` are the evidence's own, or noisy copies of them. All random draws come from `evidence.seeds`.
        """
        raise NotImplementedError

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=1, backwards=1)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        if self.cost(evidence.images[:1]).backwards:
            require_float(classifier.network)
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            evaluating(classifier.network),
            _out_of_place(classifier.network),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message=".*(backward hook|required_grads|Setting).*")
            images = evidence.images.clone().requires_grad_()
            found = self.attribute(evidence, classifier, images).detach()
            return self.combine(found.to(single(images).dtype))  # captum may return single precision for double

    def combine(self, attributions: Tensor) -> Tensor:
        """One value per pixel from one per colour: the sum, which keeps completeness."""
        return attributions.sum(1)
