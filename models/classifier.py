"""An image classifier: a network with its normalisation, the size of its images and its class names."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import torch
from PIL import Image
from torch import Tensor, nn

from camfaith.models.arrays import Array, tensor_of
from camfaith.models.capture import (
    Evidence,
    NoGradients,
    Recorder,
    ScoreFunction,
    evaluating,
    gradients_at,
    hooked,
    inferring,
    no_cells,
    single,
    target_logit,
)
from camfaith.models.errors import LayerError
from camfaith.models.first_outputs import FirstOutputs
from camfaith.models.functorch import is_wrapped
from camfaith.models.geometry import Geometry
from camfaith.models.heads import Head
from camfaith.models.inputs import other_inputs, several_inputs
from camfaith.models.maps import image_of, require_range
from camfaith.models.outputs import entry, logits_in
from camfaith.models.own_head import OwnHead, head_of
from camfaith.models.pictures import load_picture
from camfaith.models.places import in_place
from camfaith.models.targets import Targets as Targets
from camfaith.models.targets import class_indices
from camfaith.models.walk import is_scripted, why_no_gradient

ScoreKind = Literal["probability", "logit"]


class Classifier(nn.Module):
    """An image classifier that takes RGB images in [0, 1] (B×3×H×W), or grey ones (B×1×H×W), and gives logits (B×C).

    `head` says what the outputs mean: "softmax" (one of C classes), "sigmoid" (C labels), "binary" (a logit z: −z and z
    of two classes), "ordinal" (C − 1 logits of C grades; scores are log-probabilities), "regression" (no probability),
    or a function from them to scores (B×C), itself or as `module:function`. By default the greatest is explained.

    Normalisation with `mean` and `std` happens inside, so that "black", "mean" and "blurred" mean what they say.
    `prepare` brings a picture to the network's size, by `geometry`: `pad` to a square, `resize` the short side or to
    (height, width), a central `crop`. It is made grey where `mean` has one number, or where there is none and the first
    convolution has one channel.
    `layer` is the target layer of methods that name none. If the network returns more than a tensor, `output` is the
    name or index of the logits in it; an entry named `logits` is found without.

    The network in `torch.compile` is unwrapped: compiled code shows no layers. TorchScript shows none either, and can
    be explained by methods that read none.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        class_names: Sequence[str] | None = None,
        resize: int | Sequence[int] | None = None,
        crop: int | Sequence[int] | None = None,
        layer: str | None = None,
        interpolation: Any = "bilinear",
        output: str | int | None = None,
        pad: bool = False,
        head: str | Head | Callable[[Any], Tensor] = "softmax",
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("mean and std go together: give both or neither")
        if mean is not None and std is not None and len(mean) != len(std):
            raise ValueError(f"mean is of length {len(mean)}, std of {len(std)}: give one number for each colour")
        self.network = network = getattr(network, "_orig_mod", network)
        self.name = name or type(network).__name__
        if is_scripted(network):  # which takes no hooks itself
            self.network = nn.Sequential(network).train(getattr(network, "training", False))
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        if isinstance(class_names, str):
            raise ValueError(f"class_names must be a list of names, got {class_names!r}")
        self.class_names = None if class_names is None else tuple(class_names)
        told = Geometry(resize, crop, interpolation, pad)  # type: ignore[arg-type]
        self.resize, self.crop, self.interpolation, self.pad = told.resize, told.crop, told.interpolation, told.pad
        self.layer, self.output, self.head = layer, output, head_of(head)
        self._first_outputs = FirstOutputs()
        self._flattens_by_view = False
        self._planes: dict[Hashable, Tensor] = {}

    @classmethod
    def of(cls, model: nn.Module) -> Self:
        """`model` itself where it is a Classifier; a plain network takes its images as they are."""
        if isinstance(model, cls):
            return model
        if not isinstance(model, nn.Module):
            raise TypeError(f"expected a torch.nn.Module or a Classifier, got {type(model).__name__}")
        return cls(model)

    @property
    def geometry(self) -> Geometry:
        """How `prepare` brings a picture to the network's size."""
        return Geometry(self.resize, self.crop, self.interpolation, self.pad)

    @property
    def colours(self) -> int:
        """How many colours a prepared picture has: 3, or 1 for a network that takes grey."""
        if self.mean is not None:
            return len(self.mean)
        for module in self.network.modules():
            if isinstance(module, nn.Conv2d) or getattr(module, "original_name", "") == "Conv2d":
                return 1 if getattr(module, "in_channels", 3) == 1 else 3
        return 3

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.network.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), torch.float32)

    def forward(self, images: Tensor) -> Tensor:
        given, images = images, self.normalised(images).to(self.dtype)  # captum always draws in single precision
        if images is given:
            images = images.clone()  # the network may write into it
        if self._flattens_by_view:
            images = images.contiguous()
        try:
            result = self.network(images)
        except TypeError as error:
            if others := other_inputs(self.network):
                raise several_inputs(self.name, others) from error
            raise
        except RuntimeError as error:
            if images.is_contiguous() or "view size is not compatible" not in str(error):
                raise
            self._flattens_by_view = True  # which takes contiguous images alone
            result = self.network(images.contiguous())
        return self.read(result)

    def read(self, result: Any) -> Tensor:
        """The scores (B×C) in what the network returned."""
        return self.head.scores(self.outputs(result), self.name)

    def outputs(self, result: Any) -> Any:
        """What the head reads of it: a tensor, or whatever there is for a head of one's own."""
        if isinstance(self.head, OwnHead):
            return entry(result, self.output, self.name)
        return logits_in(result, self.output, self.name)

    def normalised(self, images: Tensor) -> Tensor:
        """(x − mean)/std for each colour: what the network itself takes."""
        if self.mean is None or self.std is None:
            return images
        mean, std = (self._plane(v, images) for v in (self.mean, self.std))
        return (images - mean) / std

    def _plane(self, colour: tuple[float, ...], images: Tensor) -> Tensor:
        """One colour as a whole image in the images' layout: six times as fast to compute with as three numbers."""
        shape = (1, *images.shape[1:])
        last = images.ndim == 4 and images.stride(1) == 1 and not images.is_contiguous()
        layout = torch.channels_last if last else torch.contiguous_format
        key = (colour, shape, layout, images.dtype, images.device)
        if key in self._planes:
            return self._planes[key]
        with torch.inference_mode(False):  # a later call may need it in a graph
            plane = torch.empty(shape, dtype=images.dtype, device=images.device, memory_format=layout)
            plane = plane.copy_(plane.new_tensor(colour).view(1, -1, 1, 1))
        if not is_wrapped(plane):
            if len(self._planes) >= 8:
                self._planes.clear()
            self._planes[key] = plane
        return plane

    def given(self, images: Array) -> Tensor:
        """`place`, for images that a user gives: `ValueError` too for values far outside of [0, 1] where normalisation
        follows. Noise and bicubic interpolation may leave it a little."""
        placed = self.place(images)
        if self.mean is not None:
            require_range(placed, "images", beyond=0.2)
        return placed

    def place(self, images: Array) -> Tensor:
        """`images` as a batch on the network's device and in its precision; `ValueError` if they are no images."""
        images = tensor_of(images, "images")
        if not images.is_floating_point():
            got = f"a {images.dtype} tensor"
            raise ValueError(f"expected a floating-point B×3×H×W tensor, got {got}; use classifier.prepare(picture)")
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise ValueError(f"expected images of shape B×3×H×W, got {'×'.join(map(str, images.shape))}")
        if self.mean is not None and images.shape[1] != len(self.mean):
            last = "; the colours come first" if images.shape[3] == len(self.mean) else ""
            raise ValueError(f"expected {len(self.mean)} colours as in `mean`, got {images.shape[1]}{last}")
        return images.detach().to(self.device, self.dtype)

    def logits(self, images: Tensor) -> Tensor:
        """The network's output, checked: a finite B×C tensor of logits.

        Raises `TypeError` for a tuple or dict whose logits are not known, `ValueError` for another shape than the
        head's or what can be seen to be probabilities, `FloatingPointError` for NaN or infinite values.
        """
        logits: Tensor = self(images)
        values = logits.detach()
        if not torch.isfinite(values).all():
            bad = (~torch.isfinite(values)).any(1).nonzero().flatten().tolist()
            raise FloatingPointError(f"model {self.name!r} gives NaN or infinite logits: images {bad[:8]} of a batch")
        self._first_outputs.look_at(
            values, model=self.name, head=self.head, class_names=self.class_names, precision=self.dtype
        )
        return logits

    def scores(self, images: Tensor) -> Tensor:
        """Logits (B×C) of RGB images in [0, 1], in evaluation mode and without a graph."""
        with inferring(self.network):
            return self.logits(self.place(images))

    def evidence(
        self,
        images: Tensor,
        targets: Targets = None,
        layers: Sequence[str] = (),
        *,
        gradients: bool = True,
        seeds: Tensor | None = None,
        masks: Tensor | None = None,
        score: ScoreFunction = target_logit,
    ) -> Evidence:
        """One forward, and one backward to the union of `layers` from each image's target logit, or another `score`.

        `targets` is None for the predicted class, one class index, one per image, or a function of the logits.
        Where gradients cannot be had, as of a quantised network, whoever reads one is told why (`NotApplicable`).
        Works inside `torch.no_grad()` and on a frozen network; modes, flags and `.grad` come back as they were.
        """
        refused = why_no_gradient(self.network) if gradients and layers else ""
        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.network):
            images = self.place(images).clone()
            record = Recorder(list(dict.fromkeys(layers)), gradients=gradients and not refused)
            try:
                logits = self._recorded(images, record, all_grids=False)
            except LayerError:
                logits = self._recorded(images, record, all_grids=True)
            record.require_all(self.network, lambda: self.logits(images.clone()))
            merged = [layer for layer, grid in record.grids.items() if grid.merged]
            for layer in set(merged) - in_place(self.network, self.logits, images[:1], merged):
                raise no_cells(layer, record.outputs[layer], len(images))
            chosen = self.targets(targets, logits.detach()).clone()
            found = gradients_at(score(logits, chosen), record.outputs) if gradients and not refused else {}
        seeds = torch.zeros(len(images), dtype=torch.long) if seeds is None else seeds
        kept, found = record.cells(record.outputs), NoGradients(refused) if refused else record.cells(found)
        return Evidence(images, chosen, single(logits.detach()), kept, found, seeds, masks)

    def _recorded(self, images: Tensor, record: Recorder, *, all_grids: bool) -> Tensor:
        with hooked(self.network, record.hooks, record.begin, all_grids=all_grids):
            return self.logits(images)

    def targets(self, targets: Targets, logits: Tensor) -> Tensor:
        """One class index per row of `logits`; `ValueError` if there is no such class."""
        return class_indices(targets, logits, self.head)

    @contextmanager
    def kept(self) -> Iterator[list[str]]:
        """Gives the list of what the block exchanges of the classifier, filled and undone at its end."""
        before, parts, said = dict(vars(self)), dict(self._modules), list[str]()
        try:
            yield said
        finally:
            now = vars(self)
            changed = [n for n, value in before.items() if n != "_flattens_by_view" and now.get(n, now) is not value]
            now.update(before)
            changed += [name for name, part in parts.items() if self._modules.get(name) is not part]
            self._modules.update(parts)
            said += [f"the classifier's {name} was changed" for name in changed]

    def prepare(self, picture: Image.Image) -> Tensor:
        """A picture as it is displayed (`load_picture`), resized and cropped for the network: 3×H×W in [0, 1], or
        1×H×W for a network that takes grey."""
        if self.colours not in (1, 3):
            raise ValueError(
                f"model {self.name!r} takes images of {self.colours} channels, as `mean` says; a picture has 3, or 1 "
                "in grey: give it tensors, or bring pictures to its channels in a wrapper"
            )
        shown = load_picture(picture)
        cut = self.geometry.of_picture(shown.convert("L") if shown.mode == "RGB" and self.colours == 1 else shown)
        return image_of(cut).expand(self.colours, -1, -1).contiguous()

    def prepare_mask(self, mask: Image.Image) -> Tensor:
        """A mask, resized (nearest neighbour) and cropped as the picture is: H×W, bool."""
        return image_of(self.geometry.of_mask(mask.convert("L")))[0] > 0
