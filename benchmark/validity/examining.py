"""Each metric is asked about true maps and worse ones, before every network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
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
    networks = known_networks()
    classifiers = {known.name: Classifier.of(known.network) for known in networks}
    rows = list(_rows({"metric": YARDSTICK}, [_nearness(known) for known in networks]))
    for name in names:
        kind = metrics.find(name)
        if kind.main not in kind.better:
            continue
        tell(name)
        told = {"metric": name, "version": kind.version}
        try:
            metric = kind()
            found = [scores(metric, known, classifiers[known.name]) for known in networks]
        except RAISED as error:
            rows.append({**told, "unasked": in_one_line(error)})
        else:
            told["way"], (told["an_image"], told["a_map"]) = way_of(metric), forwards(metric)
            rows += _rows(told, found)
    return pd.DataFrame(rows)


def scores(metric: Metric, known: Known, classifier: Classifier) -> Scores:
    """What the metric says of the true maps, and of all that are worse."""
    methods = {
        (name, grade): Graded(known, degrade, grade)
        for name, degrade in DEGRADATIONS.items()
        for grade in range(0 if name == next(iter(DEGRADATIONS)) else 1, GRADES)
    }
    named = {f"{name} {grade}": method for (name, grade), method in methods.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is undefined is counted
        found = metric(
            classifier,
            known.images,
            known.targets,
            {name: method.maps() for name, method in named.items()},
            masks=known.masks,
            layer=LAYER,
            seeds=known.seeds,
            method=named,
        )
    sign = 1 if metric.better[metric.main] == "higher" else -1
    true, *_ = found.values()
    every = {name: sign * columns[metric.main] for name, columns in found.items()}
    return {
        name: torch.stack([sign * true[metric.main], *(every[f"{name} {grade}"] for grade in range(1, GRADES))], 1)
        for name in DEGRADATIONS
    }


def _nearness(known: Known) -> Scores:
    """Pearson's correlation with the true map: what a metric would say that knew the truth."""
    truth = known.truth()
    return {
        name: torch.stack(
            [pearson(truth.flatten(1), Graded(known, degrade, grade).maps().flatten(1)) for grade in range(GRADES)], 1
        )
        for name, degrade in DEGRADATIONS.items()
    }


def _rows(told: dict[str, Any], found: list[Scores]) -> Iterator[dict[str, Any]]:
    """A row for each network, and before them one for all, which holds what is `told` of the metric."""
    orders = {
        known: {degradation: order_of(values.numpy(), seed) for degradation, values in scores.items()}
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
