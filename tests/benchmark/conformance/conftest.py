"""What was there before a test is no matter of it."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(autouse=True)
def only_new_objects():
    """Checks of memory look through what the test makes, and not through all modules that were ever imported."""
    gc.freeze()
    yield
    gc.unfreeze()
