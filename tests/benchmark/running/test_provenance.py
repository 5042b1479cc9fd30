"""What made a run is found out without running anything that somebody else named."""

from __future__ import annotations

import subprocess

from camfaith.benchmark.running.provenance import git_state


def git(*words):
    who = ("-c", "user.name=n", "-c", "user.email=n@n")
    subprocess.run(["git", *who, *words], check=True, capture_output=True)


def test_a_folders_own_settings_run_no_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert git_state() is None
    git("init", "-q")
    (tmp_path / "file").write_text("before")
    (tmp_path / ".gitattributes").write_text("* filter=a=b\n")
    git("add", ".")
    git("commit", "-qm", "first")
    assert git_state()["changed"] is False
    harm = f"touch {tmp_path}/.git/harm; cat"
    for name in ("core.fsmonitor", "filter.a=b.clean", "filter.a=b.process"):
        git("config", name, harm)
    (tmp_path / "file").write_text("longer than before")
    assert git_state()["changed"] is True
    assert not (tmp_path / ".git" / "harm").exists()
    git("config", "--unset", "filter.a=b.process")
    git("status")
    assert (tmp_path / ".git" / "harm").exists(), "which git itself would have run"
