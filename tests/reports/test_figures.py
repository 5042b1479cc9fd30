"""Figures are there, show something, stay the same, and leave matplotlib as the caller had it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from camfaith.benchmark.results.intervals import mean_interval
from camfaith.benchmark.results.store import Result
from camfaith.reports.agreement import agreement_maps, agreement_table
from camfaith.reports.curves import curves
from camfaith.reports.figures import corner_mass, distributions, draw
from camfaith.reports.ranks import critical_difference, place_maps, rank_maps, together
from camfaith.reports.skill import skill_figures
from camfaith.reports.style import labels, looks
from camfaith.reports.view import ALL, View

Fabricate = Callable[..., Result]
MANY = [f"method-{i:02d}" for i in range(26)]


def drawn_share(path: Path) -> float:
    """The share of pixels that are not white."""
    return float((np.asarray(Image.open(path).convert("L")) < 250).mean())


def test_every_figure_comes_as_pdf_svg_and_png_and_is_not_blank(plain_report: Path) -> None:
    files = sorted((plain_report / "figures").iterdir())
    stems = {path.name.rsplit(".", 1)[0] for path in files}
    assert len(files) == 3 * len(stems)
    for kind in ("curves--deletion--resnet", "curves--insertion--vgg", "distributions", "ranks", "corners"):
        assert any(stem.startswith(kind) for stem in stems)
    for path in files:
        if path.suffix == ".png":
            assert drawn_share(path) > 0.02
            assert Image.open(path).width <= 1080
        else:
            assert path.read_bytes().startswith((b"%PDF", b"<?xml"))


def test_figures_are_the_same_file_each_time(fabricate: Fabricate, tmp_path: Path) -> None:
    path = fabricate(models=["net"], methods=["gradcam", "random"], metrics=["conservation"], without=["lines"]).path
    first, second = (draw(View(Result(path)), tmp_path / name) for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        for kind in ("svg", "png", "pdf"):
            assert Path(f"{one.path}.{kind}").read_bytes() == Path(f"{other.path}.{kind}").read_bytes()


def test_matplotlib_and_the_random_state_are_left_alone(fabricate: Fabricate, tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    mine = plt.figure()
    matplotlib.rcParams.update({"font.size": 11.5, "svg.hashsalt": "mine", "text.parse_math": True})
    settings, numbers = dict(matplotlib.rcParams), plt.get_fignums()
    np.random.seed(1)  # noqa: NPY002 - the caller's old-style state is what must stay
    random.seed(1)
    state, plain = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    draw(View(fabricate(models=["net"], methods=["gradcam", "random"], metrics=["deletion"])), tmp_path)
    assert dict(matplotlib.rcParams) == settings
    assert plt.get_fignums() == numbers
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    assert random.getstate() == plain
    plt.close(mine)
    matplotlib.rcdefaults()


def test_a_curve_is_the_mean_over_images_within_its_band(plain_run: Result) -> None:
    view = View(plain_run)
    lines = view.of(view.blocks[0], plain_run.lines)
    lines = lines[lines["metric"] == "deletion"]
    figure = curves(view, lines, looks(view.methods, view.controls))
    assert figure is not None
    axis = figure.axes[0]
    drawn = {line.get_label(): line.get_ydata() for line in axis.lines}
    own = np.stack([*lines.loc[lines["method"] == "gradcam", "y"]])
    np.testing.assert_allclose(drawn["gradcam"], own.mean(0))
    band = axis.collections[0].get_paths()[0].vertices
    expected = mean_interval(own.T)
    assert band[:, 1].max() == pytest.approx(np.max(expected.high))


def test_a_sample_counts_as_its_own_data_set_has_it(fabricate: Fabricate) -> None:
    view = View(fabricate(models=["net"], methods=["gradcam"], metrics=["deletion"], samples=3))
    (block,), scores = view.blocks, view.result.scores
    view.result.scores = pd.concat([scores, scores.assign(dataset="other", cluster="one patient")])
    samples = pd.Index(scores["sample"].unique())
    assert view.units_of(block, samples) is None
    assert view.units_of(block._replace(dataset="other"), samples) == [("cluster", "one patient")] * len(samples)


def test_controls_are_grey_and_dashed_in_every_panel(fabricate: Fabricate) -> None:
    methods = [*MANY[:9], "random"]
    view = View(fabricate(models=["net"], methods=methods, metrics=["deletion"], samples=3))
    look, lines = looks(view.methods, view.controls), view.result.lines
    lines["y"] = [
        y * np.nan if method == MANY[8] else abs(y) for method, y in zip(lines["method"], lines["y"], strict=True)
    ]
    with warnings.catch_warnings(action="error"):  # one whose curve is defined nowhere is not drawn
        figure = curves(view, lines, look)
    assert figure is not None
    panels = [axis for axis in figure.axes if axis.axison]
    assert len(panels) == 3
    for axis in panels:
        line = axis.lines[0]
        assert len(set(to_rgb(line.get_color()))) == 1
        assert line.get_linestyle() == "--"
        np.testing.assert_allclose(line.get_ydata(), panels[0].lines[0].get_ydata())


def test_many_methods_all_look_different_and_fit_the_page(
    fabricate: Fabricate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("camfaith.reports.style.FORMATS", ("png",))
    found = looks(MANY, MANY[:9])
    assert len({(look.colour, str(look.dash)) for look in found.values()}) == len(MANY)
    view = View(
        fabricate(models=["net"], methods=[*MANY, "random"], samples=8, metrics=["deletion", "corner-artifact"])
    )
    for drawing in draw(view, tmp_path):
        size = Image.open(f"{drawing.path}.png").size
        assert size[0] <= 1080
        assert size[1] <= 1400


def test_corner_bars_are_means_and_a_methods_look_does_not_depend_on_the_figure(plain_run: Result) -> None:
    view = View(plain_run)
    look = looks(view.methods, view.controls)
    bars = corner_mass(view, "corner-artifact", look)
    (boxes,) = distributions(view, view.blocks[0], look)
    assert bars is not None
    for axis, block in zip(bars.axes, view.blocks, strict=True):
        summary = view.summary_of(block)
        wanted = [summary[m, "corner-artifact", c]["mean"] for m in view.methods for c in ("share", "unsupported")]
        np.testing.assert_allclose([bar.get_width() for bar in axis.patches], wanted)
    for place, method in enumerate(view.methods):
        colour = to_rgb(look[method].colour)
        assert to_rgb(bars.axes[0].patches[2 * place].get_facecolor()) == colour
        assert tuple(boxes.axes[0].collections[1].get_edgecolor()[place][:3]) == colour


@pytest.mark.parametrize("middle", ["{}", "features.{}", "features.{} and so on to the very end of the name"])
def test_no_two_labels_are_alike_and_none_is_too_long(middle: str) -> None:
    names = ["plain", *(f"gradcam(eps=0.001, layer={middle.format(i)}, variant=guarded)" for i in range(60))]
    found = labels(names, 26)
    assert list(found) == names
    assert len({*found.values()}) == len(names)
    assert max(map(len, found.values())) <= 26
    assert found["plain"] == "plain"


def test_titles_are_folded_and_whole(fabricate: Fabricate) -> None:
    long = "a-model-with-a-name-that-is-longer-than-its-panel-is-wide"
    view = View(fabricate(models=["net", long]))
    (figure,) = rank_maps(view)
    assert "".join(figure.axes[1].get_title(loc="left").split()) == f"{long}onfundus"


@pytest.mark.parametrize(("most", "sheets"), [(22, 1), (2, 3)])
def test_the_rank_maps_show_the_summarys_ranks(
    plain_run: Result, monkeypatch: pytest.MonkeyPatch, most: int, sheets: int
) -> None:
    monkeypatch.setattr("camfaith.reports.ranks._SIDE_BY_SIDE", most)
    view = View(plain_run)
    found, methods = [*rank_maps(view)], [m for m in view.methods if m not in view.controls]
    assert len(found) == sheets
    for figure, ranked in zip(found, [view.ranked[place : place + most] for place in range(0, 5, most)], strict=False):
        for axis, block in zip(figure.axes, view.blocks, strict=True):
            summary = view.summary_of(block)
            wanted = [summary[m, c.metric, c.column]["rank"] for m in methods for c in ranked]
            assert [float(text.get_text()) for text in axis.texts if text.get_text()] == [r for r in wanted if r == r]


def test_two_methods_share_a_bar_where_they_are_not_shown_to_differ_and_only_there() -> None:
    apart = np.triu(np.random.default_rng(0).random((12, 12)) < 0.6, 1)
    groups = together([*map(str, range(12))], apart | apart.T)
    for one, other in combinations(range(12), 2):
        assert any({one, other} <= {*group} for group in groups) != apart[one, other]


def test_critical_differences_are_those_of_the_table_and_places_those_of_the_ranking(
    fabricate: Fabricate, plain_run: Result
) -> None:
    methods = ["a", "b", "c", "random"]

    def set_values(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        for method, value in {"a": 0.3, "b": 0.1, "c": 0.301}.items():
            rows = (scores["method"] == method) & (scores["column"] == "auc")
            scores.loc[rows, "value"] = value + np.random.default_rng(len(method)).normal(0, 0.01, rows.sum())
            scores.loc[rows, "value"] += 0.01 * (method == "c") * np.resize([1, -1], rows.sum())

    view = View(fabricate(models=["net"], methods=methods, metrics=["deletion"], samples=12, change=set_values))
    (figure,) = critical_difference(view, view.blocks[0], looks(methods, ["random"]))
    axis = figure.axes[0]
    assert axis.get_yticklabels()[0].get_text() == "b"
    bars = [sorted(line.get_ydata()) for line in axis.lines if line.get_color() == "0.15"]
    assert bars == [[1, 2]]
    assert "Friedman p < 0.001" in axis.get_title(loc="left")
    (figure,) = place_maps(view, view.blocks[0])
    share = figure.axes[0].collections[0].get_array().reshape(3, 3)
    wanted = view.ranking.set_index("method").loc["b", ["place_1", "place_2", "place_3"]]
    np.testing.assert_allclose(share[0], wanted.to_numpy(float))
    assert not [*critical_difference(View(plain_run), ALL, {})]  # two models are too few


def test_the_agreement_map_shows_tau(plain_run: Result) -> None:
    view = View(plain_run)
    (figure,) = agreement_maps(view)
    row: Any = view.agreement.iloc[0]
    first = f"{row['tau']:.2f}".replace("0.", ".").replace("-", "−")
    assert figure.axes[0].texts[0].get_text() == first
    made = agreement_table(view, view.blocks[0])
    assert made is not None
    assert made.rows[0].values[2].text == f"{row['tau']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def test_skill_beyond_its_panel_is_told_at_the_edge(fabricate: Fabricate) -> None:
    def set_values(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        for method, value in {"near": 0.5, "far": 9.0, "best": 0.1, "random": 0.9}.items():
            scores.loc[(scores["method"] == method) & (scores["column"] == "auc"), "value"] = value

    methods = ["near", "far", "best", "random"]
    view = View(fabricate(models=["net"], methods=methods, metrics=["deletion"], change=set_values))
    (figure,) = skill_figures(view, view.blocks[0], looks(methods, ["random"]))
    axis = figure.axes[0]
    assert [line.get_xdata()[0] for line in axis.lines[2:]] == pytest.approx([0.5, -0.35, 1])
    assert [text.get_text() for text in axis.texts] == ["-10"]
    assert axis.get_title(loc="left").endswith("1: best")


def test_names_with_signs_of_formulae_and_underscores_are_drawn_as_they_are(
    fabricate: Fabricate, tmp_path: Path
) -> None:
    methods = [r"$\frac$", "_hidden", "random"]
    view = View(fabricate(models=["$net"], methods=methods, metrics=["deletion", "corner-artifact"]))
    figure = curves(view, view.result.lines[view.result.lines["metric"] == "deletion"], looks(methods, ["random"]))
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text().strip() for text in legend.get_texts()] == methods[:2]
    assert len(draw(view, tmp_path)) == 7


def test_values_over_orders_of_magnitude_get_a_logarithmic_axis_in_all_blocks(fabricate: Fabricate) -> None:
    def stretch(found: dict[str, pd.DataFrame]) -> None:
        scores = found["scores"]
        rows = (scores["column"] == "residual") & (scores["model"] == "a")
        scores.loc[rows, "value"] = np.geomspace(1e-3, 1e4, rows.sum())

    view = View(fabricate(models=["a", "b"], methods=["gradcam", "random"], change=stretch))
    for block in view.blocks:
        (figure,) = distributions(view, block, looks(view.methods, view.controls))
        scales = {axis.get_title("left")[:12]: axis.get_xscale() for axis in figure.axes if axis.axison}
        assert scales["conservation"] == "log"
        assert scales["deletion auc"] == "linear"
