"""How each network runs fastest on this machine: measured once and kept in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import platformdirs
import torch
from pydantic import TypeAdapter
from torch import Tensor

from camfaith.models.classifier import Classifier
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.load import overload
from camfaith.models.speed.setup import Setup, Shortcut
from camfaith.models.speed.tuning import BATCHES, can_be_fused, tune

_SETUP = TypeAdapter(Setup)


def setup_of(classifier: Classifier, image: Tensor, allow: Sequence[Shortcut] = ()) -> Setup:
    """The fastest setup for images of this size (1×3×H×W), from the cache if this network was measured before.

    If the cache cannot be read or written, the network is measured again.
    """
    key = key_of(classifier, image, *allow)
    stored = kept(key)
    if stored is None:
        found = tune(classifier, image, allow)
        keep(key, found)
        return found
    return replace(stored, fused=stored.fused and can_be_fused(classifier))  # another network may look like this one


def key_of(classifier: Classifier, images: Tensor, *about: str) -> str:
    """What a measurement counts for: the same network structure, precision, image size, device, threads, torch version,
    setting for keeping memory, candidates, and what it is `about`; and apart for a busy machine and one that is not."""
    told = [
        repr(classifier.network),
        [list(images.shape[1:]), str(images.dtype), sorted(about)],
        [_device(classifier), torch.get_num_threads(), torch.__version__, memory_is_kept(), bool(overload())],
        [*BATCHES, *asdict(Setup())],
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def kept(key: str) -> Setup | None:
    """The setup that the cache keeps for a key, None where there is none, or it is damaged."""
    try:
        return from_json(_read(_path())[key])
    except (KeyError, TypeError, ValueError):
        return None


def keep(key: str, setup: Setup) -> None:
    """Put a setup into the cache; where that cannot be written, nothing happens."""
    path = _path()
    _write(path, _read(path) | {key: asdict(setup)})


def _path() -> Path:
    return Path(platformdirs.user_cache_dir("camfaith")) / "speed.json"


def from_json(stored: dict[str, Any]) -> Setup:
    """The setup that `asdict` and JSON stored; `KeyError`, `TypeError` or `ValueError` where it is none."""
    setup = Setup(**stored | {"shortcuts": tuple(stored["shortcuts"])})
    return _SETUP.validate_python(asdict(setup))


def _device(classifier: Classifier) -> str:
    if classifier.device.type == "cuda":
        return torch.cuda.get_device_name(classifier.device)
    return classifier.device.type


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(content, indent=1), "utf-8")
        os.replace(draft, path)
    except OSError:  # the home folder cannot be written to
        with suppress(OSError):
            draft.unlink(missing_ok=True)
