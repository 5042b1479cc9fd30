"""Other libraries' methods, unchanged: `pgc:Class` (grad-cam), `torchcam:Class` and `zennit:Composite`."""

from __future__ import annotations

import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import cache
from importlib import import_module
from importlib.metadata import version
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.methods.composites import Composite
from camfaith.models.capture import Evidence, grid_of
from camfaith.models.classifier import Classifier
from camfaith.models.errors import NotApplicable
from camfaith.models.lookup import UnknownName
from camfaith.models.naming import find_module
from camfaith.models.speed.counting import counting
from camfaith.models.tokens import Grid, GridFinder, watched
from camfaith.models.walk import in_python


class Adapted(Method):
    """Another library's method, made anew for each batch and called as its user calls it: with the network itself,
    normalised images and one class for each.

    The map is what that user gets, B×h×w or B×H×W: rectified and stretched to [0, 1] by the library, in its precision,
    with its defects. What the library does to training mode, `.grad` and the global generators stays too; its prints,
    warnings, hooks and exchanged modules do not. `options` go to its constructor.

    If a layer gives tokens, or channels last, the library is told so (`reshape_transform`). If a network returns more
    than logits, the library sees only the logits. Raises `NotApplicable` if the library cannot be told, refuses the
    network or the layer, or gives no B×h×w.
    """

    needs_gradients: ClassVar[bool] = False
    displayed: ClassVar[bool] = True
    package: ClassVar[str]
    module: ClassVar[str]
    takes: ClassVar[str]
    """The constructor's parameter for the target layer. It tells methods from the library's other classes."""
    class_free: ClassVar[frozenset[str]] = frozenset()
    theirs: ClassVar[Any]

    def __init__(self, model: nn.Module, target_layer: TargetLayer = None, **options: Any) -> None:
        super().__init__(model, target_layer)
        taken = inspect.signature(self.theirs)
        try:
            taken.bind(None, None, **options)
        except TypeError as error:  # here, and not for every image
            settings = ", ".join(list(taken.parameters)[2:])
            raise TypeError(f"{self.name}: {error}; its settings are {settings}") from None
        self.options = options
        self._costs: dict[tuple[int, ...], Calls] = {}

    @classmethod
    def methods_in(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """The methods in the library's module."""
        return {name: kind for name, kind in content.items() if inspect.isclass(kind) and _explains(kind, cls.takes)}

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int], cells: Cells) -> Tensor:
        """The library's maps of images as the network takes them."""
        raise NotImplementedError

    def made(self, network: nn.Module, layer: Any, cells: Cells) -> Any:
        """The library's object; `NotApplicable` if it refuses the network or the layer."""
        options = {"reshape_transform": cells, **self.options} if reshapes(self.theirs) else self.options
        try:
            return self.theirs(network, layer, **options)
        except (TypeError, ValueError) as error:
            raise NotApplicable(
                f"{self.name} refuses layer {self.layer!r} of {type(network).__name__}: {error}"
            ) from error

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        network, images = classifier.network, classifier.normalised(evidence.images).contiguous()
        with _quiet(), _kept(network), in_python(network), watched(network) as finder:
            cells = Cells(self.named_layer, finder, self._require_readable)
            find_module(network, self.named_layer).register_forward_hook(cells.note)
            network.register_forward_hook(lambda _module, _inputs, result: classifier.read(result))
            found = self.ask(network, images, evidence.targets.tolist(), cells)
        if found.ndim != 3 or len(found) != len(images):
            shape = "×".join(map(str, found.shape))
            raise NotApplicable(
                f"{self.name} gives shape {shape} for {len(images)} images at layer {self.layer!r}, expected one map "
                "h×w for each; name another layer"
            )
        return found.to(images.device)

    def _require_readable(self, grid: Grid) -> None:
        """Raises `NotApplicable` if the library would take a layer's cells for something else."""
        takes = inspect.signature(self.theirs).parameters
        if grid.form == "B×K×h×w" or "reshape_transform" in self.options or "grid_shape" in takes:
            return
        if not reshapes(self.theirs):
            raise NotApplicable(
                f"{self.name} takes no `reshape_transform`, and layer {self.layer!r} gives {grid.form}; name a layer "
                "that gives B×K×h×w"
            )
        if "ablation_layer" in takes and "ablation_layer" not in self.options:
            raise NotApplicable(
                f"{self.name} ablates channels of B×K×h×w, and layer {self.layer!r} gives {grid.form}; give it the "
                "setting ablation_layer=AblationLayerVit() of pytorch_grad_cam.ablation_layer"
            )

    def cost(self, image: Tensor) -> Calls:
        """Counted on one explanation of `image`, once for each size: only the library knows what it calls. If that
        fails, what was counted until then; the next call counts anew."""
        size = tuple(image.shape[1:])
        if size in self._costs:
            return self._costs[size]
        evidence = self.classifier.evidence(image, gradients=False)
        with counting(self.classifier.network) as tally:
            try:
                self.explain(evidence, self.classifier)
            except Exception:  # explain raises it again when it is called
                return Calls(tally.forwards, tally.backwards)
        self._costs[size] = Calls(tally.forwards, tally.backwards)
        return self._costs[size]


