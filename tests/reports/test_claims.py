"""Claims as people read them: numbers, verdicts and reasons stand there, and nothing from outside gets out of place."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.checked import ROWS, Checked
from camfaith.reports import claims_page
from camfaith.reports.claims import rule, sentences
from camfaith.reports.forest import forests, said

NASTY = "a|b <img src=x> [x](http://e.vil) @team \x1b[31m\u202e`rm`\n\n# title"
ROW = {"claim": 1, "sentence": "A is above B.", "reading": "mass of both", "says": "greater", "margin": 0.02}
ROW |= {"model": "vgg", "dataset": "skin", "n": 32, "units": 32, "lost": 0}
ROW |= {"measure": "mass of a", "compared": "mass of b", "measured": 0.5, "against": 0.41, "difference": 0.09}
ROW |= {"low": 0.07, "high": 0.11, "p": 0.0004, "p_against": 1.0, "verdict": "supported", "why": "", "needed": None}
OPEN = ROW | {"model": "net", "n": 30, "units": 8, "lost": 2, "difference": 0.01, "low": np.nan, "high": np.nan}
OPEN |= {"p": 0.2, "verdict": "undecided", "why": "the samples do not tell", "needed": 1200}
LACKS = ROW | dict.fromkeys(("measured", "against", "difference", "low", "high", "p", "p_against"), np.nan)
LACKS |= {"claim": 2, "n": 0, "model": "", "dataset": "", "verdict": "undecided", "why": "not measured: no metric"}


def checked(*rows, **changes):
    table = pd.DataFrame(rows, columns=ROWS).astype({"needed": "Int64"})
    return Checked(
        **{"name": "claims", "title": "Claims", "source": "", "run": "run", "level": 0.05, "rows": table} | changes
    )


def test_numbers_verdicts_and_reasons_stand_there():
    found = checked(ROW, OPEN, LACKS, notes=["A note."])
    (one,) = sentences(found)
    assert (one.verdict, one.summary) == ("", "supported 1, undecided 2")
    assert [reading.number for reading in one.readings] == [1, 2]
    assert one.readings[0].compared == "mass of a is more than mass of b, by more than 0.02"
    first, second = (" | ".join(row) for row in one.readings[0].rows)
    assert first == "vgg | skin | 32 | 0.500 | 0.410 | +0.090 [0.070, 0.110] | < 0.001 | supported | "
    assert second.startswith("net | skin | 30 in 8 clusters (2 without) | ")
    assert second.endswith(" | the samples do not tell; about 1,200 clusters would decide, if mean and spread stay")
    (third,) = (" | ".join(row) for row in one.readings[1].rows)
    assert third == "any model | any data set | – | – | – | – | – | undecided | not measured: no metric"
    assert "corrected for all 2 rows that were tested (Holm)" in " ".join(rule(found))


@pytest.mark.parametrize(
    ("says", "margin", "text"),
    [
        ("equal", 0.1, "m is as much as c, to within 0.1"),
        ("not less", 0.1, "m is no less than c, but for 0.1"),
        ("predicts", 0.0, "m is more than c"),
        ("explains", 0.5, "at least 0.5 of the effect is explained: m; c"),
        ("explains", 0.0, "a share above 0 is explained: m; c"),
    ],
)
def test_what_a_claim_says_in_words(says, margin, text):
    row = ROW | {"says": says, "margin": margin, "measure": "m", "compared": "c"}
    assert sentences(checked(row))[0].readings[0].compared == text


def test_text_from_outside_stays_text(tmp_path):
    row = ROW | dict.fromkeys(("sentence", "reading", "model", "dataset", "measure", "compared"), NASTY)
    row |= {"why": NASTY, "verdict": "undecided", "sentence": f"=1+1 {NASTY}"}
    found = checked(row, title=NASTY, source=NASTY, run=NASTY, notes=[NASTY])
    page = claims_page(found, tmp_path)
    text = page.read_text("utf-8")
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text
    told = (tmp_path / "claims.md").read_text("utf-8")
    assert not re.search(r"(?<!\\)<img|(?<!\\)\]\(|\u202e|\x1b|@team|^# |(?<!\\)`", told, re.MULTILINE)
    assert "'=1+1" in (tmp_path / "claims.csv").read_text("utf-8")


def test_the_figure_marks_where_a_claim_says_that_the_difference_lies():
    (drawn,) = forests(checked(ROW, OPEN, ROW | {"claim": 3, "says": "equal"}, LACKS))
    assert [axis.get_title(loc="left").split(".")[0] for axis in drawn.axes if axis.axison] == ["1", "3"]
    assert list(forests(checked(LACKS))) == []
    for says, inside in (("greater", [0, 0, 1]), ("less", [1, 0, 0]), ("equal", [0, 1, 0]), ("not less", [0, 1, 1])):
        low, high = said(says, 0.02)
        assert [low < value < high for value in (-0.1, 0, 0.1)] == [bool(each) for each in inside]
