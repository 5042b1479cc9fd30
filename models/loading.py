"""Making a Classifier from a name: a shipped network, one of torchvision's or timm's, or a user's own."""

from __future__ import annotations

import inspect
import math
import sys
import warnings
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision import models as torchvision_models

from camfaith.models.card import CARD, Card, has_card, read_card, weights_of
from camfaith.models.checkpoint import is_checkpoint, require_finite, with_weights
from camfaith.models.classifier import Classifier
from camfaith.models.heads import HEADS
from camfaith.models.huggingface import PREFIX, from_hub_or_folder
from camfaith.models.last_layer import with_outputs
from camfaith.models.lookup import UnknownName, failed, load_attribute, resolve
from camfaith.models.reference import GRADES, MEAN, REFERENCES, SIZE, STD, build, load_weights

_SETTINGS = ("mean", "std", "class_names", "resize", "crop", "layer", "interpolation", "output", "pad", "head")
_TIMM = "timm:"


def model_names() -> list[str]:
    """The shipped networks and torchvision's classification networks."""
    return [*REFERENCES, *_torchvision_names()]


def _torchvision_names() -> list[str]:
    names: list[str] = torchvision_models.list_models(module=torchvision_models)
    return names


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    resize: int | Sequence[int] | None = None,
    crop: int | Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    layer: str | None = None,
    output: str | int | None = None,
    interpolation: str | None = None,
    pad: bool | None = None,
    head: str | None = None,
) -> Classifier:
    """A Classifier in evaluation mode.

    `name` is a shipped network, a torchvision network, one of timm's as `timm:NAME`, one of transformers' as `hf:NAME`
    or, in a local folder, `hf:FOLDER`, an entry point of `camfaith.models`, a function that returns a network or a
    Classifier, as `package.module:function` or `path/to/file.py:function`, or a folder with a `Card`, which says all
    that follows; a shipped or torchvision network goes before a folder of its name.

    `weights` is the name of torchvision weights (`"DEFAULT"`, `"IMAGENET1K_V2"`), or `"DEFAULT"` for timm's (those of
    the tag in NAME, if it has one) and transformers', which these libraries download; a local `.safetensors`, `.pth` or
    `.pt` file, which is read without unpickling code; or `"none"` for the untrained network, whose initialisation is
    seeded. A folder of transformers brings its own.

    Preprocessing comes with shipped and torchvision weights, in the `pretrained_cfg` of timm's networks, and with the
    image processor of transformers'; `mean`, `std` and what is said of the `Geometry` replace it. `output` says where
    the logits are if the network returns more than a tensor, `head` what they mean (`Classifier`; "softmax" where
    nothing is said).

    Raises `UnknownName` for an unknown network or weights name, `FileNotFoundError`, and `ValueError` for weights that
    do not fit, that hold NaN, or that are not those of the folder's card.
    """
    given: dict[str, Any] = {"mean": mean, "std": std, "resize": resize, "crop": crop, "layer": layer, "output": output}
    given |= {"class_names": class_names, "interpolation": interpolation, "pad": pad, "head": head}
    network, known = _build(name, None if weights is None else str(weights), class_names)
    require_finite(name, network)
    settings = known | {key: value for key, value in given.items() if value is not None}
    bare = name in _torchvision_names() or name.startswith(PREFIX)
    if bare and weights != "none" and "mean" not in settings:
        text = f"{name!r} with these weights gets its images as they are; give mean and std if it was trained so"
        warnings.warn(text, stacklevel=2)
    return Classifier(network.eval(), name=name, **settings)


