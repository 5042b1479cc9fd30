"""A training that is stopped, in whatever way, ends as one that is not."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pandas as pd
import pytest
import torch

from camfaith.benchmark import finetune
from camfaith.benchmark.training import learning

EPOCHS, STEPS = 6, 5  # 34 pictures to learn from, in batches of 7
KILLED = """
import json, os, signal, sys
import torch
from camfaith.benchmark import finetune

torch.set_num_threads(1)
said, last = json.loads(sys.argv[1]), int(sys.argv[2])
steps = 0

def count(done, total, what):
    global steps
    steps += what.startswith("epoch")
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

finetune(**said, progress=count)
"""


@pytest.fixture(scope="module")
def told(colours_in, tmp_path_factory):
    """A rate so high that the loss rises now and then, and the rate falls."""
    settings = {"size": 16, "batch": 7, "rate": 3.0, "epochs": EPOCHS, "patience": 9}
    return {**colours_in(tmp_path_factory.mktemp("colours")), **settings}


def held(folder):
    """All that a training leaves, but how long it took."""
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    checkpoint["history"] = [{**row, "seconds": 0} for row in checkpoint["history"]]
    return {
        "best": (folder / "model.safetensors").read_bytes(),
        "last": repr(checkpoint),  # which shows every number of tensors as small as these
        "history": pd.read_csv(folder / "history.csv", dtype=str).drop(columns="seconds").to_dict("list"),
        "card": (folder / "model.json").read_text(),
        "evaluation": (folder / "evaluation.json").read_text(),
    }


@pytest.fixture(scope="module")
def whole(told, tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks") / "whole"
    finetune(**told, out=folder)
    return held(folder)


def test_killed_at_a_random_step_it_goes_on_to_the_same_files(told, tmp_path, whole):
    step = random.SystemRandom().randint(1, EPOCHS * STEPS)
    said = json.dumps({**told, "out": str(tmp_path / "killed")})
    ended = subprocess.run([sys.executable, "-c", KILLED, said, str(step)], check=False)
    assert ended.returncode == -signal.SIGKILL
    finetune(**told, out=tmp_path / "killed")
    assert held(tmp_path / "killed") == whole, f"killed at step {step}"


@pytest.mark.parametrize("file", ["model.safetensors", "last.ckpt", "history.csv"])
def test_stopped_before_or_after_a_file_of_an_epoch_it_goes_on_to_the_same_files(
    told, tmp_path, whole, file, monkeypatch
):
    replace, times = os.replace, []

    def stopping(draft, path):
        times.append(str(path).endswith(file))
        if times.count(True) == 2 and times[-1]:
            raise RuntimeError("the plug is pulled")
        replace(draft, path)

    monkeypatch.setattr(os, "replace", stopping)
    with pytest.raises(RuntimeError, match="plug"):
        finetune(**told, out=tmp_path / "stopped")
    monkeypatch.undo()
    finetune(**told, out=tmp_path / "stopped")
    assert held(tmp_path / "stopped") == whole


def test_more_epochs_go_on_as_if_they_had_been_asked_for_at_first(told, tmp_path, whole):
    rates = [float(rate) for rate in whole["history"]["rate"]]
    for epochs in (1, 4, EPOCHS):
        found = finetune(**{**told, "epochs": epochs}, out=tmp_path / "grown")
        assert len(found.history) == epochs
    assert held(tmp_path / "grown") == whole
    assert rates[-1] < rates[0]


def test_a_training_that_has_ended_early_does_not_go_on(told, tmp_path, monkeypatch):
    told = told | {"epochs": 20, "patience": 1}
    first = finetune(**told, out=tmp_path / "early")
    assert len(first.history) < 20
    before = held(tmp_path / "early")
    (tmp_path / "early/evaluation.json").unlink()  # as if it had been killed before it was judged
    assert len(finetune(**told, out=tmp_path / "early").history) == len(first.history)
    assert held(tmp_path / "early") == before
    monkeypatch.setattr(learning, "learn", None)
    again = finetune(**told, out=tmp_path / "early")  # which is read back alone
    assert again.history.equals(first.history)
    assert again.evaluation.keys() == first.evaluation.keys()


def test_ctrl_c_is_an_interrupt_and_leaves_the_handler_of_the_process(told, tmp_path):
    handler = signal.getsignal(signal.SIGINT)

    def interrupt(done, total, what):
        if what.startswith("epoch"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(**told, out=tmp_path / "stopped", progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is handler
