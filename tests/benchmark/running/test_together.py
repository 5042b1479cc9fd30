"""A metric over several methods is given the maps of all that have one of an image, and its cells are of that set."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import pytest
import torch

from camfaith.benchmark import add, run
from camfaith.benchmark.results.comparison import compare
from camfaith.benchmark.running.reading import sample_seed
from camfaith.metrics import Blank, ImageProbe, baseline
from camfaith.models import Classifier
from camfaith.models.maps import is_constant

AGREEMENT = "spearman-agreement"
DELETION = {"name": "deletion", "steps": 3}
BLANK = Blank(baseline("black"))
DUEL = {"name": f"{__name__}:Duel", "label": "duel"}


@dataclass(frozen=True)
class Shown(ImageProbe):
    """The image; for a constant map, one that no network can score."""

    reads = "raw"

    def count(self, pixels):
        return 1

    def fill(self, subject):
        flat = is_constant(subject.read("raw")[None])
        return lambda start, stop, out: out.copy_(torch.where(flat, torch.nan, subject.image))


@dataclass(frozen=True)
class Duel:
    """How many maps are judged together, and what of them. It writes into what it is given."""

    name, main, better, undefined = "duel", "together", {"together": "higher"}, ""

    def probes(self, layer, pixels):
        return [Shown(), BLANK]

    def judge_all(self, case, maps, answers):
        assert all(of.case is case and len(of.raw) == len(case) for of in maps.values())
        total = sum(of.saliency.mean((1, 2)) for of in maps.values()) + case.images.mean((1, 2, 3))
        own = {name: (told[Shown()].logit - told[BLANK].logit)[:, 0] for name, told in answers.items()}
        for written in (case.images, *(of.raw for of in maps.values())):
            written.zero_()
        count = torch.full((len(case),), len(maps))
        return {name: {"together": count, "total": total, "own": own[name]} for name in maps}


class Odd:
    """Fails on some images, and gives constant maps of others."""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        kind = evidence.seeds % 3
        if (kind == 0).any():
            raise RuntimeError("not this one")
        return torch.where((kind == 1)[:, None, None], 1.0, evidence.activations[self.layer].sum(1))


def of_the_first_alone(case, maps):
    return {next(iter(maps)): {"value": case.seeds}}


def with_weights_changed(case, maps):
    with torch.no_grad():
        maps["random"].explainer.classifier.network.inner.head.weight.mul_(0.5)
    return {name: {"value": case.seeds} for name in maps}


BROKEN = {
    "raises": (lambda case, maps: 1 / 0, "ZeroDivisionError: division by zero"),
    "no columns": (lambda case, maps: None, "must give columns by method, of ['gradcam', 'random']; got NoneType"),
    "a method": (of_the_first_alone, "got those of ['gradcam']"),
    "one value": (lambda case, maps: {name: {"value": torch.ones(1)} for name in maps}, "must give 4 values"),
    "a leak": (with_weights_changed, ""),
}


@dataclass(frozen=True)
class Broken:
    how: str
    name, main, better, undefined = "broken", "value", {}, ""

    def probes(self, layer, pixels):
        return ()

    def judge_all(self, case, maps, answers):
        return BROKEN[self.how][0](case, maps)


@pytest.fixture
def ask(small_suite, counting, tmp_path):
    """Runs a suite of that in a folder: the result, and how many images the network was asked of."""
    model = Classifier(counting, name="tiny", layer="inner.body")

    def asked(folder, methods, metrics, *, adding=False, **more):
        counting.forwards, asked = 0, {"methods": methods, "metrics": metrics, "models": [model], **more}
        small_suite["dataset"][0]["limit"] = 8
        result = add(tmp_path / folder, **asked) if adding else run(small_suite, out=tmp_path / folder, **asked)
        return result, counting.forwards

    return asked


def parts(result):
    return set(result.path.glob("parts/*/*/*"))


def test_a_method_more_or_less_makes_its_cells_again_from_what_is_kept(ask):
    three, metrics = ["gradcam", "layercam", "random"], [AGREEMENT, DUEL, DELETION]
    first, _ = ask("run", three, metrics)
    before, stored, cost = first.scores, parts(first), first.info["cost"]["forwards"]
    more, _ = ask("run", ["eigencam"], [], adding=True)
    assert more.info["cost"]["forwards"] - cost == 8 * (1 + 2 + 4)  # its map, its deletion, the duel of all
    fresh, _ = ask("fresh", [*three, "eigencam"], metrics)
    told = (result.scores.drop(columns=["run", "seconds"]) for result in (more, fresh))
    pd.testing.assert_frame_equal(*told, rtol=1e-5)
    assert set(more.table("duel").to_numpy().flat) == {4}
    assert more.table("duel", "own").nunique().eq(8).all()

    grown, four = parts(more), more.table(AGREEMENT)
    fewer, forwards = ask("run", ["layercam", {"name": "gradcam", "label": "ours"}], [AGREEMENT])
    pair = fewer.table(AGREEMENT)
    assert (forwards, len(parts(fewer) - grown)) == (0, 2)  # spans
    assert pair["ours"].equals(pair["layercam"])
    assert not pair["layercam"].equals(four["layercam"])
    back, forwards = ask("run", three, metrics)
    assert (forwards, parts(back)) == (0, parts(fewer))
    pd.testing.assert_frame_equal(back.scores, before)
    assert stored < grown

    found = compare(back, fresh, methods=["gradcam"], metrics=["duel"])
    assert (found.verdict, "duel judges methods together" in " ".join(found.differing)) == ("not comparable", True)
    assert compare(back, methods=["gradcam=layercam"], metrics=["duel"]).verdict == "passed"


def test_a_method_without_a_map_or_an_answer_costs_its_own_rows(ask):
    methods = ["gradcam", "layercam", "random", {"name": f"{__name__}:Odd", "label": "odd"}]
    ask("run", methods, [DUEL, DELETION])
    result, forwards = ask("run", methods, [DUEL, DELETION, AGREEMENT])  # the agreement from stored maps
    assert forwards == 0
    kinds = {sample: sample_seed(0, sample) % 3 for sample in result.pictures["sample"]}
    expected = {  # of gradcam and random: judged together, compared with; of odd: the errors, or that
        0: [(3, 1), (3, 2), ("RuntimeError: not this one", "RuntimeError: not this one")],
        1: [(3, 1), (3, 2), ("the model gave NaN or infinite logits on an altered image", 0)],
        2: [(4, 2), (4, 3), (4, 2)],
    }
    assert set(kinds.values()) == {0, 1, 2}
    for (sample, method), rows in result.scores.groupby(["sample", "method"]):
        if method != "layercam":
            told = rows.set_index(["metric", "column"])
            duel = told.loc["duel", "together"]
            agreed = told.loc[AGREEMENT, "others" if (AGREEMENT, "others") in told.index else "spearman"]
            found = tuple(row["error"] if row["status"] == "error" else row["value"] for row in (duel, agreed))
            assert found == expected[kinds[sample]][["gradcam", "random", "odd"].index(method)]


def test_what_fails_on_all_methods_costs_its_own_rows(ask):
    broken = [{"name": f"{__name__}:Broken", "how": how, "label": how} for how in BROKEN]
    result, _ = ask("run", ["gradcam", "random"], [*broken, DELETION])
    plain, _ = ask("plain", ["gradcam", "random"], [DELETION])
    ours = result.select(metric="deletion").reset_index(drop=True)
    pd.testing.assert_series_equal(ours["value"], plain.select(metric="deletion")["value"])
    for how, (_, text) in BROKEN.items():
        rows = result.select(metric=how)
        assert rows["method"].value_counts().to_dict() == {"gradcam": 8, "random": 8}
        assert rows["error"].str.contains(text, regex=False).all()
        assert (rows["status"] == ("error" if text else "ok")).all()
    (leak,) = result.warnings.query("metric == 'a leak'")["text"]
    assert "inner.head.weight was changed" in leak


def test_it_goes_on_with_all_methods_until_the_last_is_settled(ask, monkeypatch):
    methods = ["gradcam", "layercam", "random"]
    settled = [("gradcam", "deletion"), *((method, "duel") for method in methods)]

    def after(scores, *_):
        return set(settled[:3] if scores["sample"].nunique() == 4 else settled)

    monkeypatch.setattr("camfaith.benchmark.running.settling.settled", after)
    result, _ = ask("run", methods, [DUEL, DELETION], until="separated", limit=12)
    judged = result.scores.query("main").groupby(["metric", "method"])["sample"].nunique()
    assert judged["duel"].to_dict() == dict.fromkeys(methods, 8)
    assert judged["deletion"].to_dict() == {"gradcam": 4, "layercam": 12, "random": 12}
