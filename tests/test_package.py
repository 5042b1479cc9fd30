"""The installed package holds what it needs, and works away from the repository."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("room", "path"),
    [
        *((room, "py.typed") for room in ("models", "methods", "metrics", "benchmark", "reports")),
        ("models", "weights/fundus-resnet.safetensors"),
        ("models", "weights/fundus-vgg.safetensors"),
        ("models", "weights/fundus-effnet.safetensors"),
        ("models", "weights/fundus-tag-resnet.safetensors"),
        ("models", "weights/accuracy.json"),
        ("benchmark", "suite/shipped/quick.toml"),
        ("benchmark", "claims/shipped/corners.toml"),
        ("reports", "templates/report.html"),
    ],
)
def test_what_is_not_code_is_installed(room, path):
    assert files(f"camfaith.{room}").joinpath(path).is_file()


def test_no_room_is_installed_under_its_bare_name(tmp_path):
    code = "import importlib.util as u; print([r for r in ('metrics', 'benchmark', 'reports') if u.find_spec(r)])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]"


def test_the_command_is_installed_and_works_elsewhere(tmp_path):
    (command,) = (point for point in entry_points(group="console_scripts") if point.name == "camfaith")
    assert command.value == "camfaith.benchmark.cli.command_line:main"
    code = "from camfaith.benchmark.cli.command_line import main; main()"
    words = [sys.executable, "-c", code, "list", "suites"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "suites: aptos2019, ham10000, quick"


@pytest.mark.parametrize(
    ("folder", "most"),
    [*((room, 300) for room in ("models", "methods", "metrics", "benchmark", "reports")), ("tests", 400)],
)
def test_no_file_is_long(folder, most):
    sources = sorted((Path(__file__).parents[1] / folder).rglob("*.py"))
    lengths = {str(path): len(path.read_text("utf-8").splitlines()) for path in sources}
    assert lengths, f"no file of {folder}/ was found"
    long = {path: length for path, length in lengths.items() if length > most}
    assert not long, f"longer than {most} lines: {long}; a file has one purpose, so give what is new a file of its own"
