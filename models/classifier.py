"""An image classifier: a network with its normalisation, the size of its images and its class names."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Literal, Self

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from camfaith.models.capture import (
    Evidence,
    LayerError,
    Recorder,
    ScoreFunction,
    evaluating,
    gradients_at,
    hooked,
    inferring,
    single,
    target_logit,
)
from camfaith.models.functorch import is_wrapped
from camfaith.models.outputs import are_probabilities, logits_in
from camfaith.models.walk import is_scripted

Targets = None | int | Sequence[int] | Tensor | Callable[[Tensor], Tensor]
ScoreKind = Literal["probability", "logit"]


class Classifier(nn.Module):
    """An image classifier that takes RGB images in [0, 1] (B×3×H×W) and gives logits (B×C).

    Normalisation with `mean` and `std` happens inside, so that "black", "mean" and "blurred" mean what they say.
    `prepare` brings a picture to the network's size: the short side to `resize`, then a central `crop`.
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
        resize: int | None = None,
        crop: int | None = None,
        layer: str | None = None,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        output: str | int | None = None,
    ) -> None:
        super().__init__()
        if (mean is None) != (std is None):
            raise ValueError("mean and std go together: give both or neither")
        self.network = network = getattr(network, "_orig_mod", network)
        self.name = name or type(network).__name__
        if is_scripted(network):  # which takes no hooks itself
            self.network = nn.Sequential(network).train(getattr(network, "training", False))
        self.mean = None if mean is None else tuple(mean)
        self.std = None if std is None else tuple(std)
        self.class_names = None if class_names is None else tuple(class_names)
        self.resize, self.crop, self.layer, self.interpolation = resize, crop, layer, interpolation
        self.output = output
        self._outputs_checked = False
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
        except RuntimeError as error:
            if images.is_contiguous() or "view size is not compatible" not in str(error):
                raise
            self._flattens_by_view = True  # which takes contiguous images alone
            result = self.network(images.contiguous())
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

    def place(self, images: Tensor) -> Tensor:
        """`images` as a batch on the network's device and in its precision; `ValueError` if they are no images."""
        if not isinstance(images, Tensor) or not images.is_floating_point():
            got = f"a {images.dtype} tensor" if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"expected a floating-point B×3×H×W tensor, got {got}; use classifier.prepare(picture)")
        if images.ndim == 3:
            images = images[None]
        if images.ndim != 4:
            raise ValueError(f"expected images of shape B×3×H×W, got {'×'.join(map(str, images.shape))}")
        if self.mean is not None and images.shape[1] != len(self.mean):
            raise ValueError(f"expected {len(self.mean)} colours as in `mean`, got {images.shape[1]}")
        return images.detach().to(self.device, self.dtype)

    def logits(self, images: Tensor) -> Tensor:
        """The network's output, checked: a finite B×C tensor of logits.

        Raises `TypeError` for a tuple or dict whose logits are not known, `ValueError` for another shape, one class, or
        probabilities, `FloatingPointError` for NaN or infinite values.
        """
        logits: Tensor = self(images)
        if logits.ndim != 2 or logits.shape[1] < 2:
            joined = "stack" if logits.ndim == 1 else "cat"
            advice = f"for one logit z an image, return torch.{joined}([-z, z], 1) / 2"
            if logits.ndim > 2:
                advice = "pool what is spatial, and return logits.flatten(1)"
            raise ValueError(
                f"model {self.name!r} returns shape {'×'.join(map(str, logits.shape))}; expected logits B×C with C ≥ 2 "
                f"({advice})"
            )
        values = logits.detach()
        if not torch.isfinite(values).all():
            bad = (~torch.isfinite(values)).any(1).nonzero().flatten().tolist()
            raise FloatingPointError(f"model {self.name!r} gives NaN or infinite logits: images {bad[:8]} of a batch")
        if not self._outputs_checked:
            if len(values) and are_probabilities(values, self.dtype):
                raise ValueError(
                    f"model {self.name!r} returns probabilities (non-negative rows that sum to 1), not logits; "
                    "remove its softmax: CAMs explain a logit, and probabilities are computed here"
                )
            if self.class_names is not None and len(self.class_names) != logits.shape[1]:
                raise ValueError(
                    f"model {self.name!r} has {len(self.class_names)} class names, first {self.class_names[:2]}, but "
                    f"{logits.shape[1]} outputs; give one name for each output, in their order, and no heading"
                )
            self._outputs_checked = len(values) > 0
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
        Works inside `torch.no_grad()` and on a frozen network; modes, flags and `.grad` come back as they were.
        """
        with torch.inference_mode(False), torch.enable_grad(), evaluating(self.network):
            images = self.place(images).clone()
            record = Recorder(list(dict.fromkeys(layers)), gradients=gradients)
            try:
                logits = self._recorded(images, record, all_grids=False)
            except LayerError:
                logits = self._recorded(images, record, all_grids=True)
            record.require_all()
            chosen = self.targets(targets, logits.detach()).clone()
            found = gradients_at(score(logits, chosen), record.outputs) if gradients else {}
        if seeds is None:
            seeds = torch.zeros(len(images), dtype=torch.long)
        kept, found = record.cells(record.outputs), record.cells(found)
        return Evidence(images, chosen, single(logits.detach()), kept, found, seeds, masks)

    def _recorded(self, images: Tensor, record: Recorder, *, all_grids: bool) -> Tensor:
        with hooked(self.network, record.hooks, record.begin, all_grids=all_grids):
            return self.logits(images)

    def targets(self, targets: Targets, logits: Tensor) -> Tensor:
        """One class index per row of `logits`; `ValueError` if there is no such class."""
        count, classes = logits.shape
        if targets is None:
            return logits.argmax(1)
        if isinstance(targets, str):
            raise ValueError(f"expected a class index, got {targets!r}; class_names.index({targets!r}) may be it")
        chosen = torch.as_tensor(targets(logits) if callable(targets) else targets)
        if chosen.ndim == 0:
            chosen = chosen.expand(count)
        if chosen.shape != (count,) or chosen.is_floating_point() or chosen.dtype == torch.bool:
            got = f"{chosen.dtype} of shape {tuple(chosen.shape)}"
            raise ValueError(f"expected one class index for each of {count} images, got {got}")
        if count and (int(chosen.min()) < 0 or int(chosen.max()) >= classes):
            raise ValueError(f"class index out of range: expected 0 to {classes - 1}, got {chosen.tolist()[:8]}")
        return chosen.to(logits.device, torch.long)

    def prepare(self, picture: Image.Image) -> Tensor:
        """A picture, resized and cropped for the network: 3×H×W in [0, 1]."""
        cut = self._cut(picture.convert("RGB"), self.interpolation)
        pixels: Tensor = F.to_dtype(F.pil_to_tensor(cut), torch.float32, scale=True)
        return pixels

    def prepare_mask(self, mask: Image.Image) -> Tensor:
        """A mask, resized (nearest neighbour) and cropped as the picture is: H×W, bool."""
        grey: Tensor = F.pil_to_tensor(self._cut(mask.convert("L"), InterpolationMode.NEAREST))
        return grey[0] > 0

    def _cut(self, picture: Image.Image, interpolation: InterpolationMode) -> Image.Image:
        if self.resize is not None:
            picture = F.resize(picture, [self.resize], interpolation=interpolation, antialias=True)
        if self.crop is not None:
            picture = F.center_crop(picture, [self.crop, self.crop])
        return picture
