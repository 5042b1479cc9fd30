"""The example of somebody's own CAM: it passes its own tests as an installed package, and whatever its author does to
it is told by whom its README says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from camfaith.benchmark import compare, run
from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.benchmark.results.sides import sides_of
from camfaith.methods import find

EXAMPLE = Path(__file__).parents[2] / "examples" / "new-cam"
EDITS = Path(__file__).parent / "edits.py"
TOLD = re.findall(r"^\| .*\(`(\w+)`\) \| (.*) \| (.*) \|$", (EXAMPLE / "README.md").read_text("utf-8"), re.MULTILINE)
"""The README's table of edits: the class, the checks that fail, the gate's verdict and where it comes from."""


def by_the_kit(name):
    """The checks that fail, each on the largest of its inputs."""
    candidate = Candidate(find(f"{EDITS}:{name}"))
    checks = [replace(check, trials=check.trials[-1:]) for check in CHECKS if check.name != "memory"]
    return [check.name for check in checks if check.of(candidate).outcome == "failed"]


def by_the_gate(side):
    found = compare(EXAMPLE / "baselines" / "nearcam.parquet", side, "5%")
    rows, calls = (table.loc[table["verdict"] == found.verdict] for table in (found.rows, found.calls))
    where = [*rows["metric"], *calls["calls"]] if found.verdict != "passed" else []
    return ": ".join([found.verdict, ", ".join(dict.fromkeys(where))]) if where else found.verdict


def test_every_edit_is_told_by_whom_the_readme_says(tmp_path):
    names = [name for name, _, _ in TOLD]
    methods = [{"name": f"{EDITS}:{name}", "label": name} for name in names]
    result = run(EXAMPLE / "suite.toml", methods=methods, out=tmp_path / "run")
    found = [
        (name, ", ".join(by_the_kit(name)) or "–", by_the_gate(side))
        for name, side in zip(names, sides_of(result, names), strict=True)
    ]
    assert found == TOLD


def test_it_passes_its_own_tests_as_an_installed_package(tmp_path):
    pytest.importorskip("setuptools", reason="builds the example")
    copied = shutil.copytree(
        EXAMPLE, tmp_path / "new-cam", ignore=shutil.ignore_patterns("runs", "build", ".*", "*.egg-info")
    )
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--no-deps", "--no-build-isolation", "--target", site, copied], check=True)
    (copied / "nearcam.py").unlink()
    places = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-k", "not memory"],
        capture_output=True,
        text=True,
        cwd=copied,
        env=os.environ | {"PYTHONPATH": places, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
