"""Other libraries' class activation maps as they are, under `pgc:Class` (grad-cam) and `torchcam:Class`."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method
from camfaith.models.capture import Evidence, find_module
from camfaith.models.classifier import Classifier
from camfaith.models.counting import counting
from camfaith.models.errors import NotApplicable
from camfaith.models.lookup import UnknownName


class Adapted(Method):
    """Another library's method, made anew for each batch and asked as its user asks it: the network itself, its images
    normalised, one class an image.

    The map is what that user gets, B×h×w or B×H×W: rectified and stretched to [0, 1] by the library, in its precision,
    with its defects. `options` go to its constructor. What it does to training mode, `.grad` and the global generators
    is left as well; its prints, warnings, hooks and exchanged modules are not.
    """

    needs_layer: ClassVar[bool] = True
    displayed: ClassVar[bool] = True
    """Whether maps come ready to be shown: no ReLU, no sign and no scale is left in them."""
    package: ClassVar[str]
    module: ClassVar[str]
    takes: ClassVar[str]
    """The constructor's parameter for the target layer: by it a method is told from the library's other classes."""
    class_free: ClassVar[frozenset[str]] = frozenset()
    theirs: ClassVar[Any]

    def __init__(self, model: nn.Module, target_layer: str | None = None, **options: Any) -> None:
        super().__init__(model, target_layer)
        self.options = options
        self._costs: dict[tuple[int, ...], Calls] = {}

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int]) -> Tensor:
        """The library's maps of images as the network takes them."""
        raise NotImplementedError

    def made(self, network: nn.Module, layer: Any) -> Any:
        """The library's object; `NotApplicable` where it refuses the network or the layer."""
        try:
            return self.theirs(network, layer, **self.options)
        except ValueError as error:
            raise NotApplicable(f"{self.name} refuses {type(network).__name__}: {error}") from error

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        images = classifier.normalised(evidence.images).contiguous()
        with _quiet(), _kept(classifier.network):
            found = self.ask(classifier.network, images, evidence.targets.tolist())
        return found.to(images.device)

    def cost(self, image: Tensor) -> Calls:
        """Counted on one explanation of `image`, once for each size: only the library knows what it calls."""
        size = tuple(image.shape[1:])
        if size not in self._costs:
            evidence = self.classifier.evidence(image, gradients=False)
            with counting(self.classifier.network) as tally, suppress(Exception):
                self.explain(evidence, self.classifier)
            self._costs[size] = Calls(tally.forwards, tally.backwards)
        return self._costs[size]


class PytorchGradCAM(Adapted):
    """grad-cam (`pytorch_grad_cam`): B×H×W, single precision."""

    package = "grad-cam"
    module = "pytorch_grad_cam"
    takes = "target_layers"
    class_free: ClassVar[frozenset[str]] = frozenset({"EigenCAM", "FEM", "KPCA_CAM", "RandomCAM"})

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int]) -> Tensor:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = self.made(network, [find_module(network, str(self.layer))])
        try:
            if "target_idx" in inspect.signature(cam.forward).parameters:  # FinerCAM: one class for a whole call
                rows = zip(torch.split(images, 1), targets, strict=True)
                return torch.cat([torch.from_numpy(cam(image, target_idx=target)) for image, target in rows])
            return torch.from_numpy(cam(images, [ClassifierOutputTarget(target) for target in targets]))
        finally:
            if hasattr(cam, "__exit__"):
                cam.__exit__(None, None, None)  # a with statement would swallow an IndexError


class TorchCAM(Adapted):
    """torchcam: B×h×w on the layer's grid."""

    package = "torchcam"
    module = "torchcam.methods"
    takes = "target_layer"

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int]) -> Tensor:
        with self.made(network, self.layer) as extractor:
            found: Tensor = extractor(list(targets), network(images))[0]
        return found.detach()


LIBRARIES: Mapping[str, type[Adapted]] = {"pgc": PytorchGradCAM, "torchcam": TorchCAM}


@cache
def adapted(library: str, name: str) -> type[Adapted]:
    """The method class for `library:name`.

    `ValueError` where the library is not installed, `UnknownName` with its nearest names where it has no such method.
    """
    adapter = LIBRARIES[library]
    known = methods_of(library)
    if name not in known:
        raise UnknownName(f"method of {adapter.package}", name, known)
    content = {
        "name": f"{library}:{name}",
        "version": f"{adapter.package} {version(adapter.package)}",
        "class_dependent": name not in adapter.class_free,
        "theirs": known[name],
        "__doc__": f"{name} of {adapter.package}, as it is.",
        "__module__": __name__,
    }
    made: type[Adapted] = type(name, (adapter,), content)
    return made


def methods_of(library: str) -> dict[str, Any]:
    """The library's own classes by name; `ValueError` where it is not installed."""
    adapter = LIBRARIES[library]
    try:
        with _quiet():
            content = vars(import_module(adapter.module))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"methods named {library}:... need {adapter.package}: pip install 'camfaith[{library}]' ({error})"
        ) from error
    return {name: kind for name, kind in content.items() if inspect.isclass(kind) and _explains(kind, adapter.takes)}


def _explains(kind: type, takes: str) -> bool:
    """Whether it is made for a layer and computes maps: grad-cam's have a `forward`, torchcam's `compute_cams`."""
    computes = hasattr(kind, "forward") or hasattr(kind, "compute_cams")
    return computes and takes in inspect.signature(kind).parameters


@contextmanager
def _quiet() -> Iterator[None]:
    """No print, progress bar, warning or log line comes out."""
    level = logging.root.manager.disable
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


_HELD = ("_modules", "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def _kept(network: nn.Module) -> Iterator[None]:
    """Every module holds the submodules and hooks that it held, even where the library broke off half way."""
    holders = [getattr(module, name) for module in network.modules() for name in _HELD]
    found = [(held, dict(held)) for held in holders]
    try:
        yield
    finally:
        for held, content in found:
            held.clear()
            held.update(content)
