"""Each metric is asked about true maps and worse ones, before every network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from camfaith import metrics
from camfaith.benchmark.validity.asking import forwards, way_of
from camfaith.benchmark.validity.degrading import DEGRADATIONS, GRADES, Graded
from camfaith.benchmark.validity.networks import LAYER, NETWORKS, Known, known_networks
from camfaith.benchmark.validity.ordering import mean_of, order_of
from camfaith.benchmark.validity.table import EVERY, YARDSTICK
from camfaith.metrics import Metric
from camfaith.metrics.functional import pearson
from camfaith.models import Classifier
from camfaith.models.errors import RAISED, in_one_line

Scores = dict[str, Tensor]
"""A metric's scores by degradation (images × grades), higher is better."""


def examined(names: Iterable[str] = metrics.SHIPPED, tell: Callable[[str], Any] = str) -> pd.DataFrame:
    """The table of the metrics whose main column has a direction (`table` says what is in it), led by the yardstick
    that knows the truth; `tell` is called with each name before the metric is asked."""
    asked = [Asked.of(known) for known in known_networks()]
    rows = list(_rows({"metric": YARDSTICK}, [each.nearness() for each in asked]))
    for name in names:
        kind = metrics.find(name)
        if kind.main not in kind.better:
            continue
        tell(name)
        told = {"metric": name, "version": kind.version}
        try:
            metric = kind()
            found = [each.scores(metric) for each in asked]
        except RAISED as error:
            rows.append({**told, "unasked": in_one_line(error)})
        else:
            told["way"], (told["an_image"], told["a_map"]) = way_of(metric), forwards(metric)
            rows += _rows(told, found)
    return pd.DataFrame([{**row, "unasked": row.get("unasked")} for row in rows])


@dataclass(frozen=True)
class Asked:
    """What metrics are asked before one network: the true maps, and all that are worse, with the methods that make
    them."""

    known: Known
    classifier: Classifier
    methods: dict[str, Graded]
    maps: dict[str, Tensor]

    @classmethod
    def of(cls, known: Known) -> Asked:
        methods = {
            _name(degradation, grade): Graded(known, degrade, grade)
            for degradation, degrade in DEGRADATIONS.items()
            for grade in range(GRADES)
        }
        maps = {name: method.maps() for name, method in methods.items()}
        return cls(known, Classifier.of(known.network), methods, maps)

    def scores(self, metric: Metric) -> Scores:
        """What the metric says of them."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is undefined is counted
            found = metric(
                self.classifier,
                self.known.images,
                self.known.targets,
                self.maps,
                masks=self.known.masks,
                layer=LAYER,
                seeds=self.known.seeds,
                method=self.methods,
            )
        sign = 1 if metric.better[metric.main] == "higher" else -1
        return _by_degradation({name: sign * columns[metric.main] for name, columns in found.items()})

    def nearness(self) -> Scores:
        """Pearson's correlation with the true map: what a metric would say that knew it."""
        truth = self.known.truth.flatten(1)
        return _by_degradation({name: pearson(truth, maps.flatten(1)) for name, maps in self.maps.items()})


def _name(degradation: str, grade: int) -> str:
    """The true map is one, whatever it is to be degraded by."""
    return f"{degradation} {grade}" if grade else "true"


def _by_degradation(scores: Mapping[str, Tensor]) -> Scores:
    return {name: torch.stack([scores[_name(name, grade)] for grade in range(GRADES)], 1) for name in DEGRADATIONS}


def _rows(told: dict[str, Any], found: list[Scores]) -> Iterator[dict[str, Any]]:
    """A row for each network, and before them one for all, which holds what is `told` of the metric."""
    orders = {
        known: {name: order_of(values.numpy(), seed, _rounding(scores)) for name, values in scores.items()}
        for seed, (known, scores) in enumerate(zip(NETWORKS, found, strict=True))
    }
    every = {degradation: mean_of([each[degradation] for each in orders.values()]) for degradation in DEGRADATIONS}
    for known, by_degradation in {EVERY: every, **orders}.items():
        row: dict[str, Any] = {**(told if known == EVERY else {"metric": told["metric"]}), "network": known}
        row["images"] = min(order.images for order in by_degradation.values())
        columns = {"tau": mean_of(list(by_degradation.values())), **by_degradation}
        for column, order in columns.items():
            low, high = order.interval()
            row |= {column: order.tau, f"{column}_low": low, f"{column}_high": high}
        yield row


def _rounding(scores: Scores) -> float:
    """What is no difference: a millionth of the greatest score."""
    return 1e-6 * max(float(values.abs().nan_to_num(0, 0, 0).max()) for values in scores.values())
