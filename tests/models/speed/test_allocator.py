"""Freed memory is kept where the C library can be told so, and no number changes by it."""

import platform
import subprocess
import sys

import pytest

from camfaith.models.speed import allocator

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")

PROGRAM = """
import torch
from camfaith.models.speed.allocator import keep_memory, memory_is_kept

torch.manual_seed(0)
network, images = torch.nn.Conv2d(3, 32, 3), torch.rand(16, 3, 64, 64)
assert memory_is_kept() is False, "before"
expected = network(images)
assert keep_memory() is True, "told"
assert memory_is_kept() is True, "after"
assert all(torch.equal(network(images), expected) for _ in range(3)), "numbers"
"""


@glibc
def test_memory_is_kept_from_the_call_on_and_numbers_stay():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


class Musl:
    """A C library that knows no mallopt."""


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """As in a process where nobody asked for it yet."""
    monkeypatch.setitem(allocator._state, "kept", False)


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_left_alone(system, monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", system)
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: pytest.fail("asked for a library"))
    assert allocator.keep_memory() is False
    assert allocator.memory_is_kept() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "linux")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _name: Musl())
    assert allocator.keep_memory() is False
    assert allocator.memory_is_kept() is False
