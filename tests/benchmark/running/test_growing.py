"""A run grows by what is missing, and by no call more; grown and fresh runs hold the same."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camfaith import methods
from camfaith.benchmark import add, load, run
from camfaith.benchmark.results.tables import map_of
from camfaith.benchmark.suite import identity
from camfaith.benchmark.suite.declaration import MethodEntry, ModelEntry
from camfaith.benchmark.suite.identity import method_key, metric_key, model_key, weights_hash
from camfaith.benchmark.suite.opening import open_model
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

CELL = ["sample", "method", "metric", "column"]
MINE = '''
class MyCAM:
    """{text}"""

    def __init__(self, model, target_layer=None):
        self.layer = target_layer

    def explain(self, evidence, classifier):
        return {sign} * evidence.activations[self.layer].sum(1)  # {text}
'''


@pytest.fixture
def suite(small_suite):
    small_suite["suite"] |= {"methods": ["gradcam", "layercam", "random", "oracle"], "chunk": 4}
    small_suite["dataset"][0]["limit"] = 8
    return small_suite


@pytest.fixture
def model(counting):
    return Classifier(counting, name="tiny")


@pytest.fixture
def grown(suite, model, counting, tmp_path, copy_of):
    """A finished run, and a function that runs another suite in its folder: the result, and what it asked of the
    network, without what opening a network asks."""
    copy_of("run", lambda folder: run(suite, models=[model], out=folder))

    def again(changed, **more):
        before = load(tmp_path / "run").info["cost"]
        counting.forwards = counting.backwards = 0
        result = run(changed, models=[model], out=tmp_path / "run", **more)
        spent = {name: result.info["cost"][name] - before[name] for name in CALLS}
        return result, spent, (counting.forwards, counting.backwards)

    return again


def with_(suite, **head):
    return {**suite, "suite": {**suite["suite"], **head}}


def limited(suite, limit):
    return {**suite, "dataset": [{**suite["dataset"][0], "limit": limit}]}


def assert_same(grown, fresh):
    ours, theirs = (result.scores.set_index(CELL).sort_index() for result in (grown, fresh))
    assert ours.index.equals(theirs.index)
    pd.testing.assert_series_equal(ours["status"], theirs["status"])
    pd.testing.assert_series_equal(ours["value"], theirs["value"], check_exact=False, rtol=1e-6, atol=1e-9)


CALLS = ("forwards", "backwards", "tails")
CURVES = 2 * 3
"""Forwards: the points inside one order's two curves."""
ORACLES = 6
"""Photographs with lesions, so with a map of them."""
DELETION = {"name": "deletion", "steps": 4}
SUBSETS = {"name": "sensitivity-n", "sizes": [0.1, 0.5], "subsets": 8}