def _build(name: str, weights: str | None, class_names: Sequence[str] | None) -> tuple[nn.Module, dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        if name in REFERENCES:
            return _reference(name, weights)
        if name in _torchvision_names():
            return _torchvision(name, weights, class_names)
        if card := card_of(name):
            return _carded(name, card, weights)
        if name.startswith(_TIMM):
            return _timm(name, weights, class_names)
        if name.startswith(PREFIX):
            return from_hub_or_folder(name, weights)
        return _own(name, weights)


def build_for(name: str, outputs: int, weights: str | Path | None = None) -> nn.Module:
    """A network by name, as `load` builds it, whose last layer is drawn anew, seeded, for so many outputs.

    `weights` are those that it starts from: the name of the library's, which may download them, `"DEFAULT"` for those
    of a shipped network or of a card's folder, a local file, whatever its number of classes, or None for none. Raises
    `ValueError` for networks of transformers, and as `load` does.
    """
    if name.startswith(PREFIX):
        raise ValueError(f"model {name!r}: networks of transformers are not built for other classes; take timm's")
    weights = "none" if weights is None else str(weights)
    with torch.random.fork_rng(devices=[]):
        network = _architecture(name, weights)
        torch.default_generator.manual_seed(0)
        anew = with_outputs(network, outputs)
        return with_weights(network, name, weights, but=anew) if is_checkpoint(weights) else network


def _architecture(name: str, weights: str) -> nn.Module:
    """The network with the library's weights of that name, or its own; one that takes weights from a file is untrained
    yet."""
    own = weights == "DEFAULT" and (name in REFERENCES or has_card(name))
    network: Any = _build(name, None if own else "none" if is_checkpoint(weights) else weights, None)[0]
    if hasattr(network, "transform_input"):  # GoogLeNet and Inception v3: torchvision's differ with and without weights
        network.transform_input, network.aux_logits = True, False
        for auxiliary in ("aux1", "aux2", "AuxLogits"):
            setattr(network, auxiliary, None)
    made: nn.Module = deepcopy(network)  # a network in somebody's own file stays as it is
    return made


def card_of(name: str) -> Card | None:
    """The card that a model's name stands for; None where it is no folder with a card, or names a shipped or
    torchvision network. Raises `ValueError` where the card names code in its own folder, before any of it is run, and
    `FileNotFoundError` where that code is not there."""
    if name in model_names() or not has_card(name):
        return None
    card = read_card(name)
    code = Path(card.architecture.rpartition(":")[0])
    if code.suffix != ".py":
        return card
    if code.resolve().is_relative_to(Path(name).resolve()):
        raise ValueError(f"{CARD} of {name} names {code}, in its own folder, which is not run; keep code elsewhere")
    if not code.is_file():
        raise FileNotFoundError(
            f"{CARD} of {name} names {card.architecture}, and there is no {code} from here: start in the folder from "
            "which the network was trained, or write the whole path there"
        )
    return card


def _carded(folder: str, card: Card, weights: str | None) -> tuple[nn.Module, dict[str, Any]]:
    if has_card(card.architecture):
        raise ValueError(
            f"{CARD} of {folder} names another folder, {card.architecture}, as the architecture; name its own"
        )
    if card.head not in HEADS:
        raise UnknownName(f"head in {CARD} of {folder}", card.head, HEADS)
    network = build_for(card.architecture, HEADS[card.head].outputs(len(card.class_names)))
    return with_weights(network, folder, weights or str(weights_of(folder, card))), card.settings


def _reference(name: str, weights: str | None) -> tuple[nn.Module, dict[str, Any]]:
    network = load_weights(name) if weights is None else with_weights(build(name), name, weights)
    return network, {"mean": MEAN, "std": STD, "resize": SIZE, "crop": SIZE, "class_names": GRADES}


def _torchvision(name: str, weights: str | None, class_names: Sequence[str] | None) -> tuple[nn.Module, dict[str, Any]]:
    if weights is None:
        raise ValueError(
            f"torchvision's {name!r} needs to be told its weights: a weights name such as 'DEFAULT' (downloaded), "
            "a local .safetensors or .pth file, or 'none' for the untrained network"
        )
    if weights == "none" or is_checkpoint(weights):
        classes = {} if class_names is None else {"num_classes": len(class_names)}
        network = torchvision_models.get_model(name, weights=None, **classes)
        return with_weights(network, name, weights), {}
    enum = torchvision_models.get_model_weights(name)
    if weights not in enum.__members__:
        raise UnknownName(f"weights of {name}", weights, enum.__members__, "or a local file, or 'none'")
    chosen = enum[weights]
    return torchvision_models.get_model(name, weights=chosen), _preprocessing(chosen)


def most_accurate_on_disk() -> tuple[str, str] | None:
    """The torchvision network that is most accurate on ImageNet among those whose weights are on this disk already, and
    the name of these weights; None if there are none."""
    there = {path.name for path in checkpoints().glob("*.pth")}
    found = [
        (weights.meta["_metrics"]["ImageNet-1K"]["acc@1"], name, weights.name)
        for name in _torchvision_names()
        for weights in torchvision_models.get_model_weights(name)
        if PurePosixPath(urlparse(weights.url).path).name in there
    ]
    return max(found)[1:] if found else None


def checkpoints() -> Path:
    """Where torchvision keeps the weights that it has downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def _preprocessing(weights: Any) -> dict[str, Any]:
    transforms = weights.transforms()
    return {
        "mean": tuple(transforms.mean),
        "std": tuple(transforms.std),
        "resize": _side(transforms.resize_size),
        "crop": _side(transforms.crop_size),
        "interpolation": transforms.interpolation,
        "class_names": weights.meta.get("categories"),
    }


def _side(lengths: Sequence[int]) -> int | Sequence[int]:
    return lengths[0] if len(lengths) == 1 else lengths


def _timm(name: str, weights: str | None, class_names: Sequence[str] | None) -> tuple[nn.Module, dict[str, Any]]:
    try:
        import timm
    except ImportError as error:
        raise ValueError(f"model {name!r} needs timm: pip install 'camfaith[timm]'") from error
    torch.default_generator.manual_seed(0)  # again: an import may have drawn numbers
    wanted = name.removeprefix(_TIMM)
    if not timm.is_model(wanted):
        raise UnknownName("model of timm", wanted, timm.list_models())
    if weights is None:
        raise ValueError(
            f"timm's {wanted!r} needs to be told its weights: 'DEFAULT' (downloaded), a .safetensors or .pth file, "
            "or 'none' for the untrained network"
        )
    if weights == "DEFAULT":
        network = timm.create_model(wanted, pretrained=True)
    else:
        classes: dict[str, Any] = {} if class_names is None else {"num_classes": len(class_names)}
        network = with_weights(timm.create_model(wanted, pretrained=False, **classes), name, weights)
    return network, _carried(network)


def _carried(network: nn.Module) -> dict[str, Any]:
    """The preprocessing that a network of timm carries; nothing for other networks."""
    carried: Any = getattr(network, "pretrained_cfg", None)
    if not isinstance(carried, dict) or not carried.get("mean"):
        return {}
    height, width = carried["input_size"][-2:]
    before = [math.floor(side / carried["crop_pct"]) for side in (height, width)]
    mode = carried.get("crop_mode", "center")
    return {
        "mean": tuple(carried["mean"]),
        "std": tuple(carried["std"]),
        "resize": before[0] if mode == "center" and height == width else before,
        "crop": (height, width) if height != width else height,
        "interpolation": carried["interpolation"],
        "pad": mode == "border",  # timm's border has the mean colour; this one is black
    }


def _made(name: str, make: Any) -> Any:
    """What a function without arguments returns. Nothing of Python's own is called: a network is no part of it."""
    home = str(getattr(make, "__module__", None) or "builtins").partition(".")[0]
    if not callable(make) or home in sys.stdlib_module_names:
        raise ValueError(f"{name!r} is no model: expected a function that returns a network, got {make!r}")
    try:
        inspect.signature(make).bind()
    except TypeError as error:
        raise ValueError(f"model {name!r} needs arguments ({error}): name a function that takes none") from None
    try:
        return make()
    except Exception as error:
        raise failed(f"model {name!r} cannot be made", error) from error


def _own(name: str, weights: str | None) -> tuple[nn.Module, dict[str, Any]]:
    try:
        make = load_attribute(name) if ":" in name else resolve("model", name, {})
    except UnknownName as error:
        if ":" in name:
            raise
        if Path(name).is_dir():
            read_card(name)  # which says what is missing
        hint = "others are 'timm:NAME', 'hf:NAME', the folder of a trained network; or name your own as "
        hint += "'package.module:function' or 'file.py:function'"
        raise UnknownName("model", name, model_names(), hint) from error
    torch.default_generator.manual_seed(0)  # again: an import may have drawn numbers
    network = make if isinstance(make, nn.Module) else _made(name, make)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{name!r} returned a {type(network).__name__}; expected a torch.nn.Module")
    known = _carried(network)
    if isinstance(network, Classifier):
        known = {key: getattr(network, key) for key in _SETTINGS}
        network = network.network
    return with_weights(network, name, weights or "none"), known