class Cells:
    """Brings a layer's output and its gradients to B×K×h×w: the libraries' `reshape_transform`."""

    def __init__(self, layer: str, finder: GridFinder, require: Callable[[Grid], None]) -> None:
        self.layer, self.finder, self.require = layer, finder, require
        self._grids: dict[tuple[int, ...], Grid] = {}

    def note(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """See an output before the library does."""
        grid = grid_of(self.layer, output, self.finder)
        self.require(grid)
        self._grids[tuple(output.shape[1:])] = grid

    def __call__(self, output: Tensor) -> Tensor:
        grid = self._grids.get(tuple(output.shape[1:])) or self.finder.grid(output)  # FullGrad reads other layers too
        return output if grid is None else grid.of(output)


class PytorchGradCAM(Adapted):
    """grad-cam (`pytorch_grad_cam`): B×H×W, single precision."""

    package = "grad-cam"
    module = "pytorch_grad_cam"
    takes = "target_layers"
    class_free: ClassVar[frozenset[str]] = frozenset({"EigenCAM", "FEM", "KPCA_CAM", "RandomCAM"})

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int], cells: Cells) -> Tensor:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        cam = self.made(network, [find_module(network, self.named_layer)], cells)
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

    def ask(self, network: nn.Module, images: Tensor, targets: Sequence[int], cells: Cells) -> Tensor:
        with self.made(network, self.layer, cells) as extractor:
            found: Tensor = extractor(list(targets), network(images))[0]
        return found.detach()


LIBRARIES: Mapping[str, type[Adapted | Composite]] = {
    "pgc": PytorchGradCAM,
    "torchcam": TorchCAM,
    "zennit": Composite,
}


@cache
def adapted(library: str, name: str) -> type[Method]:
    """The method class for `library:name`.

    Raises `ValueError` if the library is not installed, `UnknownName` with the nearest names if it has no such method.
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
    made: type[Method] = type(name, (adapter,), content)
    return made


def methods_of(library: str) -> dict[str, Any]:
    """The library's own classes by name; `ValueError` if it is not installed."""
    adapter = LIBRARIES[library]
    try:
        with _quiet():
            content = vars(import_module(adapter.module))
    except ModuleNotFoundError as error:
        raise ValueError(
            f"methods named {library}:... need {adapter.package}: pip install 'camfaith[{library}]' ({error})"
        ) from error
    return adapter.methods_in(content)


def installed() -> list[str]:
    """The names of all methods of the installed libraries."""
    found = []
    for library in LIBRARIES:
        with suppress(ValueError):
            found += [f"{library}:{name}" for name in methods_of(library)]
    return found


def missing() -> list[str]:
    """How to install each library that is missing."""
    found = []
    for library in LIBRARIES:
        try:
            methods_of(library)
        except ValueError as error:
            found.append(str(error))
    return found


def _explains(kind: type, takes: str) -> bool:
    """Whether the class takes a layer and computes maps: grad-cam's have a `forward`, torchcam's `compute_cams`."""
    computes = hasattr(kind, "forward") or hasattr(kind, "compute_cams")
    return computes and takes in inspect.signature(kind).parameters


def reshapes(kind: type) -> bool:
    """Whether its constructor, or that of its base class, takes a `reshape_transform`."""
    own = inspect.signature(kind).parameters
    passes = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in own.values())
    known = any("reshape_transform" in inspect.signature(base).parameters for base in kind.__mro__[1:-1])
    return "reshape_transform" in own or (passes and known)


@contextmanager
def _quiet() -> Iterator[None]:
    """Holds back prints, progress bars, warnings and log lines."""
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
    """Gives every module its submodules and hooks back, even if the library failed half way."""
    holders = [getattr(module, name) for module in network.modules() for name in _HELD]
    found = [(held, dict(held)) for held in holders]
    try:
        yield
    finally:
        for held, content in found:
            held.clear()
            held.update(content)