@pytest.mark.parametrize(
    ("more", "forwards", "backwards", "opened"),
    [
        ({}, 0, 0, False),
        ({"methods": ["gradcam++"]}, 8 * (1 + CURVES), 8, True),
        ({"methods": ["eigencam", "sobel"]}, 8 * (1 + 2 * CURVES), 0, True),
        ({"metrics": ["mine:Spread"]}, 0, 0, False),
        ({"metrics": [{**SUBSETS, "score": "probability", "label": "asked before"}]}, 0, 0, False),
        ({"metrics": [{**DELETION, "steps": 2, "label": "coarse"}]}, 3 * 8 + ORACLES, 0, True),
    ],
    ids=["nothing", "a CAM", "two methods without gradients", "of maps alone", "of what was asked", "a curve"],
)
def test_a_run_grows_by_the_calls_that_are_missing(
    suite, grown, model, tmp_path, monkeypatch, more, forwards, backwards, opened
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(SPREAD)
    changed = with_(suite, **{name: [*suite["suite"][name], *things] for name, things in more.items()})
    result, spent, counted = grown(changed)
    assert spent == {"forwards": forwards, "backwards": backwards, "tails": 0}
    assert (counted != (0, 0)) == opened
    assert_same(result, run(changed, models=[model], out=tmp_path / "fresh"))


SPREAD = """
from dataclasses import dataclass
from camfaith.metrics import Metric

@dataclass(frozen=True, kw_only=True)
class Spread(Metric):
    name, main, better = "spread", "share", {"share": "lower"}

    def judge(self, case, maps, answers):
        return {"share": (maps.saliency > case.images.mean()).double().mean((1, 2))}
"""


SURE = """
import torch
from dataclasses import dataclass
from camfaith.metrics import ImageProbe, Metric

@dataclass(frozen=True)
class Darker(ImageProbe):
    placed: bool
    all_logits = True

    def count(self, pixels):
        return 2

    def fill(self, subject):
        both = torch.stack([subject.image / 2, subject.image / 4])
        return lambda start, stop, out: out.copy_(both[start:stop])

    def rounds(self, subject):
        yield 2, self.fill(subject)
        return torch.tensor([0.5, 0.75]) if self.placed else None

@dataclass(frozen=True, kw_only=True)
class Sure(Metric):
    of: int
    placed: bool
    name, main, better = "sure", "logit", {}

    def probes(self, layer, pixels):
        return [Darker(self.placed)]

    def judge(self, case, maps, answers):
        answer = answers[Darker(self.placed)]
        return {"logit": answer.logits[:, 1, self.of] + (answer.at[:, 1] if self.placed else 0)}
"""


def test_all_logits_are_kept_and_answers_at_places_of_their_own_are_asked_again(
    suite, grown, model, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "sure.py").write_text(SURE)
    for place, (of, placed, forwards) in enumerate([(4, False, 16), (1, False, 0), (4, True, 16), (1, True, 16)]):
        more = {"name": "sure:Sure", "of": of, "placed": placed, "label": f"sure {place}"}
        suite = with_(suite, metrics=[*suite["suite"]["metrics"], more])
        result, spent, counted = grown(suite)
        assert (spent["forwards"], counted != (0, 0)) == (forwards, bool(forwards))
    assert_same(result, run(suite, models=[model], out=tmp_path / "fresh"))


def test_a_larger_limit_costs_its_new_samples(suite, grown, model, tmp_path):
    fewer = load(tmp_path / "run")
    result, spent, _ = grown(limited(suite, 12))
    fresh = run(limited(suite, 12), models=[model], out=tmp_path / "fresh")
    assert set(fewer.pictures["sample"]) < set(result.pictures["sample"])
    for name, count in spent.items():
        assert count == fresh.info["cost"][name] - fewer.info["cost"][name]
    assert_same(result, fresh)
    again, spent, counted = grown(suite)
    assert_same(again, fewer)
    assert (spent["forwards"], counted) == (0, (0, 0))


def test_a_folder_keeps_the_spans_that_it_was_begun_with(suite, grown, model, tmp_path):
    more = limited(with_(suite, chunk=3), 12)
    result, _, _ = grown(more)
    assert sorted(part.span for part in result.parts) == [0, 4, 8]
    assert_same(result, run(with_(more, chunk=4), models=[model], out=tmp_path / "fresh"))


def test_what_is_taken_out_leaves_the_report_and_comes_back_for_nothing(suite, grown, model, tmp_path):
    whole = load(tmp_path / "run").scores
    less, _, _ = grown(with_(suite, methods=["gradcam", "random"], metrics=[DELETION]))
    assert set(less.scores["method"]) == {"gradcam", "random"}
    assert set(less.scores["metric"]) == {"deletion"}
    back, spent, counted = grown(suite)
    pd.testing.assert_frame_equal(back.scores, whole)
    assert (spent["forwards"], counted) == (0, (0, 0))


def test_a_run_that_is_stopped_while_it_grows_goes_on(suite, grown, model, tmp_path):
    def stop(done, total, _what):
        if done > 0.7 * total:
            raise KeyboardInterrupt

    more = limited(with_(suite, methods=[*suite["suite"]["methods"], "hirescam"]), 12)
    with pytest.raises(KeyboardInterrupt):
        grown(more, progress=stop)
    assert load(tmp_path / "run").info["status"] == "running"
    result, _, _ = grown(more)
    assert_same(result, run(more, models=[model], out=tmp_path / "fresh"))


def test_a_label_is_a_name_and_no_more(suite, grown):
    methods = [{"name": "gradcam", "label": "ours"}, *suite["suite"]["methods"][1:]]
    result, _, counted = grown(with_(suite, methods=methods))
    assert counted == (0, 0)
    assert set(result.scores["method"]) == {"ours", "layercam", "random", "oracle"}
    assert set(result.select(method="ours", metric="deletion")["method"]) == {"ours"}


def test_an_edited_method_is_judged_anew_alone_and_a_comment_changes_nothing(
    suite, grown, model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def write(sign, text):
        (tmp_path / "mycam.py").write_text(MINE.format(sign=sign, text=text))
        for name in [name for name in sys.modules if name.startswith("camfaith_user_mycam")]:
            monkeypatch.delitem(sys.modules, name)

    changed = with_(suite, methods=[*suite["suite"]["methods"], {"name": "mycam.py:MyCAM", "label": "mine"}])
    write(1, "the sum")
    first, _, _ = grown(changed)
    write(1, "other words")
    assert grown(changed)[2] == (0, 0)
    write(-1, "the sum")
    second, spent, _ = grown(changed)
    assert (spent["forwards"], spent["tails"]) == (8 * (1 + CURVES), 0)
    rows = [result.maps.query("method == 'mine'").to_dict("records") for result in (first, second)]
    for before, after in zip(*rows, strict=True):
        np.testing.assert_array_equal(map_of(before), -map_of(after))
    for result in (first, second):
        assert len(result.scores.query("method == 'gradcam' and metric == 'deletion' and column == 'auc'")) == 8


def test_adding_asks_for_the_runs_own_suite_and_more(suite, grown, model, tmp_path):
    result = add(tmp_path / "run", methods=["gradcam", "hirescam"], metrics=["aopc"], models=[model], limit=12)
    assert set(result.scores["method"]) == {"gradcam", "layercam", "random", "oracle", "hirescam"}
    assert result.pictures["sample"].nunique() == 12
    assert "aopc" in set(result.scores["metric"])
    assert_same(result, run(result.info["resolved"], models=[model], out=tmp_path / "fresh"))


def test_another_spelling_of_a_path_is_the_same_data(grown, suite, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in range(2):
        (tmp_path / "data" / "a").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (90 * place, 50, 0)).save(tmp_path / "data" / "a" / f"{place}.png")

    def at(root):
        entries = [{"name": "deletion", "steps": 3, "baseline": {"image": f"{root}/a/0.png"}}]
        return {**with_(suite, metrics=entries), "dataset": [{"name": "folder", "root": root}]}

    run(at("data"), models=[model], out=tmp_path / "run", overwrite=True)
    for root in ("data/", "./data", str(tmp_path / "data")):
        assert grown(at(root))[1:] == ({"forwards": 0, "backwards": 0, "tails": 0}, (0, 0))


def test_a_run_without_pictures_grows_too(suite, model, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(SPREAD)
    bare = with_(suite, pictures="none")
    assert run(bare, models=[model], out=tmp_path / "run").pictures["image"].isna().all()
    more = with_(bare, metrics=[*bare["suite"]["metrics"], "mine:Spread"])
    assert_same(run(more, models=[model], out=tmp_path / "run"), run(more, models=[model], out=tmp_path / "fresh"))


def test_results_of_other_threads_are_told_apart(suite, grown, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    with pytest.warns(UserWarning, match="threads 1.*now with.*threads 2.*the last digits may differ"):
        result, _, _ = grown(with_(suite, methods=[*suite["suite"]["methods"], "hirescam"]))
    assert [made["threads"] for made in result.info["engine"][0]["made"]] == [1, 2]


def test_a_run_takes_the_measured_threads_and_says_that_the_machine_is_busy(suite, model, tmp_path, monkeypatch):
    now, judged = [4], []
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[-1])
    monkeypatch.setattr(torch, "set_num_threads", now.append)
    monkeypatch.setattr("os.getloadavg", lambda: (99.5, 0.0, 0.0))
    monkeypatch.setattr("camfaith.benchmark.suite.opening.setup_of", lambda *_: Setup(8, threads=2))
    model.network.register_forward_hook(lambda *_: judged.append(now[-1]))
    with pytest.warns(UserWarning, match=r"the machine is busy: 99\.5 tasks want its \d+ cores") as told:
        result = run(with_(suite, batch_size=None), models=[model], out=tmp_path / "run")
    assert sum("busy" in str(warning.message) for warning in told) == 1
    assert [made["threads"] for made in result.info["engine"][0]["made"]] == [2]
    assert judged[-1] == 2
    assert now[-1] == 4


CAM = "class MyCAM:\n    def explain(self, evidence, classifier):\n        return {}\n"
F = "def f(x):\n    return x * KEY\n"
USES = {
    "itself": {"cam": CAM.format("KEY")},
    "a sibling": {"cam": "from sibling import f as g\n" + CAM.format("g(1)"), "sibling": F},
    "all of a sibling": {"cam": "from sibling import *\n" + CAM.format("f(1)"), "sibling": F},
    "a condition": {"cam": "if len('a'):\n    K = KEY\nelse:\n    K = 0\n" + CAM.format("K")},
    "an attempt": {
        "cam": "try:\n    from sibling import f\nexcept ImportError:\n    f = None\n" + CAM.format("f(1)"),
        "sibling": F,
    },
    "a package's own import": {
        "cam": "from pack import f\n" + CAM.format("f(1)"),
        "pack/__init__": "from .inner import f\n",
        "pack/inner": F,
    },
    "a package's module": {
        "cam": "import pack.inner\n" + CAM.format("pack.inner.f(1)"),
        "pack/__init__": "",
        "pack/inner": F,
    },
}


@pytest.mark.parametrize("files", USES.values(), ids=USES)
def test_a_key_follows_what_a_users_file_uses_and_not_where_it_lies(files, tmp_path, monkeypatch):
    def key(folder, value):
        for name, text in files.items():
            path = tmp_path / folder / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("KEY", value))
        monkeypatch.syspath_prepend(tmp_path / folder)
        for name in ("sibling", "pack", "pack.inner"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        entry = MethodEntry(name=f"{tmp_path / folder / 'cam.py'}:MyCAM")
        return method_key(entry, methods.find(entry.name))

    assert key("here", "1") == key("there", "1") != key("elsewhere", "2")


NET = """
from torch import nn, tensor

class Net(nn.Module):
    def __init__(self, scale, buffer=1.0):
        super().__init__()
        self.scale, self.layer = scale, nn.Conv2d(3, 5, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)
        self.register_buffer("buffer", tensor(buffer), persistent=False)

    def forward(self, images):
        return self.layer(images * self.scale * self.buffer).mean((2, 3))

def make():
    return Net(CALL)
"""


@pytest.mark.parametrize("call", ["2.0", "1.0, 2.0"], ids=["a number", "a buffer outside its checkpoint"])
def test_a_model_that_is_made_another_way_is_another(call, tmp_path):
    keys = []
    for place, each in enumerate(("1.0", "1.0", call)):
        (tmp_path / f"net{place}.py").write_text(NET.replace("CALL", each))
        entry = ModelEntry(name=f"{tmp_path / f'net{place}.py'}:make")
        keys.append((model_key(open_model(entry, "cpu"), entry), weights_hash(open_model(entry, "cpu").network)))
    assert keys[0] == keys[1]
    assert keys[0][0] != keys[2][0]
    assert (keys[0][1] == keys[2][1]) == (call == "2.0")


@pytest.mark.parametrize("layer", ["methods", "metrics"])
def test_what_binds_and_asks_counts_for_users_classes_that_know_nothing_of_it(layer, monkeypatch):
    def keys():
        return method_key(MethodEntry(name="test:Plain"), Plain), metric_key("test:Plain", Plain, Plain(), {})

    before = keys()
    real = identity.source_hash
    changed = {"methods": identity.bind, "metrics": identity.Engine}[layer]
    monkeypatch.setattr(identity, "source_hash", lambda thing: "edited" if thing is changed else real(thing))
    assert [was != now for was, now in zip(before, keys(), strict=True)] == [layer == "methods", layer == "metrics"]


class Plain:
    """Neither a `Method` nor a `Metric` by descent."""


def test_what_a_map_cost_is_its_own_batchs_whenever_it_is_asked(suite, model, tmp_path):
    for limit in (1, 3):  # two parts of one span
        run(limited(suite, limit), models=[model], out=tmp_path / "run")
    result = run(limited(with_(suite, metrics=["cost"]), 3), models=[model], out=tmp_path / "run")
    rows = result.scores.query("metric == 'cost' and column == 'seconds' and status != 'undefined'")
    found, made = (of.set_index(["method", "sample"]) for of in (rows, result.maps))
    assert found["value"].to_dict() == made.loc[found.index, "seconds"].to_dict()
