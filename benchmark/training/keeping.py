"""The folder of a training: whose it is, what it was asked, and whether that is done."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from camfaith.benchmark.results.files import own_folder, require_no_links, write_whole
from camfaith.benchmark.suite.identity import libraries
from camfaith.benchmark.training.pictures import forget_pictures
from camfaith.models.card import CARD
from camfaith.models.errors import in_one_line

ASKED, BEST, LAST = "asked.json", "model.safetensors", "last.ckpt"
HISTORY, EVALUATION, PICTURES = "history.csv", "evaluation.json", "pictures"
_FILES = (ASKED, BEST, LAST, HISTORY, EVALUATION, CARD)
_OTHERS = (
    "the training in {} has other pictures, labels or parts than there are now: restore them, give another folder as "
    "out, or overwrite it"
)


@contextmanager
def held(folder: Path, overwrite: bool) -> Iterator[None]:
    """The folder, which no other process trains in meanwhile; what it holds of a training is removed first where that
    is to be overwritten.

    Raises `ValueError` where somebody trains in it, or it holds a network that was not trained here.
    """
    own_folder(folder)
    require_no_links(folder)
    try:
        with FileLock(folder / ".lock", timeout=0):
            if not (folder / ASKED).is_file() and (other := [name for name in _FILES if (folder / name).exists()]):
                raise ValueError(f"{folder} holds {other[0]}, which was not trained here: give another folder as out")
            if overwrite:
                forget_pictures(folder / PICTURES)
                for name in reversed(_FILES):
                    (folder / name).unlink(missing_ok=True)
            yield
    except Timeout:
        raise ValueError(f"another process trains in {folder}: wait for it, or give another folder as out") from None


def require_same(folder: Path, asked: Mapping[str, Any], known: str) -> None:
    """`ValueError` where the folder's training was asked for something else, or has other samples, of which `known` is
    a hash of what is known before they are read."""
    record, now = _record(folder), json.loads(json.dumps(asked))
    before = record.get("asked")
    for name, value in now.items():
        if before is not None and before.get(name) != value:
            raise ValueError(
                f"the training in {folder} has {name} {before.get(name)!r}, and is asked for {value!r}: give another "
                "folder as out, or overwrite it"
            )
    if record and record.get("known") != known:
        raise ValueError(_OTHERS.format(folder))


def keep(folder: Path, asked: Mapping[str, Any], known: str, data: str, device: str) -> None:
    """Record what a training was asked, with `data`, a hash of all its pictures and their parts.

    Raises `ValueError` where the folder's training has other ones. Warns where it goes on with other libraries, another
    device or number of threads: last digits will differ from those of a training that was not stopped.
    """
    before = _record(folder)
    if before and before["data"] != data:
        raise ValueError(_OTHERS.format(folder))
    made: dict[str, Any] = {"device": device, "threads": torch.get_num_threads()}
    made |= libraries("torch", "torchvision", "pytorch-lightning", "numpy")
    for name, value in made.items():
        if before and before["made"].get(name) != value:
            text = f"the training in {folder} began with {name} {before['made'].get(name)} and goes on with {value}"
            warnings.warn(f"{text}: its weights will differ in last digits from one that was not stopped", stacklevel=3)
    if not before:
        record = {"asked": asked, "known": known, "data": data, "made": made}
        write_whole(folder / ASKED, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def _record(folder: Path) -> dict[str, Any]:
    if not (folder / ASKED).is_file():
        return {}
    with whole_files(folder):
        found: dict[str, Any] = json.loads((folder / ASKED).read_text("utf-8"))
        return {name: found[name] for name in ("asked", "known", "data", "made")}


@contextmanager
def whole_files(folder: Path) -> Iterator[None]:
    """What goes wrong where a file of the folder is damaged says so, and what to do."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
        raise ValueError(
            f"the training in {folder} is damaged ({in_one_line(error)}): restore it, give another folder as out, or "
            "overwrite it"
        ) from error
