"""Settings are what the annotations of a constructor allow: every setting of all that ships, and of others' classes."""

from __future__ import annotations

from functools import partial
from math import inf, nan
from pathlib import Path
from types import NoneType

import numpy as np
import pytest

from camfaith import methods, metrics
from camfaith.benchmark import datasets
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.benchmark.suite.settings import make, settings_of
from camfaith.methods import IntegratedGradients
from camfaith.metrics import Deletion

ANY = [True, "", nan, -1, [1], {}]
WRONG = {
    int: [4.5, "3", inf, *ANY],
    float: ["3", inf, *ANY],
    str: ["os:system", 3, *ANY],
    tuple: [[nan], [["x"]], [True], "x", "", 3, {}],
    bool: ["true", 1, *ANY[1:]],
    NoneType: ANY,
}
"""What may not stand where such a value is the default."""
NEEDED = {name: {"root": "there"} for name in ("folder", "aptos2019", "ham10000", "imagenet", "voc")}
NEEDED |= {"csv": {"path": "pictures.csv"}}


@pytest.mark.parametrize(
    ("room", "name"), [(room, name) for room in (methods, metrics, datasets) for name in room.SHIPPED]
)
def test_a_senseless_setting_is_refused_by_its_name(tiny, room, name):
    kind = room.find(name)
    build = partial(kind, tiny) if room is methods else partial(kind, **NEEDED.get(name, {}))
    for setting, default in settings_of(kind).items():
        for value in ANY if setting == "name" else WRONG[type(default)]:  # a name may be any text
            with pytest.raises(ValueError, match=rf"{setting[:-1]}|baseline") as error:
                build(**{setting: value})
            assert "\n" not in str(error.value)


OWN = """
from pathlib import Path

class Own:
    ids, class_names = [], None
    def __init__(self, root: Path, *, sizes: tuple[int, ...] = (), other: "NotThere" = 3, **more):
        self.given = root, sizes
    def __len__(self): ...
    def __getitem__(self, index): ...

def returns() -> Own: return Own(Path())
def says_nothing(): raise SystemExit
"""


def test_a_class_of_ones_own_gets_what_its_annotations_say(tmp_path):
    (tmp_path / "own.py").write_text(OWN.replace(', other: "NotThere" = 3', ""))
    kind = datasets.find(f"{tmp_path}/own.py:Own")
    assert make("it", kind, {"root": "a/b", "sizes": [1, 2]}).given == (Path("a/b"), (1, 2))
    with pytest.raises(SuiteError, match=r"it: sizes must be a list, each entry a whole number; got \[1, 2.5\]"):
        make("it", kind, {"root": "a/b", "sizes": [1, 2.5]})
    assert datasets.find(f"{tmp_path}/own.py:returns")
    with pytest.raises(ValueError, match="is no dataset: expected a class with __len__ and __getitem__"):
        datasets.find(f"{tmp_path}/own.py:says_nothing")


def test_annotations_that_name_what_is_not_there_check_nothing(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    assert make("it", datasets.find(f"{tmp_path}/own.py:Own"), {"root": 3}).given == (3, ())


def test_numbers_of_numpy_are_numbers(tiny):
    assert IntegratedGradients(tiny, n_steps=np.int64(8)).n_steps == 8
    assert Deletion(tolerance=np.float32(0.5)) == Deletion(tolerance=0.5)
