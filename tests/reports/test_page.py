"""The page holds everything, loads nothing from elsewhere, trusts no name, and is there for odd runs too."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.store import Result, RunFolderError
from camfaith.reports import report

Fabricate = Callable[..., Result]


class Reader(HTMLParser):
    """Collects the page's text and what it links to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def words(path: Path) -> str:
    return " ".join(" ".join(Reader(path.read_text("utf-8")).text).split())


def test_the_page_is_whole_and_loads_nothing_from_elsewhere(plain_report: Path) -> None:
    text = (plain_report / "report.html").read_text("utf-8")
    page = Reader(text)
    assert page.open == []
    assert all(source.startswith(("data:image/", "#")) for source in page.sources)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in text
    assert "url(" not in text
    of_each = ("deletion", "insertion", "distributions", "skill", "differences", "places", "gallery")
    assert page.tags.count("img") == 2 * len(of_each) + len(("ranks", "agreement", "corners"))
    assert "prefers-color-scheme: dark" in text


def test_the_page_says_what_was_run_what_it_cost_and_what_came_out(plain_run: Result, plain_report: Path) -> None:
    summary = plain_run.summary()
    row = summary[(summary["method"] == "xgradcam") & (summary["metric"] == "insertion") & summary["main"]].iloc[0]
    mark = "" if row["above_random"] else "°"
    told = ["made-up", "0123abcd", "features.8", "abababab", "torch 2.6.0", "name x86_64", "24.0 s (80 %)", "1,100"]
    told += ["Summary", "Curves", "Conservation ledger", "Gallery", "Diagnostics", "Not ok"]
    told += [
        "Accuracy on the labelled images",
        "is not shown to be better than guessing among 3 classes; the model has",
    ]
    told += [f"{row['mean']:.3f}{mark} [{row['low']:.3f}, {row['high']:.3f}]"]
    text = words(plain_report / "report.html")
    assert [each for each in told if each not in text] == []


UNDRAWN = ("lines", "maps", "pictures")
FEW: dict[str, Any] = {"models": ["net"], "methods": ["gradcam"], "metrics": ["deletion"], "without": UNDRAWN}
EVIL = "<script>alert('x')</script>"


def test_nothing_from_outside_becomes_markup(fabricate: Fabricate) -> None:
    def poison(found: dict[str, pd.DataFrame]) -> None:
        for table in found.values():
            if len(table):
                table["sample"] = table["sample"] + EVIL
        scores = found["scores"]
        scores.loc[scores.index[:3], "value"] = np.nan
        scores.loc[scores.index[:3], ["status", "error"]] = ["error", f"boom {EVIL}"]

    described = {"classes": [EVIL] * 3, "name": f"net{EVIL}", "layers": {}, "layer": EVIL}
    result = fabricate(
        models=[f"net{EVIL}"],
        datasets=[f"../data{EVIL}"],
        methods=["gradcam", f"cam{EVIL}", "random"],
        metrics=["deletion", "insertion"],
        samples=2,
        change=poison,
        info={"models": [described], "versions": {EVIL: EVIL}, "suite": {"name": EVIL, "target": EVIL}},
    )
    path = report(result)
    text = path.read_text("utf-8")
    assert "<script" not in text
    assert "alert(&#39;x&#39;)" in text
    assert f"boom {EVIL}" in words(path)
    for written in path.parent.rglob("*"):
        assert re.fullmatch(r"[\w.+-]+", written.name)


def test_what_is_not_ok_is_listed_with_counts_text_and_samples(fabricate: Fabricate) -> None:
    def spoil(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        rows = scores.index[(scores["method"] == "gradcam") & (scores["column"] == "auc")][:5]
        scores.loc[rows, "value"] = np.nan
        scores.loc[rows, ["status", "error"]] = ["error", "ValueError: the map broke"]
        lost = scores.iloc[[0]].assign(sample="fundus/lost", method="", metric="", column="", error="cut short")
        found["scores"] = pd.concat([scores, lost], ignore_index=True)

    text = words(report(fabricate(**FEW | {"methods": ["gradcam", "constant"]}, change=spoil)))
    assert "error 5 net on fundus deletion: auc gradcam ValueError: the map broke" in text
    assert "fundus/000, fundus/001, fundus/002 and 2 more" in text
    assert "cut short fundus/lost" in text
    assert "constant 16 net on fundus deletion: auc, ties constant the map is constant or zero" in text
    assert "1 sample could not be used at all" in text
    both = fabricate(**FEW | {"methods": ["gradcam", "constant"], "metrics": ["deletion", "insertion"]})
    assert "constant 32 net on fundus deletion, insertion constant the map is constant or zero" in words(report(both))


def test_a_metric_that_follows_a_preset_says_which(fabricate: Fabricate) -> None:
    result = fabricate(**FEW)
    result.info["metrics"][0] |= {"label": "mine", "preset": "rise"}
    assert "mine auc lower preset rise not defined for this image" in words(report(result))


def fail_everything(found: dict[str, pd.DataFrame]) -> None:
    found["scores"] = found["scores"].assign(value=np.nan, status="error", error="RuntimeError: no luck")


def lose_everything(found: dict[str, pd.DataFrame]) -> None:
    first = found["scores"].iloc[[0, 1]]
    found["scores"] = first.assign(value=np.nan, method="", metric="", column="", status="error", error="unreadable")
    for name in ("lines", "maps", "pictures"):
        found[name] = found[name].iloc[:0]


def keep_no_images(found: dict[str, pd.DataFrame]) -> None:
    found["pictures"] = found["pictures"].assign(image=None, mask=None)


UNDRAWABLE = ["Nothing was stored that could be drawn here.", "The run kept no maps or pictures."]
STOPPED = {
    "status": "running",
    "models": [{"name": "net"}, {"name": "late"}],
    "datasets": [{"name": "fundus", "samples": 20}],
}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"change": fail_everything}, ["holds no value at all", "RuntimeError: no luck", *UNDRAWABLE]),
        (
            {"change": lose_everything},
            ["holds no value at all", "unreadable", "net on fundus: 0 of 8 samples have results."],
        ),
        (
            {"models": [], "info": {"status": "running", "cost": None, "plan": None}},
            ["holds no results", "not complete (status: running)", "The run stored no cost."],
        ),
        (
            {"info": STOPPED},
            ["not complete (status: running)", "net on fundus: 8 of 20 samples", "late on fundus: 0 of 20 samples"],
        ),
        ({"without": ("lines",), "change": keep_no_images}, UNDRAWABLE),
    ],
    ids=["errors alone", "no sample can be read", "no part", "stopped", "no images"],
)
def test_a_run_that_lacks_something_has_a_report_that_says_so(
    fabricate: Fabricate, options: dict[str, Any], told: list[str]
) -> None:
    page = report(fabricate(**FEW | options))
    text = words(page)
    assert [each for each in told if each not in text] == []
    assert not (page.parent / "gallery").exists()


