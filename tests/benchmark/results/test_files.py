"""Files are whole or not there, and nothing is written or removed through a link."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.results.files import LinkedFolder, whole, write_whole
from camfaith.models import Classifier
from camfaith.reports import report


@pytest.fixture
def again(small_suite, counting, copy_of):
    small_suite["suite"] |= {"methods": ["gradcam", "random"], "metrics": [{"name": "deletion", "steps": 2}]}
    model = Classifier(counting.inner, name="tiny")
    out = copy_of("run", lambda folder: run(small_suite, models=model, out=folder))
    return lambda **more: run(small_suite, models=model, out=out, **more)


def test_a_file_stays_as_it_was_where_the_new_one_fails(tmp_path):
    path = tmp_path / "a [1].txt"
    write_whole(path, "before")

    def fail(draft: Path) -> None:
        draft.write_text("half")
        raise OSError("full")

    with pytest.raises(OSError, match="full"), whole(path) as draft:
        fail(draft)
    assert path.read_text() == "before"
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_process_left_goes_and_a_link_at_a_drafts_place_is_not_followed(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f".a.txt.{int(dead.stdout)}.part").write_text("left")
    outside = tmp_path / "outside"
    outside.write_text("theirs")
    (tmp_path / f".a.txt.{os.getpid()}.part").symlink_to(outside)
    (tmp_path / "a.txt").symlink_to(outside)
    write_whole(tmp_path / "a.txt", "ours")
    assert sorted(found.name for found in tmp_path.iterdir()) == ["a.txt", "outside"]
    assert ((tmp_path / "a.txt").read_text(), outside.read_text()) == ("ours", "theirs")


def linked(place):
    """Puts the place outside the run's folder, and a link where it was."""

    def move(folder: Path, outside: Path) -> None:
        path = next(iter(folder.glob(place)))
        path.rename(outside / path.name)
        path.symlink_to(outside / path.name)

    return move


PLACES = ["parts", "parts/*", "parts/*/*", "parts/*/*/0", "claims", "claims/*", "run.lock", "report", "report/tables"]


@pytest.mark.parametrize("place", PLACES)
def test_links_in_a_runs_folder_are_refused_and_what_they_point_at_is_left_alone(again, tmp_path, place):
    folder, outside = again().path, tmp_path / "outside"
    asked = [again, lambda: again(overwrite=True)]
    if place.startswith("report"):
        report(folder)
        asked = [lambda: report(folder)]
    outside.mkdir()
    linked(place)(folder, outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    for ask in asked:
        with pytest.raises(LinkedFolder, match=r"is a link to .*; remove it"):
            ask()
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == before


def test_every_file_of_a_report_is_written_beside_its_place_and_renamed(again, monkeypatch):
    result, named = again(), []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda draft, path: named.append(Path(path)) or replace(draft, path))
    page = report(result)
    assert sorted(named) == sorted(path for path in page.parent.rglob("*") if path.is_file())
