"""Telling the C library to keep the memory that a network gives back, so that the next batch finds it warm."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # glibc's malloc.h
_state = {"kept": False}


def keep_memory() -> bool:
    """Keeps freed memory with this process from now on; returns whether the C library could be told so.

    By default glibc maps every large activation anew and gives it back when it is freed, so that each batch waits for
    the kernel to hand out and clear the same pages again. Without this a network on the CPU runs up to twice as fast.
    No number changes, and the process holds the most memory that it ever needed. This is for a process of one's own,
    such as `camfaith run`: a library should not decide it for its host. Only glibc can be told.
    """
    if sys.platform != "linux" or not hasattr(library := ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    _state["kept"] = bool(library.mallopt(_MMAP_MAX, 0)) and bool(library.mallopt(_TRIM_THRESHOLD, 2**31 - 1))
    return _state["kept"]


def memory_is_kept() -> bool:
    """Whether `keep_memory` was called in this process, with success."""
    return _state["kept"]
