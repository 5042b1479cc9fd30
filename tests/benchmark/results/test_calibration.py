"""The page of the statistics can be written again: its simulations run, and its words are those of the repository."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

ROOT = Path(__file__).parents[3]


@pytest.fixture
def script(monkeypatch):
    """A file of tests/calibration/, which are scripts and no package."""
    monkeypatch.syspath_prepend(str(ROOT / "tests/calibration"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "tests/calibration")):
            del sys.modules[name]


def test_the_page_is_written_by_its_command(script, monkeypatch):
    page = script("page")
    monkeypatch.setattr(page, "SIZES", (8, 16))
    effort = page.Effort(rows=10, tables=1, planted=1, runs=1, equal=1, unequal=1, claims=2)
    found = page.simulated(effort)
    lines = page.page(found, effort).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == sum(len(of) + 2 for of in found.values()) + 9
    assert not any("| nan" in line or "$" in line for line in lines)
    published = (ROOT / "docs/statistics.md").read_text("utf-8").splitlines()
    words = [line for line in lines if line and not line.startswith("| ")]
    assert [line for line in words if line not in published and not any(c.isdigit() for c in line)] == []


def test_the_bca_intervals_beside_ours_are_scipys(script):
    values = np.random.default_rng(0).lognormal(size=20)
    ours = [float(limit[0]) for limit in script("limits").bca(values[None], np.random.default_rng(1), 9999)]
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=9999, rng=2).confidence_interval
    assert ours == pytest.approx([theirs.low, theirs.high], abs=0.05 * (theirs.high - theirs.low))
