"""Metrics whose order is known get it, and the table that ships is that of the metrics as they are."""

from __future__ import annotations

from types import MappingProxyType

import pandas as pd
import torch

from camfaith import metrics
from camfaith.benchmark.validity import examining
from camfaith.benchmark.validity.asking import forwards, way_of
from camfaith.benchmark.validity.choosing import Standing, reported, standings, standings_of, unasked
from camfaith.benchmark.validity.networks import NETWORKS
from camfaith.benchmark.validity.table import EVERY, YARDSTICK, shipped, text_of
from camfaith.metrics import Metric
from camfaith.metrics.functional import pearson
from camfaith.models.errors import NotApplicable

KNOWN = [build() for build in NETWORKS.values()]


class Knowing(Metric):
    """How near a map is to the true one, before all networks but those with grains."""

    name, main, better = "knowing", "nearness", {"nearness": "higher"}

    def judge(self, case, maps, answers):
        known = next(each for each in KNOWN if torch.equal(each.images, case.images))
        nearness = pearson(known.truth.flatten(1), maps.raw.flatten(1))
        return {"nearness": nearness * torch.nan if "grain" in known.name else nearness}


class Misled(Knowing):
    better = MappingProxyType({"nearness": "lower"})


class Area(Metric):
    name, main, better = "area", "pixels", {"pixels": "higher"}

    def judge(self, case, maps, answers):
        return {"pixels": torch.full((len(case),), float(case.pixels))}


class Unable(Metric):
    name, main, better = "unable", "none", {"none": "higher"}

    def judge(self, case, maps, answers):
        raise NotApplicable("it wants what\nnobody has")


class Describing(Area):
    better = MappingProxyType({})


def test_metrics_whose_order_is_known_get_it(monkeypatch):
    kinds = {kind.__name__: kind for kind in (Knowing, Misled, Area, Unable, Describing)}
    monkeypatch.setattr(metrics, "find", kinds.__getitem__)
    found = examining.examined(kinds)
    rows = found[found["network"] == EVERY].set_index("metric")
    assert rows["tau"].to_dict() == {YARDSTICK: 1, "Knowing": 1, "Misled": -1, "Area": 0}
    assert (rows["images"].to_dict(), rows["way"].dropna().unique()) == (
        {YARDSTICK: 112, "Knowing": 64, "Misled": 64, "Area": 112},
        ["map"],
    )
    assert found.set_index("metric")["unasked"].dropna().to_dict() == {"Unable": "it wants what nobody has"}
    every = standings_of(found)
    grains = "undefined before grain-1, grain-4, grain-8"
    degradations = "blur, softening, shift, noise, signs"
    assert {name: each.failings for name, each in every.items()} == {
        "Knowing": (grains,),
        "Misled": (f"prefers {degradations}", "wrong before planted, mosaic, region, corner", grains),
        "Area": (f"cannot tell {degradations}", f"blind before {', '.join(NETWORKS)}"),
    }


def standing(name, way, tau, low, high, an_image=0, a_map=0, failings=()):
    return Standing(name, way, an_image, a_map, tau, low, high, {}, failings)


def test_of_each_way_the_cheapest_that_is_not_shown_to_be_worse_is_reported_and_three_ways_at_most():
    given = [
        standing("best", "curve", 0.95, 0.9, 1, a_map=60),
        standing("cheap", "curve", 0.92, 0.85, 0.95, an_image=60, a_map=20),
        standing("cheaper, and worse", "curve", 0.8, 0.7, 0.89, a_map=1),
        standing("cheapest, and wrong", "curve", 0.93, 0.9, 1, failings=("prefers blur",)),
        standing("parts", "parts", 0.99, 0.98, 1, an_image=400),
        standing("once", "once", 0.5, 0.4, 0.6, a_map=1),
        standing("again", "again", 0.6, 0.5, 0.7, an_image=10),
    ]
    chosen = [each.name for each in reported({each.name: each for each in given})]
    assert chosen == ["parts", "cheap", "again"]


def test_the_table_that_ships_is_that_of_the_shipped_metrics_as_they_are():
    kinds = {name: metrics.find(name) for name in metrics.SHIPPED}
    judging = {name: kind for name, kind in kinds.items() if kind.main in kind.better}
    assert {*standings(), *unasked()} == set(judging), "run python -m camfaith.benchmark.validity"
    told = shipped()[shipped()["network"] == EVERY].set_index("metric")
    for name, each in standings().items():
        metric = kinds[name]()
        assert (told["version"][name], each.way, (each.an_image, each.a_map)) == (
            metric.version,
            way_of(metric),
            forwards(metric),
        ), f"{name} has changed: run python -m camfaith.benchmark.validity"
    assert len(text_of(shipped()).encode()) < 60_000


def test_metrics_that_were_blind_or_preferred_worse_maps_are_mended_and_what_still_does_is_labelled():
    every = standings()
    assert not every["infidelity"].failings
    assert min(every["equal-area-drop"].taus[each] for each in ("blur", "softening")) > 0.5
    assert "prefers blur, softening" in every["average-drop"].failings
    assert "prefers softening" in every["road"].failings
    assert every["energy-pointing-game"].taus["corner"] < 0  # the mask is what a person sees, not what the network does


def test_one_metric_asked_again_gives_the_rows_that_ship():
    name = "average-drop"
    found = pd.read_csv(pd.io.common.StringIO(text_of(examining.examined([name]))))
    wanted, found = (each[each["metric"].isin([name, YARDSTICK])] for each in (shipped(), found))
    columns = [column for column in found if column != "unasked"]
    pd.testing.assert_frame_equal(
        found[columns].reset_index(drop=True), wanted[columns].reset_index(drop=True), check_dtype=False, atol=0.05
    )
