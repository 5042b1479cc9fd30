"""What made a run: versions, machine, models, data sets, methods and metrics, as the folder keeps them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from camfaith.benchmark.results.folder import Part
from camfaith.benchmark.running.block import Block, Named
from camfaith.benchmark.suite.arms import Arm, Judge
from camfaith.benchmark.suite.identity import NUMERICAL, libraries, model_facts
from camfaith.benchmark.suite.settings import parameters_of


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    return found | libraries("camfaith", *NUMERICAL, "pandas", "pyarrow")


def git_state() -> dict[str, Any] | None:
    """The commit of the folder that the run was started in, and whether it had changes; None outside git. A folder's
    own settings may name programs to run (a file monitor, filters of content, those of submodules): none is."""
    settings = {"core.fsmonitor": "false"}

    def ask(*words: str) -> str:
        given = {"GIT_CONFIG_COUNT": str(len(settings))}
        for place, (name, value) in enumerate(settings.items()):
            given |= {f"GIT_CONFIG_KEY_{place}": name, f"GIT_CONFIG_VALUE_{place}": value}
        done = subprocess.run(  # noqa: S603
            ["git", *words],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            env={**os.environ, **given},
        )
        return done.stdout

    try:
        commit = ask("rev-parse", "HEAD").strip()
        named = ask("config", "--list", "--name-only", "-z").split("\0")
        settings |= dict.fromkeys((name for name in named if name.startswith("filter.")), "")
        return {"commit": commit, "changed": bool(ask("status", "--porcelain", "--ignore-submodules=all"))}
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def machine() -> dict[str, Any]:
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"name": name, "threads": torch.get_num_threads(), "command": sys.argv[:1]}


def describe(
    blocks: Sequence[Block], known: Mapping[str, Any], changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What the suite asks for, and what is kept `known` of models and setups; of models that are not loaded, what was
    known before. `changes`: by block, how far its shortcuts move scores."""
    models, setups, methods = (dict(known.get(name, {})) for name in ("models", "setups", "methods"))
    for block in blocks:
        if block.is_open:
            methods |= {arm.key: _drawing(arm) for arm in block.bench.arms}
            models[block.model.label] = _model(block)
            setups[block.name] = {**setups.get(block.name, _setup(block)), **changes.get(block.name, {})}
        elif block.model.label in models:
            models[block.model.label] |= {"declared": block.model.declared}
    data = {b.data: {"name": b.data, "samples": len(b.dataset), "ids": list(b.dataset.ids)} for b in blocks}
    return {
        "known": {"models": models, "setups": setups, "methods": methods},
        "blocks": [{"model": b.model.label, "dataset": b.data, "folder": b.name, "context": b.context} for b in blocks],
        "models": [
            models.get(label, {"name": label, "layer": None}) for label in dict.fromkeys(b.model.label for b in blocks)
        ],
        "datasets": list(data.values()),
        "methods": [_method(method, methods.get(method.key, {})) for method in blocks[0].methods],
        "metrics": [_metric(judge) for judge in blocks[0].asked],
        "engine": [{"model": b.model.label, "dataset": b.data, **setups[b.name]} for b in blocks if b.name in setups],
    }


def _model(block: Block) -> dict[str, Any]:
    classifier, bench = block.bench.classifier, block.bench
    return {
        "name": block.model.label,
        "key": block.model.key,
        "declared": block.model.declared,
        "source": classifier.name,
        "layer": bench.layer,
        "layers": {arm.label: ", ".join(arm.needed_layers) or None for arm in bench.arms},
        "classes": list(classifier.class_names or block.dataset.class_names or ()) or None,
        **model_facts(classifier),
    }


def _setup(block: Block) -> dict[str, Any]:
    bench = block.bench
    return {"setup": asdict(bench.setup), "device": bench.classifier.device.type, "labels_fit": bench.labels_fit}


def _drawing(arm: Arm) -> dict[str, Any]:
    """What must be known of a method's maps to draw them."""
    flags = {name: getattr(arm, name) for name in ("of_pixels", "unsigned", "displayed")}
    return {"control": arm.control, "rectified": arm.rectified, **flags}


def _method(method: Named, known: Mapping[str, Any]) -> dict[str, Any]:
    parameters = parameters_of(method.kind, method.entry.settings)
    layer = {} if method.entry.layer is None else {"layer": method.entry.layer}
    told = {"label": method.label, "name": method.entry.name, "key": method.key, "control": False}
    told["version"] = str(getattr(method.kind, "version", 1))
    return {**told, "parameters": {**parameters, **layer}, **known}


def _metric(judge: Judge) -> dict[str, Any]:
    together = {"over": list(judge.over), "cells": judge.key} if judge.over else {}
    return {
        **together,
        "label": judge.label,
        "name": judge.name,
        "preset": judge.preset,
        "key": judge.own_key,
        "version": str(getattr(judge.metric, "version", 1)),
        "parameters": {k: repr(v) if callable(v) else v for k, v in judge.parameters.items()},
        "main": judge.metric.main,
        "better": dict(judge.metric.better),
        "undefined": judge.metric.undefined,
    }


def conditions_of(block: Block, parts: Sequence[Part]) -> list[Mapping[str, Any]]:
    """The conditions under which a block's parts were made, each once: other ones move last digits."""
    found: list[Mapping[str, Any]] = []
    for note in (part.note for part in parts if part.block == block.name):
        if note.context == block.context and note.made and note.made not in found:
            found.append(note.made)
    return found
