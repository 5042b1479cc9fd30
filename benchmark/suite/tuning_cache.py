"""How each network runs fastest on this machine: measured once and kept in the user's cache."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import platformdirs
import torch
from torch import Tensor

from camfaith.benchmark.suite.declaration import digest
from camfaith.models import Classifier
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.load import overload
from camfaith.models.speed.setup import Setup, Shortcut
from camfaith.models.speed.tuning import BATCHES, can_be_fused, tune


def setup_of(classifier: Classifier, image: Tensor, allow: Sequence[Shortcut] = ()) -> Setup:
    """The fastest setup for images of this size (1×3×H×W), from the cache if this network was measured before.

    A measurement counts for the same network structure, precision, image size, device, threads, torch version, allowed
    shortcuts, setting for keeping memory, and candidates, and apart for a busy machine and one that is not. If the
    cache cannot be read or written, the network is measured again.
    """
    path = Path(platformdirs.user_cache_dir("camfaith")) / "speed.json"
    key = digest(
        [
            repr(classifier.network),
            [list(image.shape[1:]), str(image.dtype), sorted(allow)],
            [_device(classifier), torch.get_num_threads(), torch.__version__, memory_is_kept(), bool(overload())],
            [*BATCHES, *asdict(Setup())],
        ]
    )
    known = _read(path)
    try:
        stored = from_json(known[key])
    except (KeyError, TypeError):
        found = tune(classifier, image, allow)
        _write(path, _read(path) | {key: asdict(found)})
        return found
    return replace(stored, fused=stored.fused and can_be_fused(classifier))  # another network may look like this one


def from_json(stored: dict[str, Any]) -> Setup:
    """The setup that `asdict` and JSON stored."""
    return Setup(**stored | {"shortcuts": tuple(stored["shortcuts"])})


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