def test_the_conditions_are_told_and_warned_of_where_they_changed(fabricate: Fabricate) -> None:
    setup = {"batch_size": 8, "channels_last": True, "rate": None, "fused": False, "shortcuts": [], "refused": {}}
    engine = [
        {"model": name, "dataset": "fundus", "setup": setup, "device": "cpu"} for name in ("net", "once", "twice")
    ]
    for each, threads in zip(engine[1:], ([2], [1, 2]), strict=True):
        each["made"] = [
            {"device": "cpu", "threads": n, "batch_size": 8, "channels_last": True, "fused": False} for n in threads
        ]
    text = words(report(fabricate(**FEW, info={"engine": engine})))
    for told in (
        "how net ran on fundus batches of 8; channels last",
        "how once ran on fundus cpu, threads: 2; batches of 8",
        "how twice ran on fundus cpu, threads: 1, then cpu, threads: 2; batches of 8",
        "conditions (threads: 1, then 2); their last",
    ):
        assert told in text
    assert text.count("several conditions") == 1


def keep_no_images(found: dict[str, pd.DataFrame]) -> None:
    found["pictures"] = found["pictures"].assign(image=None, mask=None)


def test_diagnostics_are_shown_without_a_direction(fabricate: Fabricate) -> None:
    def note(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        own = scores[(scores["method"] == "xgradcam") & (scores["column"] == "ties")]
        noted = own.assign(metric="diagnostics", column="near_zero_channels", value=0.375)
        found["scores"] = pd.concat([scores, noted], ignore_index=True)

    text = words(report(fabricate(**FEW | {"methods": ["gradcam", "xgradcam"]}, change=note)))
    assert "diagnostics: net on fundus method n near_zero_channels xgradcam 8 0.375 [–]" in text


def test_report_takes_a_path_a_text_or_a_result_and_loads_nothing_heavy(fabricate: Fabricate, tmp_path: Path) -> None:
    result = fabricate(**FEW, samples=2)
    code = (
        "import sys; from camfaith.reports import report\n"
        "assert not {'pandas', 'matplotlib', 'seaborn', 'torch'} & set(sys.modules), 'import'\n"
        f"print(report({str(result.path)!r}))\n"
        "assert 'torch' not in sys.modules, 'report'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == result.path / "report" / "report.html"
    assert report(Result(result.path), out=tmp_path / "here") == tmp_path / "here" / "report.html"
    assert (tmp_path / "here" / "tables" / "summary.csv").is_file()
    with pytest.raises(RunFolderError, match="no run folder"):
        report(tmp_path / "nowhere")


def test_a_run_until_separated_says_how_many_comparisons_are_settled_and_how_surely(fabricate: Fabricate) -> None:
    suite = {"name": "made-up", "target": "predicted", "until": "separated", "level": 0.2, "margin": 0.0}
    result = fabricate(models=["vgg"], methods=["gradcam", "xgradcam", "random"], samples=30, info={"suite": suite})
    settled = int((result.separations()["ahead"] != "open").sum())
    assert 0 < settled < 15
    told = (
        f"Of 15 comparisons {settled} are settled, for each model and data set at most 20% of them wrongly, on average"
    )
    page = report(result)
    assert told in words(page)
    assert "Ahead is who is better on more images, by the sequential test of separations.csv" in words(page)
    written = {path.name for path in page.parent.rglob("*")}
    assert "separations.csv" in written
    assert not any(name.startswith(("comparisons", "ranking", "critical", "places")) for name in written)
