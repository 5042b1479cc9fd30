"""The card of a trained network: what must be known of its weights to use them, as `model.json` beside them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from camfaith.models.geometry import Geometry
from camfaith.models.settings import Positive, Text

CARD = "model.json"


@dataclass(frozen=True, kw_only=True)
class Card:
    """A network by name, a file of weights for it, and how it takes pictures and gives classes.

    `head`, `mean`, `std`, `layer` and what is said of the `Geometry` are as a `Classifier` takes them. `training` says
    freely how the network was trained.
    """

    architecture: Text
    """A name that `camfaith list` shows, `timm:NAME`, or one's own as `file.py:function`."""
    class_names: tuple[str, ...]
    head: Text = "softmax"
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None
    resize: int | tuple[int, int] | None = None
    crop: int | tuple[int, int] | None = None
    interpolation: Text = "bilinear"
    pad: bool = False
    layer: Text | None = None
    weights: Text = "model.safetensors"
    """A file in the card's folder."""
    sha256: str = ""
    """Of that file; `write_card` finds it."""
    dataset: str | None = None
    training: Mapping[str, Any] = field(default_factory=dict)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    def __post_init__(self) -> None:
        Geometry(self.resize, self.crop, self.interpolation, self.pad)
        if len(self.class_names) < 2:
            raise ValueError(f"class_names must be two names or more, got {list(self.class_names)}")

    @property
    def settings(self) -> dict[str, Any]:
        """What a `Classifier` is told."""
        told = ("class_names", "head", "mean", "std", "resize", "crop", "interpolation", "pad", "layer")
        return {name: value for name in told if (value := getattr(self, name)) is not None}


def write_card(folder: str | Path, card: Card) -> Card:
    """Write `model.json` into the folder of the weights, whole or not at all; returns the card with their digest. Where
    the architecture is such a folder itself, the architecture of its card is written."""
    folder = Path(folder)
    architecture = read_card(card.architecture).architecture if has_card(card.architecture) else card.architecture
    card = replace(card, architecture=architecture, sha256=_digest(_inside(folder, card.weights)))
    draft = folder / f".{CARD}.part"
    draft.write_text(json.dumps(asdict(card), indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")
    os.replace(draft, folder / CARD)
    return card


def has_card(folder: str | Path) -> bool:
    """Whether it is a folder with a card in it."""
    return Path(folder, CARD).is_file()


def read_card(folder: str | Path) -> Card:
    """The card in a folder; `FileNotFoundError` where the folder has none, `ValueError` where the file is no card."""
    path = Path(folder, CARD)
    if not path.is_file():
        raise FileNotFoundError(f"no {CARD} in {path.parent}: it is not the folder of a trained network")
    try:
        return TypeAdapter(Card).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        text = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise ValueError(f"{path} is no card of a network: {text}") from None


def weights_of(folder: str | Path, card: Card) -> Path:
    """The file of a card's weights; `ValueError` where it lies outside of the folder, or is not the file that the card
    was written for."""
    path = _inside(Path(folder), card.weights)
    found = _digest(path)
    if found != card.sha256:
        raise ValueError(
            f"{path} is not the file that {CARD} was written for: its SHA-256 is {found[:16]}…, not "
            f"{card.sha256[:16] or 'known'}…; restore it, or give another file as weights"
        )
    return path


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"weights {name!r} lie outside of {folder}; a card names a file in its own folder")
    if not path.is_file():
        raise FileNotFoundError(f"no weights file at {path}, which {folder / CARD} names")
    return path


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
