"""A side of a comparison: what one method got in a run, a value for each sample, and what made it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.results.cells import random_control
from camfaith.benchmark.results.intervals import means
from camfaith.benchmark.results.paired import SIGN, differences
from camfaith.benchmark.results.skill import scale_of
from camfaith.benchmark.results.store import Result

BLOCK = ["model", "dataset"]
VALUES = [*BLOCK, "sample", "metric", "column", "value", "status", "error"]
SAMPLES = [*BLOCK, "sample", "cluster", "digest", "target", "logit", "forwards", "backwards"]
REACH = [*BLOCK, "metric", "column", "random", "distance", "best", "lead"]
_NO_FACTS = ("name", "key", "declared", "source", "layer", "layers")


@dataclass(frozen=True, eq=False)
class Side:
    """One method in a run, or in the baseline that was made of it.

    `method`, `models`, `metrics`: what the run says of them, the last two by label. `made`: versions, devices, seed,
    which class is explained. `values`: of every sample, metric and column. `samples`: for each its content's digest,
    the class that was explained, its logit, and the images that went through the network for the map, and back.
    """

    source: str
    stored: str
    """As a "run" or a "baseline"."""
    method: Mapping[str, Any]
    made: Mapping[str, Any]
    models: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, Mapping[str, Any]]
    values: pd.DataFrame
    samples: pd.DataFrame
    find_reach: Callable[[], pd.DataFrame]
    result: Result | None = None

    @property
    def label(self) -> str:
        return str(self.method["label"])

    @cached_property
    def reach(self) -> pd.DataFrame:
        """For each column with a direction the mean of the random control, how far the `best` known map is from it
        (`distance`), and how far the method is (`lead`); a candidate's is never asked for."""
        return self.find_reach()

    @cached_property
    def blocks(self) -> list[tuple[str, str]]:
        """Every model × data set that has samples."""
        return [(str(m), str(d)) for m, d in self.samples[BLOCK].drop_duplicates().to_numpy()]


def side_of(result: Result, method: str | None = None) -> Side:
    """One method of a run, by its label; left out: the only one that is no control. `ValueError` for any other."""
    return sides_of(result, [the_method(methods_of(result), str(result.path)) if method is None else method])[0]


def methods_of(result: Result) -> dict[str, bool]:
    """The run's methods, and whether each is a control."""
    return {m["label"]: bool(m.get("control")) for m in result.info["methods"]}


def the_method(methods: Mapping[str, bool], source: str) -> str:
    """The only one that is no control, or the only one."""
    found = [label for label, control in methods.items() if not control] or list(methods)
    if len(found) != 1:
        raise ValueError(f"{source} has {len(found)} methods: {', '.join(found)}; choose one with --method")
    return found[0]


def sides_of(result: Result, methods: Sequence[str]) -> list[Side]:
    """The same for several methods, for which the tables are read once."""
    known = {m["label"]: m for m in result.info["methods"]}
    for method in methods:
        if method not in known:
            raise ValueError(f"{result.path} has no method {method!r}; it has {', '.join(known)}")
    metrics = {m["label"]: _placeless(m) for m in result.info["metrics"]}
    scores = result.scores[result.scores["metric"].isin(list(metrics)) & (result.scores["method"] != "")]
    scores = scores.drop_duplicates([*BLOCK, "sample", "method", "metric", "column"], keep="last")
    samples, calls, reach = _samples(result), _calls(result), cache(partial(_reach, result))
    found = []
    for method in methods:
        own = calls[calls["method"] == method].drop(columns="method")
        found.append(
            Side(
                source=str(result.path),
                stored="run",
                method=_layered(known[method], result.info),
                made=_made(result.info),
                models={m["name"]: {k: v for k, v in m.items() if k not in _NO_FACTS} for m in result.info["models"]},
                metrics=metrics,
                values=scores.loc[scores["method"] == method, VALUES].reset_index(drop=True),
                samples=samples.merge(own, "left", [*BLOCK, "sample"])[SAMPLES],
                find_reach=partial(_reach_of, method, reach),
                result=result,
            )
        )
    return found


