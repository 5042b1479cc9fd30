"""A run's folder: what was asked for, and results in parts that are written whole or not at all.

run.json                      the suite as last asked for, versions, machine, seeds, and its own checksum
unfinished/<block>--<span>    what a run that was stopped had of a span
errors/<who>.txt              how a method or metric came to fail, the last time
parts/<block>/<span>/<n>/     what the n-th write added for a span of samples of one model × data set
    part.json                 its cells by key, its answers by probe, and the checksum of every file
    scores.parquet ...        its tables (`tables.SCHEMAS`), those that have rows
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import filelock
import pyarrow as pa
import pyarrow.parquet as pq

from camfaith.benchmark.results.files import own_folder, require_no_link, require_no_links, sync, write_whole

_NOTE = "part.json"


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked; the message says what to do."""


@dataclass(frozen=True)
class Note:
    """What `part.json` says of a part.

    `samples` and `unusable`: the content of each sample by its id, "" where it could not be read. `cells`: the metrics'
    keys for each method's, held for every sample. `maps`: the layers that each explained method reads, and which of
    them its maps account for. `answers`: the keys of the probes that were answered. `pictures`: "all" where it holds
    the samples' logits and images, "none" where it holds logits alone, else "". `pixels`: of the images. `made`: the
    conditions that move last digits, empty where no network was asked.
    """

    context: str
    model: str
    dataset: str
    samples: Mapping[str, str]
    unusable: Mapping[str, str]
    cells: Mapping[str, Sequence[str]]
    maps: Mapping[str, Mapping[str, Any]]
    answers: Sequence[str]
    pictures: str
    pixels: int
    made: Mapping[str, Any]
    versions: Mapping[str, str]
    planned: Mapping[str, int]
    tally: Mapping[str, float]
    files: Mapping[str, str]


@dataclass(frozen=True)
class Part:
    """A part as it lies in the folder."""

    path: Path
    note: Note

    @property
    def block(self) -> str:
        """The name of its block's folder."""
        return self.path.parent.parent.name

    @property
    def span(self) -> int:
        return int(self.path.parent.name)

    def file(self, table: str) -> Path | None:
        """The file of a table; None where that has no rows."""
        return self.path / f"{table}.parquet" if f"{table}.parquet" in self.note.files else None

    def damage(self, tables: Sequence[str] | None = None) -> str:
        """What is wrong with its files (None: all of them); "" where they are as they were written."""
        for name, checksum in self.note.files.items():
            if tables is None or name.removesuffix(".parquet") in tables:
                try:
                    if _checksum(self.path / name) != checksum:
                        return f"{self.path / name} is not as it was written"
                except OSError as error:
                    return f"{self.path / name} cannot be read ({error.strerror or error})"
        return ""


