"""Telling the C library to keep the memory that a network gives back, so that the next batch finds it warm."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_state = {"kept": False}


def keep_memory() -> bool:
    """From now on freed memory stays with this process; whether the C library could be told so.

    By default glibc maps every large activation anew and gives it back when it is freed, so that each batch waits for
    the kernel to hand out and clear the same pages again: a network on the CPU runs up to twice as fast without. It
    changes no number, and the process holds the most memory that it ever needed. Meant for a process of one's own, as
    `camfaith run` is; a library should not decide this for its host, so nothing here does unless called. Only glibc.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    _state["kept"] = bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    return _state["kept"]


def memory_is_kept() -> bool:
    """Whether `keep_memory` was called in this process, with success."""
    return _state["kept"]
