"""What may be given for a method, the entry of a suite that it becomes, and what is judged beside it."""

from __future__ import annotations

import sys

import pytest

from camfaith.benchmark.gating.naming import entries_of, entry_of
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.methods import GradCAM, GradCAMPlusPlus


class MyCAM(GradCAM):
    """One that a module holds."""


@pytest.mark.parametrize(
    ("given", "entry"),
    [
        (GradCAM, {"name": "gradcam"}),
        ("pgc:GradCAM", {"name": "pgc:GradCAM"}),
        ({"name": GradCAMPlusPlus, "variant": "pgc"}, {"name": "gradcam++", "variant": "pgc"}),
        (MyCAM, {"name": f"{__name__}:MyCAM"}),
    ],
)
def test_a_class_goes_by_its_name_or_its_place(given, entry):
    assert entry_of(given) == entry


def test_what_no_name_leads_to_is_refused(monkeypatch):
    class Hidden(GradCAM):
        pass

    class Renamed(GradCAM):
        __qualname__ = "MyCAM"

    for given, told in (
        (Hidden, "is defined in a function"),
        (Renamed, "names another class by now"),
        (GradCAM.weights, "expected a method's class"),
        ({"variant": "pgc"}, "the name of a method"),
    ):
        with pytest.raises(SuiteError, match=told):
            entry_of(given)
    assert sys.modules[__name__].MyCAM is MyCAM


@pytest.mark.parametrize(
    ("method", "like", "beside"),
    [
        (MyCAM, None, [{"name": "random"}, {"name": "hirescam"}]),
        ({"name": MyCAM, "layer": "layer2"}, "random", [{"name": "hirescam", "layer": "layer2"}]),
        ({"name": "hirescam", "label": "mine"}, None, [{"name": "random"}]),
        ("saliency", "gradcam", [{"name": "random"}, {"name": "input-x-gradient"}]),
    ],
)
def test_chance_and_a_known_map_of_the_same_kind_are_judged_beside_it_once(method, like, beside):
    given = [entry_of(each) for each in (method, like) if each is not None]
    assert entries_of(method, like) == [*given, *beside]
