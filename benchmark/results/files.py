"""Files that are written whole or not at all, and never through a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class LinkedFolder(ValueError):
    """A folder that is a link: what is written or removed in it would lie elsewhere."""


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Gives a draft to write to, beside the file; at the end it is on the disk and takes the file's place. Where the
    block fails there is no draft left, and the file is as it was."""
    path = Path(path)
    for left in path.parent.glob(f".{_escaped(path.name)}.*.part"):
        if not _is_alive(left.name.split(".")[-2]):
            left.unlink(missing_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    draft.unlink(missing_ok=True)
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # which follows no link
        yield draft
        sync(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes | str) -> None:
    """Write bytes, or text in UTF-8."""
    with whole(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def own_folder(path: Path) -> Path:
    """The folder, made where it is missing; `LinkedFolder` where it is a link."""
    require_no_link(path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def require_no_link(path: Path) -> None:
    """`LinkedFolder` where the file or folder is a link."""
    if path.is_symlink():
        raise LinkedFolder(f"{path} is a link to {os.readlink(path)}; remove it, so that nothing is written there")


def require_no_links(folder: Path) -> None:
    """`LinkedFolder` where the folder is a link, or anything in it, however deep."""
    require_no_link(folder)
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            require_no_link(Path(place, name))


def sync(path: Path) -> None:
    """Have a file's, or a folder's, content on the disk before anything is renamed to it."""
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _is_alive(process: str) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    with suppress(ValueError, ProcessLookupError):
        with suppress(PermissionError):  # somebody else's is alive
            os.kill(int(process), 0)
        return True
    return False