class RunFolder:
    """Reads and writes a run's folder. Several processes may write to it, each to the spans that it has claimed."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def info_path(self) -> Path:
        return self.path / "run.json"

    def exists(self) -> bool:
        return self.info_path.is_file()

    def require_no_links(self) -> None:
        """`LinkedFolder` where anything that runs write, or remove, is a link."""
        for name in ("parts", "claims", "errors", "unfinished"):
            require_no_links(self.path / name)
        for name in ("run.lock", "report"):
            require_no_link(self.path / name)

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says; `RunFolderError` where there is none, or one that is not as it was written."""
        if not self.exists():
            raise RunFolderError(f"{self.path} is no run folder: it holds no run.json; give the folder of a run")
        try:
            found = json.loads(self.info_path.read_text("utf-8"))
            if found.pop("checksum") == _digest(found):
                return dict(found)
        except (ValueError, RecursionError, LookupError, AttributeError, TypeError):
            pass
        raise RunFolderError(
            f"{self.info_path} is not as it was written: edited, damaged, or made by an earlier version of camfaith; "
            "restore it, or run its suite once more, into another folder or with overwrite"
        )

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace `run.json` in one step; for who is `alone`."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = json.loads(json.dumps(info, default=str))
        write_whole(self.info_path, json.dumps({**content, "checksum": _digest(content)}, indent=2) + "\n")
        sync(self.path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold `run.json`, for as long as it takes to read and replace it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.path / "run.lock"):
            yield

    @contextmanager
    def claim(self, name: str, *, wait: bool) -> Iterator[bool]:
        """Hold a span, or a block, by its name; gives whether it is held, which with `wait` it is in the end.

        The claim of a process that died is free.
        """
        lock = filelock.FileLock(self._claims / f"{name.replace('/', '--')}.lock")
        self._claims.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    @property
    def _claims(self) -> Path:
        return self.path / "claims"

    def parts(self, block: str = "*", span: str = "*") -> list[Part]:
        """The parts of a block and span, in the order of their names; those without a readable `part.json` left out."""
        found = [(path, _read_note(path)) for path in self._part_folders(block, span)]
        return [Part(path, note) for path, note in found if note is not None]

    def _part_folders(self, block: str = "*", span: str = "*") -> list[Path]:
        folders = [path for path in (self.path / "parts").glob(f"{block}/{span}/*") if path.name.isdigit()]
        return sorted(folders, key=lambda path: (path.parent.parent.name, path.parent.name, int(path.name)))

    def damaged(self, tables: Sequence[str] | None = None, block: str = "*", span: str = "*") -> dict[Path, str]:
        """The parts that are not as they were written, and what is wrong with each."""
        found = {}
        for path in self._part_folders(block, span):
            if wrong := _damage(path, tables):
                found[path] = wrong
        return found

    def write_part(self, block: str, span: int, note: Note, tables: Mapping[str, pa.Table]) -> Path:
        """Write one part, whole or not at all, for a span that is claimed; raises `OSError` (a full disk, say) and
        leaves no trace of it then."""
        folder = self.path / "parts" / block / f"{span:07d}"
        numbers = [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
        final = folder / str(max(numbers, default=-1) + 1)
        draft = final.with_suffix(".part")
        try:
            draft.mkdir(parents=True)
            files = {}
            for name, table in tables.items():
                if table.num_rows:
                    path = draft / f"{name}.parquet"
                    pq.write_table(table, path, compression="zstd")
                    sync(path)
                    files[path.name] = _checksum(path)
            content = {**asdict(note), "files": files}
            (draft / _NOTE).write_text(json.dumps({"checksum": _digest(content), **content}), "utf-8")
            sync(draft / _NOTE)
            sync(draft)
            os.replace(draft, final)
            for above in (folder, folder.parent, folder.parent.parent):
                sync(above)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, OSError):
                hint = f"cannot write results to {final}: {error.strerror or error}; what was written before is whole"
                raise OSError(error.errno, hint) from error
            raise
        return final

    def write_trace(self, who: str, trace: str) -> None:
        """Keep how a method or metric came to fail, the last time."""
        path = self.trace_path(who)
        own_folder(path.parent)
        write_whole(path, trace)

    def unfinished_path(self, block: str, span: int) -> Path:
        """Where a stopped run keeps what it had of a span."""
        return self.path / "unfinished" / f"{block}--{span:07d}"

    def trace_path(self, who: str) -> Path:
        return self.path / "errors" / f"{_readable(who)}.txt"

    def drop(self, part: Path) -> None:
        """Remove a part if it is damaged; what it held is missing then, and made again. Another process may have done
        so already, and written a sound part of that name."""
        with self.claim(part.parent.relative_to(self.path / "parts").as_posix(), wait=True):
            if part.exists() and _damage(part):
                shutil.rmtree(part)

    def tidy(self, block: str, span: int) -> None:
        """Remove what a killed process left half-written in a span that is claimed."""
        for leftover in (self.path / "parts" / block / f"{span:07d}").glob("*.part"):
            shutil.rmtree(leftover)

    def clear(self) -> None:
        """Remove what runs wrote here, and nothing else; `RunFolderError` while another process writes."""
        with ExitStack() as held:
            for lock in self._claims.glob("*.lock"):
                if not held.enter_context(self.claim(lock.stem, wait=False)):
                    raise RunFolderError(f"another run is writing to {self.path}; wait for it, or give another folder")
            self.info_path.unlink(missing_ok=True)  # first: without it, what is left is nobody's
            if self.path.is_dir():
                sync(self.path)
            for folder in ("parts", "report", "errors", "unfinished"):
                shutil.rmtree(self.path / folder, ignore_errors=True)


def block_name(model: str, dataset: str) -> str:
    """The name of a block's folder: safe on every file system, and different for different models and data."""
    return (
        f"{_readable(f'{model}--{dataset}')}-{hashlib.sha256(chr(0).join((model, dataset)).encode()).hexdigest()[:8]}"
    )


def _readable(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in text)[:80]


def _damage(path: Path, tables: Sequence[str] | None = None) -> str:
    """What is wrong with the part in a folder; "" where nothing is."""
    note = _read_note(path)
    return f"{path / _NOTE} is damaged or missing" if note is None else Part(path, note).damage(tables)


def _read_note(path: Path) -> Note | None:
    """What a part's `part.json` says; None where it is missing or not as it was written. `RunFolderError` where another
    version of camfaith wrote it: that is no damage."""
    content: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        found = json.loads((path / _NOTE).read_text("utf-8"))
        content = found if isinstance(found, dict) else {}
    if not content or content.pop("checksum", None) != _digest(content):
        return None
    if set(content) != {field.name for field in fields(Note)}:
        raise RunFolderError(f"{path} was written by another version of camfaith; read it with that one, or overwrite")
    return Note(**content)


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
