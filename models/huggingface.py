"""Networks of transformers: from the hub by name, or from a local folder, with the preprocessing of their processor."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from camfaith.models.checkpoint import is_checkpoint, with_weights
from camfaith.models.classifier import Classifier

PREFIX = "hf:"
_CLOSE = 0.02  # of the range of values: what two implementations of one interpolation differ by


def from_hub_or_folder(name: str, weights: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """The network called `hf:NAME` or `hf:FOLDER`, and its preprocessing and class names.

    Weights come from `.safetensors` alone, no code of a repository or a folder is run, and a folder needs no network.
    Raises `ValueError` where something is missing, or where the network takes no images B×3×H×W.
    """
    wanted = name.removeprefix(PREFIX)
    folder = Path(wanted).expanduser()
    local = folder.is_dir()
    if not local and (wanted[:1] in "./~" or wanted.count("/") > 1):
        raise FileNotFoundError(f"model {name!r}: no folder {wanted!r}")
    weights = weights or ("DEFAULT" if local else "")
    if weights not in ("DEFAULT", "none") and not is_checkpoint(weights):
        raise ValueError(
            f"transformers' {wanted!r} needs to be told its weights: 'DEFAULT' (a folder's own, else downloaded), a "
            f".safetensors or .pth file, or 'none' for the untrained network"
        )
    try:
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
    except ImportError as error:
        raise ValueError(f"model {name!r} needs transformers: pip install 'camfaith[hf]'") from error
    torch.default_generator.manual_seed(0)  # again: an import may have drawn numbers
    source = str(folder) if local else wanted
    safe: dict[str, Any] = {"local_files_only": local, "trust_remote_code": False}
    try:
        if weights == "DEFAULT":
            network, told = AutoModelForImageClassification.from_pretrained(
                source, use_safetensors=True, weights_only=True, output_loading_info=True, **safe
            )
            lacking = sorted(told["missing_keys"])
        else:
            config = AutoConfig.from_pretrained(source, **safe)
            network, lacking = AutoModelForImageClassification.from_config(config), []
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        raise ValueError(f"model {name!r} cannot be made: {_first_line(error)}") from error
    if lacking:
        raise ValueError(
            f"model {name!r} has no weights for {', '.join(lacking[:3])} ({len(lacking)} in all): it was not trained "
            "to classify; take one that was"
        )
    _require_images(name, network)
    if is_checkpoint(weights):
        network = with_weights(network, name, weights)
    known: dict[str, Any] = {"class_names": _class_names(network.config)}
    try:
        processor = AutoImageProcessor.from_pretrained(source, **safe)
    except (OSError, ValueError, KeyError, ImportError):
        return network.float(), known
    prepared, blue_first = preprocessing(name, processor)
    return BlueFirst(network.float()) if blue_first else network.float(), known | prepared


class BlueFirst(nn.Module):
    """A network that takes blue, green and red, given red, green and blue."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(images.flip(1))


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _require_images(name: str, network: nn.Module) -> None:
    taken = inspect.signature(network.forward).parameters
    if next(iter(taken)) == "input_ids" or "spatial_shapes" in taken:
        raise ValueError(f"model {name!r} takes {', '.join(list(taken)[:3])}, not images B×3×H×W; take another one")


def _class_names(config: Any) -> tuple[str, ...] | None:
    names = tuple(str(config.id2label.get(index, "")) for index in range(config.num_labels))
    return None if all(name.startswith("LABEL_") or not name for name in names) else names


def preprocessing(name: str, processor: Any) -> tuple[dict[str, Any], bool]:
    """The normalisation and geometry of an image processor, and whether it puts blue first; found by trying it, with a
    warning where it does more."""
    told = processor.to_dict()
    black, white = (_through(processor, Image.new("RGB", (64, 48), colour)).flatten(1) for colour in (0, (255,) * 3))
    std = 1 / (white.mean(1) - black.mean(1))
    mean = -black.mean(1) * std
    picture = _picture()
    expected = _through(processor, picture)
    between = Image.Resampling(int(told.get("resample") or 0))
    for resize, crop in _geometries(told):
        for blue_first in (False, True):
            known: dict[str, Any] = {"resize": resize, "crop": crop, "interpolation": between}
            known |= {"mean": _rounded(mean, blue_first), "std": _rounded(std, blue_first)}
            trial = Classifier(nn.Identity(), **known)
            found = trial.normalised(trial.prepare(picture)[None])[0]
            found = found.flip(0) if blue_first else found
            if found.shape == expected.shape and (found - expected).abs().mean() < _CLOSE * expected.std():
                return known, blue_first
    warnings.warn(f"{name}: what its image processor does is not followed; give mean, std, resize, crop", stacklevel=2)
    return {}, False


def _rounded(values: Tensor, turned: bool) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in (values.flip(0) if turned else values))


def _through(processor: Any, picture: Image.Image) -> Tensor:
    pixels: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
    return pixels.float()


def _picture() -> Image.Image:
    """Smooth, of three colours that differ, and neither square nor symmetric."""
    down, along = torch.linspace(0, 1, 300)[:, None], torch.linspace(0, 1, 400)[None]
    colours = [down * along, (down + along**2) / 2, (3 * down + 5 * along).sin().abs()]
    return Image.fromarray((torch.stack(colours, 2) * 255).to(torch.uint8).numpy())


def _geometries(told: dict[str, Any]) -> Iterator[tuple[Any, int | None]]:
    """What a processor's settings may mean: `resize`, and a square `crop`."""
    size, cut = told.get("size") or {}, told.get("crop_size") or {}
    crop = cut.get("height") if told.get("do_center_crop") and cut.get("height") == cut.get("width") else None
    side = size.get("shortest_edge") or size.get("height")
    if not told.get("do_resize") or side is None:
        yield None, crop
        return
    if size.get("height"):
        yield [size["height"], size["width"]], crop
    yield side, crop
    for share in (told.get("crop_pct") or 224 / 256, 224 / 256):
        yield int(side / share), crop or side
    yield [side, side], None
