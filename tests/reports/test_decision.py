"""A comparison as people read it: what was found stands there, and nothing from outside gets out of its place."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from rich.console import Console

from camfaith.benchmark.results.comparison import CALLS, ROWS, Comparison
from camfaith.benchmark.results.exact import Exactness, First, Maps
from camfaith.reports import before_after, decision

NASTY = "a|b <img src=x> [x](http://e.vil) @team \x1b[31m\u202e`rm`\n\n# title"
ROW = {
    **{"method": "cam", "model": "tiny", "dataset": "data", "metric": "road", "column": "auc", "better": "higher"},
    **{"n": 32, "units": 32, "base": 0.5, "candidate": 0.41, "difference": -0.09, "low": -0.11, "high": -0.07},
    **{"margin": 0.03, "detectable": 0.02, "p_within": 1.0, "p_better": 1.0, "p_worse": 0.001},
    **{"verdict": "regressed", "why": "", "needed": None, "lost": 0, "gained": 0, "equal": ""},
}
CALL = ("cam", "tiny", "data", "forwards", 1.0, 2.0, 2.0, "regressed")


def comparison(*rows, calls=(CALL,), **changes):
    frames = {"rows": pd.DataFrame(rows, columns=ROWS), "calls": pd.DataFrame(calls, columns=CALLS)}
    about = {"base": "base", "candidate": "new", "pairs": [("cam", "cam")], "margins": "5 %", "level": 0.05}
    return Comparison(**{**about, **frames, "differing": [], "notes": [], **changes})


def shown(found, width=120):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, emoji=False)
    decision.show(found, console)
    return " ".join(console.file.getvalue().split())


def test_numbers_verdicts_and_what_to_do_stand_there():
    vague = ROW | {"metric": "deletion", "better": "lower", "verdict": "inconclusive", "needed": 120, "units": 8}
    equal = ROW | {"column": "other", "difference": 0.0, "verdict": "passed", "equal": "bit", "why": "equal to the bit"}
    found = comparison(ROW, vague, equal, notes=["A note."], differing=["This differs."])
    for text in (shown(found), decision.markdown(found).replace("\\", "")):
        assert "regressed: cam in new against cam in base" in text
        for said in ("road auc ↑", "deletion auc ↓", "0.500", "0.410", "-0.090", "[-0.110, -0.070]", "0.030", "× 2"):
            assert said in text
        assert "Look first at road auc: its loss is 3 times the margin." in text
        assert "deletion auc: about 120 clusters would decide (8 now)" in text
        assert "these could have shown a loss of 0.020" in text
        assert "forwards per map: they rise from 1 to 2" in text
        assert "passed, equal to the bit" in text
        assert "This differs." in text
        assert "A note." in text
        assert "each corrected for 3 rows (Holm)" in text


def test_a_narrow_terminal_shows_every_verdict():
    rows = [ROW | {"metric": f"a-metric-with-a-long-name-{i}", "verdict": "inconclusive", "needed": 9} for i in "ab"]
    assert shown(comparison(*rows), 80).count(" inconclusive ") == 2


def test_names_from_outside_stay_in_their_place():
    row = ROW | dict.fromkeys(("method", "model", "dataset", "metric", "column"), NASTY)
    call = (NASTY, NASTY, NASTY, *CALL[3:])
    labels = [(NASTY, NASTY)]
    found = comparison(row, calls=[call], base=NASTY, pairs=labels, notes=[NASTY], differing=[NASTY])
    first = First(*[NASTY] * 6, "no map")
    exact = Exactness(NASTY, NASTY, labels, 0.0, 3, 1, first, 2, 0, None, [NASTY], [NASTY])
    for each in (found, exact):
        text = decision.markdown(each)
        assert not {"\x1b", "\u202e"} & set(text + shown(each))
        assert not [line for line in text.splitlines() if line.startswith("# ")]
        for raw in ("<img", "](http", "@team", "`rm`", "://"):
            assert raw not in text.replace("\\<", "").replace("\\]", ""), raw
    tables = [line.replace("\\|", "") for line in decision.markdown(found).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} == {8}


@pytest.mark.parametrize(
    ("base", "candidate", "tiles"),
    [(np.eye(4), np.eye(4) * 2, 4), (np.eye(4), np.eye(5), 3), (np.zeros((3, 3)), None, 2)],
)
def test_the_picture_shows_both_maps_in_one_scale_and_their_difference(base, candidate, tiles):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    found = Maps(First(NASTY, NASTY, NASTY, NASTY, "map", 1.0, 2.0), base, candidate, buffer.getvalue())
    axes = before_after.draw(found).axes
    images = [image for ax in axes for image in ax.images]
    assert len(images) == tiles
    if tiles == 4:
        assert [image.get_clim()[1] for image in images[1:]] == [2, 2, 1]
        assert (images[3].get_array() == np.eye(4)).all()
