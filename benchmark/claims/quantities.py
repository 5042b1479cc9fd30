"""What claims are about: the values that a run holds of every sample, of one model on one data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from camfaith.benchmark.claims.declaration import Quantity, Scope
from camfaith.benchmark.results.accuracy import predicted, strangers
from camfaith.benchmark.results.intervals import Floats
from camfaith.benchmark.results.pictures import opened
from camfaith.benchmark.results.store import Result, map_of
from camfaith.models.lookup import UnknownName

_AT_ONCE = 64
"""Samples whose maps are in memory together."""


class NotMeasured(ValueError):
    """The run has no such values; the message says what it lacks."""


class Quantities:
    """The values of quantities in a run; each is read, or worked out, once."""

    def __init__(self, result: Result) -> None:
        self.result, self.info = result, result.info
        self._known: dict[tuple[Quantity, str, str], pd.Series] = {}
        self._metrics: dict[tuple[str, str | None], pd.DataFrame] = {}

    def samples(self, model: str, dataset: str) -> pd.DataFrame:
        """A row for each sample that the model saw: cluster, label, target and logits."""
        self._require("model", model, [m["name"] for m in self.info["models"]])
        self._require("data set", dataset, [d["name"] for d in self.info["datasets"]])
        found = self._seen[(self._seen["model"] == model) & (self._seen["dataset"] == dataset)]
        if found.empty:
            raise NotMeasured(f"{model} saw no sample of {dataset}")
        return found.drop_duplicates("sample", keep="last").set_index("sample")

    def within(self, scope: Scope, model: str, dataset: str) -> pd.DataFrame:
        """Those of the samples that a scope means."""
        samples = self.samples(model, dataset)
        if scope.target is not None:
            samples = samples[samples["target"] == self._class(scope.target, model)]
        if scope.where is not None:
            value = self.values(scope.where, model, dataset).reindex(samples.index)
            low = -np.inf if scope.where.at_least is None else scope.where.at_least
            high = np.inf if scope.where.at_most is None else scope.where.at_most
            samples = samples[value.between(low, high)]
        return samples

    def values(self, quantity: Quantity, model: str, dataset: str) -> pd.Series:
        """The value of each sample, NaN where there is none; of the quantity's own model, if it names one."""
        model = quantity.model or model
        index = self.samples(model, dataset).index
        if quantity.number is not None:
            return pd.Series(quantity.number, index)
        key = (quantity, model, dataset)
        if key not in self._known:
            self._known[key] = self._found(quantity, model, dataset, index).reindex(index).astype(float)
        return self._known[key]

    def _found(self, quantity: Quantity, model: str, dataset: str, index: pd.Index) -> pd.Series:
        for method in quantity.of_methods:
            self._require("method", method, [m["label"] for m in self.info["methods"]])
        if quantity.metric is not None:
            return self._metric(quantity, model, dataset)
        if quantity.cost is not None:
            return self._cost(quantity, model, dataset)
        if quantity.prediction is not None:
            return self._prediction(quantity.prediction, model, dataset)
        return self._similarity(quantity, model, dataset, index)

    def _metric(self, quantity: Quantity, model: str, dataset: str) -> pd.Series:
        metric, column = str(quantity.metric), quantity.column
        self._require("metric", metric, ["diagnostics", *(m["label"] for m in self.info["metrics"])])
        if (metric, column) not in self._metrics:
            try:
                self._metrics[metric, column] = self.result.table(metric, column)
            except ValueError as error:
                raise NotMeasured(str(error)) from None
        table = self._metrics[metric, column]
        missing = [method for method in quantity.of_methods if method not in table]
        if missing:
            raise NotMeasured(f"{metric} {column or ''} has no value of {missing[0]}".replace("  ", " "))
        table = table[list(quantity.of_methods)]
        place = (table.index.get_level_values("model") == model) & (table.index.get_level_values("dataset") == dataset)
        return table[place].droplevel(["model", "dataset"]).mean(axis=1, skipna=False)

    def _cost(self, quantity: Quantity, model: str, dataset: str) -> pd.Series:
        costs = self._costs[(self._costs["model"] == model) & (self._costs["dataset"] == dataset)]
        wide = costs.pivot_table(index="sample", columns="method", values=str(quantity.cost), aggfunc="last")
        return wide.reindex(columns=list(quantity.of_methods)).mean(axis=1, skipna=False)

    def _prediction(self, what: str, model: str, dataset: str) -> pd.Series:
        samples = self.samples(model, dataset)
        about = next(m for m in self.info["models"] if m["name"] == model)
        logits = np.stack(samples["logits"].to_list())
        chosen, confidence = predicted(logits, about.get("head", "softmax"))
        if what == "confidence":
            return pd.Series(confidence, samples.index)
        if samples["label"].isna().all():
            raise NotMeasured(f"no sample of {dataset} has a label, or it has several")
        if (model, dataset) in strangers(self.info):
            raise NotMeasured(f"the labels of {dataset} are not the classes that {model} predicts")
        return pd.Series(chosen == samples["label"], samples.index).astype(float).where(samples["label"].notna())

    def _similarity(self, quantity: Quantity, model: str, dataset: str, index: pd.Index) -> pd.Series:
        from camfaith.metrics import similarity  # loads torch

        alike = {"spearman": similarity.spearman, "ssim": similarity.ssim, "top-k": similarity.top_k}
        found = pd.Series(np.nan, index)
        for samples, maps in self._maps(quantity.of_methods, model, dataset, index):
            try:
                found[samples] = _over_pairs(alike[str(quantity.similarity)], maps)
            except ValueError as error:  # too small for a window
                raise NotMeasured(str(error)) from None
        return found

    def _maps(
        self, methods: Sequence[str], model: str, dataset: str, index: pd.Index
    ) -> Iterator[tuple[list[Any], list[Any]]]:
        """Samples that have a map of all methods, and their maps (B×H×W) by each, as the methods mean them, at the
        images' size."""
        import torch

        from camfaith.models.maps import rectify, upsample

        def drawn(row: Any, size: tuple[int, int]) -> torch.Tensor:
            raw = torch.from_numpy(map_of(row).copy())[None]
            return upsample(rectify(raw) if row["rectified"] else raw, size)[0]

        for start in range(0, len(index), _AT_ONCE):
            asked = {"model": model, "dataset": dataset, "sample": list(index[start : start + _AT_ONCE])}
            rows = self.result.read("maps", method=list(methods), **asked)
            by = {(row["sample"], row["method"]): row for row in rows.to_dict("records")}
            sizes: dict[tuple[int, int], list[Any]] = {}
            for sample, image in self.result.read("pictures", **asked)[["sample", "image"]].to_numpy():
                if not image:
                    raise NotMeasured("the run kept no pictures, so the size of its images is not known")
                if all((sample, method) in by for method in methods):
                    sizes.setdefault(opened(image).size, []).append(sample)
            for (width, height), samples in sizes.items():
                yield (
                    samples,
                    [torch.stack([drawn(by[sample, m], (height, width)) for sample in samples]) for m in methods],
                )

    @cached_property
    def _seen(self) -> pd.DataFrame:
        return self.result.columns("pictures", "model", "dataset", "sample", "cluster", "label", "target", "logits")

    @cached_property
    def _costs(self) -> pd.DataFrame:
        of = ("model", "dataset", "sample", "method", "method_key", "status", "seconds", "forwards", "backwards")
        costs = self.result.columns("maps", *of)
        return costs[costs["status"] == "ok"]

    def _class(self, target: str | int, model: str) -> int:
        if isinstance(target, int):
            return target
        names = next(m for m in self.info["models"] if m["name"] == model).get("classes") or []
        self._require(f"class of {model}", target, names)
        return int(names.index(target))

    @staticmethod
    def _require(what: str, name: str, known: Sequence[str]) -> None:
        if name not in known:
            raise NotMeasured(f"the run lacks it: {UnknownName(what, name, known)}")


def _over_pairs(alike: Callable[[Any, Any], Any], maps: Sequence[Any]) -> Floats:
    """The mean over all pairs of methods; NaN where a pair has none."""
    found: Floats = np.mean([alike(a, b).numpy() for a, b in combinations(maps, 2)], axis=0)
    return found
