"""Lists, names with settings, and numbers on a command line."""

from __future__ import annotations

import pytest

from camfaith.benchmark.cli.arguments import entries, listed, number
from camfaith.benchmark.suite.declaration import SuiteError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, None),
        ("gradcam, random,", ["gradcam", "random"]),
        ("gradcam++,gradcam++(variant=pgc)", ["gradcam++", {"name": "gradcam++", "variant": "pgc"}]),
        (
            'fused(layers=["a", "b"], how=mean), cams(1).py:Mine',
            [{"name": "fused", "layers": ["a", "b"], "how": "mean"}, "cams(1).py:Mine"],
        ),
        ("pgc:GradCAM(layer=layer3)", [{"name": "pgc:GradCAM", "layer": "layer3"}]),
        ("deletion, (preset=rise)", ["deletion", {"preset": "rise"}]),
    ],
)
def test_names_come_with_their_settings(text, found):
    assert entries(text) == found


def test_a_setting_without_a_value_is_named():
    with pytest.raises(SuiteError, match="expected a setting as name=value, got 'pgc'"):
        entries("gradcam++(pgc)")


def test_lists_and_numbers():
    assert listed("cat, dog,,3") == ["cat", "dog", "3"]
    assert [number(word) for word in ("3", "-1", "cat", "3a")] == [3, -1, "cat", "3a"]