def _samples(result: Result) -> pd.DataFrame:
    """One row per model × data set × sample that was judged."""
    found = result.columns("pictures", *BLOCK, "sample", "cluster", "digest", "target", "logit")
    return found.drop_duplicates([*BLOCK, "sample"], keep="last").reset_index(drop=True)


def _calls(result: Result) -> pd.DataFrame:
    """One row per map."""
    by = [*BLOCK, "sample", "method"]
    found = result.columns("maps", *by, "method_key", "forwards", "backwards").drop(columns="method_key")
    return found.drop_duplicates(by, keep="last")


def _layered(method: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    layers = {m["name"]: m.get("layers", {}).get(method["label"]) for m in info["models"]}
    return {**_placeless(method), "layers": layers}


def _placeless(said: Mapping[str, Any]) -> dict[str, Any]:
    """What a run says of a method or metric, named `file.py:Class` wherever the file lay: it is nobody's business, and
    is elsewhere on the next machine."""
    file, point, kind = said["name"].partition(".py:")
    return {**said, "name": f"{Path(file).name}{point}{kind}" if point else said["name"]}


def _made(info: Mapping[str, Any]) -> dict[str, Any]:
    suite, versions = info["suite"], info["versions"]
    devices = sorted({str(engine["device"]) for engine in info.get("engine", ())})
    return {
        "target": suite.get("target"),
        "seed": suite.get("seed"),
        "until": suite.get("until", "all"),
        "allow": sorted(suite.get("allow", ())),
        "device": ", ".join(devices) or "unknown",
        "status": info.get("status"),
        "created": info.get("created"),
        "versions": {name: version for name, version in versions.items() if name != "platform"},
    }


def _reach(result: Result) -> tuple[pd.DataFrame, list[dict[str, float]]]:
    """For every column with a direction how far the best known map is from the random control (`scale_of`), and by how
    much every method is ahead of random."""
    random = random_control(result.info)
    better = {(m["label"], column): way for m in result.info["metrics"] for column, way in m["better"].items()}
    rows: list[tuple[Any, ...]] = []
    leads = []
    for block in result.blocks:
        for (metric, column), way in better.items():
            known = scale_of(block, metric, column, random)
            if known is None or random is None:
                continue
            rows.append((block.model, block.dataset, metric, column, known.random, known.distance, known.best))
            own = block.rows(metric, column)
            apart = differences(block.values[list(own.values())], block.values[own[random]], SIGN[way])
            leads.append(dict(zip(own, map(float, means(apart)), strict=True)))
    return pd.DataFrame(rows, columns=REACH[:-1]), leads


def _reach_of(method: str, reach: Callable[[], tuple[pd.DataFrame, list[dict[str, float]]]]) -> pd.DataFrame:
    found, leads = reach()
    return found.assign(lead=[lead.get(method, np.nan) for lead in leads])[REACH]


def within(table: pd.DataFrame, block: tuple[str, str]) -> pd.DataFrame:
    """The rows of one model × data set."""
    return table[(table["model"] == block[0]) & (table["dataset"] == block[1])]


def wide_of(
    side: Side, block: tuple[str, str], samples: pd.Index, columns: Sequence[tuple[str, str]], what: str
) -> Any:
    """`what` of the values (value, status), columns × samples; NaN where there is no row."""
    rows = within(side.values, block)
    at = pd.MultiIndex.from_tuples(columns).get_indexer(pd.MultiIndex.from_frame(rows[["metric", "column"]]))
    place = samples.get_indexer(pd.Index(rows["sample"]))
    kept = (at >= 0) & (place >= 0)
    found = np.full((len(columns), len(samples)), np.nan, float if what == "value" else object)
    found[at[kept], place[kept]] = rows[what].to_numpy()[kept]
    return found
