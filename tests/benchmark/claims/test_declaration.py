"""Claims as they are declared: what is wrong with them is one clear line, and names may be others in the run."""

from __future__ import annotations

import re

import pytest

from camfaith.benchmark.claims.declaration import Claims, ClaimsError, shipped_claims
from camfaith.models.lookup import UnknownName

MASS = {"metric": "mass", "method": "a"}
PAIR = {"similarity": "spearman", "methods": ["a", "b"]}
MISTAKES = [
    ({"says": "more"}, "key 'claim.0.says' must be one of greater, less, .*, predicts, explains; got 'more'"),
    ({"sentense": "x"}, r"unknown key in \[claim.0\] 'sentense': did you mean 'sentence'"),
    (
        {"measure": {"metrik": "mass", "method": "a"}},
        r"unknown key in \[claim.0.measure\] 'metrik': did you mean 'metri",
    ),
    (
        {"measure": {"method": "a"}},
        "'claim.0.measure': say one of metric, similarity, cost, prediction, number; got none",
    ),
    ({"measure": MASS | {"cost": "seconds"}}, "say one of .*; got metric and cost"),
    ({"measure": {"metric": "mass"}}, "metric needs a method, or methods"),
    ({"measure": {"metric": "diagnostics", "method": "a"}}, "say which column"),
    ({"measure": PAIR | {"methods": ["a"]}}, "similarity needs methods, two different"),
    ({"measure": PAIR | {"methods": ["a", "a"]}}, "similarity needs methods, two different"),
    ({"measure": PAIR | {"similarity": "ssmi"}}, "'claim.0.measure.similarity' must be one of spearman, ssim, top-k"),
    ({"measure": {"prediction": "correct", "method": "a"}}, "prediction is of no method"),
    ({"measure": PAIR | {"column": "x"}}, "a column is a metric's"),
    ({"measure": MASS | {"methods": ["a", "b"]}}, "method or methods, not both"),
    ({"against": "gradcam"}, "key 'claim.0.against' must be a table; got 'gradcam'"),
    ({"against": None}, "'greater' needs against"),
    ({"says": "equal"}, "'equal' needs a margin"),
    ({"margin": -0.1}, "key 'claim.0.margin' must be a number, 0 or more; got -0.1"),
    ({"margin": float("nan")}, "key 'claim.0.margin' must be a number"),
    ({"outcome": MASS}, "an outcome belongs to says = 'predicts'"),
    ({"says": "predicts"}, "against another quantity, or against chance"),
    ({"says": "explains"}, "'explains' and changed belong together"),
    ({"changed": MASS}, "'explains' and changed belong together"),
    ({"changed_against": MASS}, "changed_against belongs to"),
    ({"says": "explains", "changed": MASS, "margin": 1.0}, "a share as its margin, below 1"),
    ({"scope": {"where": MASS}}, "say at_least, at_most, or both"),
    ({"scope": {"models": "vgg"}}, r"unknown key in \[claim.0.scope\] 'models': did you mean 'model'"),
]


@pytest.mark.parametrize(("change", "line"), MISTAKES, ids=[line[:50] for _, line in MISTAKES])
def test_a_mistake_is_one_line_that_names_the_key(one_claim, change, line):
    with pytest.raises(ClaimsError, match=line) as caught:
        Claims.of(one_claim(**({"against": 0.5, "says": "greater"} | change)))
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith("claims: ")


def test_a_file_that_is_missing_broken_or_unknown(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("[claims", "utf-8")
    sixteen = tmp_path / "sixteen.toml"
    sixteen.write_text("[claims]", "utf-16")
    for source, kind, text in (
        (broken, ClaimsError, "is not valid TOML"),
        (sixteen, ClaimsError, "are not in UTF-8"),
        (tmp_path / "none.toml", ClaimsError, "no claims file"),
        ("aptos", UnknownName, "unknown claims 'aptos'.*or give a .toml file"),
        (7, ClaimsError, "expected the name of claims"),
        ({"claim": []}, ClaimsError, "key 'claims' is missing"),
        ({"claims": {"title": "x"}, "claim": [], "levle": 1}, ClaimsError, "unknown key in the claims 'levle'"),
    ):
        with pytest.raises(kind, match=re.compile(text, re.DOTALL)):
            Claims.of(source)


def test_names_are_those_of_the_run(one_claim):
    source = one_claim(
        measure={"metric": "mass", "methods": ["a", "b"], "model": "vgg19"},
        against={"metric": "mass", "methods": ["a", "b"]},
        says="less",
        scope={"model": "net", "where": {"metric": "n", "method": "a", "at_least": 2}},
        sentence="a",
    )
    found = Claims.of(source, {"a": "a(eps=1)", "vgg19": "fundus-vgg", "net": "fundus-resnet"}).claim[0]
    assert (found.measure.methods, found.measure.model) == (("a(eps=1)", "b"), "fundus-vgg")
    assert (found.scope.model, found.scope.where.method, found.sentence) == (("fundus-resnet",), "a(eps=1)", "a")
    with pytest.raises(UnknownName, match=r"unknown name in the claims 'vgg'.*did you mean 'vgg19'"):
        Claims.of(source, {"vgg": "x"})


def test_a_number_is_a_quantity_and_claims_that_ship_are_right(one_claim):
    found = Claims.of(one_claim(against=1, says="greater"))
    assert found.claim[0].against.number == 1
    assert Claims.of(found) == found
    for name, path in shipped_claims().items():
        assert Claims.of(name) == Claims.of(path)
