"""A split: stratified by class, whole by cluster, kept in a file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image

from camfaith.benchmark.datasets import Sample
from camfaith.benchmark.datasets.split import PARTS, SHARES, part_of, read_split, split, write_split
from camfaith.benchmark.suite.declaration import General, Suite, SuiteError
from camfaith.benchmark.suite.opening import open_dataset


def counted(labels, parts):
    return Counter(zip(labels, parts, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_each_part_has_its_share_of_each_class_give_or_take_one(seed):
    drawn = np.random.default_rng(seed)
    sizes = drawn.integers(1, 60, size=drawn.integers(2, 8))
    labels = np.repeat(np.arange(len(sizes)), sizes).tolist()
    found = counted(labels, split([f"s{i}" for i in range(len(labels))], labels, seed=seed))
    for label, size in enumerate(sizes):
        for part, share in zip(PARTS, SHARES, strict=True):
            assert abs(found[label, part] - share * size) <= 1


def test_a_cluster_is_whole_and_one_that_holds_most_of_a_class_goes_to_train():
    labels = [0] * 20 + [1] * 20
    clusters = ["eye"] * 15 + [f"a{i // 2}" for i in range(5)] + [f"b{i // 2}" for i in range(20)]
    parts = split([str(i) for i in range(40)], labels, clusters)
    of = {cluster: {p for c, p in zip(clusters, parts, strict=True) if c == cluster} for cluster in clusters}
    assert all(len(found) == 1 for found in of.values())
    assert of["eye"] == {"train"}
    assert counted(labels, parts)[1, "train"] == 14


def test_the_only_sample_of_a_class_goes_to_train():
    labels = [0] * 10 + [1]
    for seed in range(5):
        assert split([str(i) for i in range(11)], labels, seed=seed)[-1] == "train"


def test_a_cluster_and_a_sample_of_the_same_name_are_two():
    assert split([*"xabcdefg"], [0] * 8, [None, *["x"] * 7]) == ["val", *["train"] * 7]


def test_the_seed_draws_the_split_and_the_order_of_samples_does_not():
    ids, labels = [f"s{i}" for i in range(60)], [i % 3 for i in range(60)]
    first = dict(zip(ids, split(ids, labels), strict=True))
    back = dict(zip(ids[::-1], split(ids[::-1], labels[::-1]), strict=True))
    assert back == first
    assert dict(zip(ids, split(ids, labels, seed=1), strict=True)) != first


def test_a_split_is_read_as_it_was_written(tmp_path):
    write_split(tmp_path / "split.csv", ["007", 'a "b", c'], ["train", "test"], [None, "NA"], [0, 1])
    table = read_split(tmp_path / "split.csv")
    assert table.to_dict("index") == {
        "007": {"part": "train", "cluster": "", "label": "0"},
        'a "b", c': {"part": "test", "cluster": "NA", "label": "1"},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no CSV table"),
        ("sample\na\n", "no column 'part'"),
        ("sample,part\na,dev\n", "has a part 'dev'; there are train, val, test"),
        ("sample,part\na,val\na,test\n", "has the sample 'a' twice"),
    ],
)
def test_what_is_no_split_is_refused(tmp_path, text, message):
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_split(tmp_path / "split.csv")


@dataclass
class Letters:
    ids: list[str] = field(default_factory=lambda: list("abcde"))
    name: str = "letters"
    class_names: None = None

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return Sample(self.ids[index], Image.new("RGB", (4, 4)), 0)


def test_a_part_is_the_samples_of_that_part_in_the_data_sets_order(tmp_path):
    (tmp_path / "split.csv").write_text("sample,part\nd,test\na,train\nb,test\n")
    with pytest.warns(UserWarning, match="does not name 2 of 5 samples, first 'c': they are left out"):
        found = part_of(Letters(), tmp_path / "split.csv", "test")
    assert [found[i].id for i in range(len(found))] == list(found.ids) == ["b", "d"]


def test_a_split_of_another_data_set_is_refused_and_so_is_an_empty_part(tmp_path):
    (tmp_path / "split.csv").write_text("sample,part\na,test\nz,test\n")
    with pytest.raises(ValueError, match=r"1 of 2 samples of the split .* first 'z'"):
        part_of(Letters(), tmp_path / "split.csv", "test")
    (tmp_path / "split.csv").write_text("sample,part\na,test\n")
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match="no sample in part 'val'"):
        part_of(Letters(), tmp_path / "split.csv", "val")


def test_a_suite_takes_a_part_and_limits_within_it(tmp_path):
    ids = [f"test-0-{i:05d}" for i in range(10)]
    write_split(tmp_path / "split.csv", ids, ["val", "test"] * 5, [None] * 10, [i % 5 for i in range(10)])
    entry = {"name": "fundus", "samples": 10, "size": 32, "split": str(tmp_path / "split.csv"), "part": "test"}
    general = {"name": "s", "methods": ["gradcam"], "metrics": ["deletion"]}
    suite = {"suite": general, "model": {"name": "fundus-resnet"}}

    def opened(**changed):
        told = Suite.of(suite | {"dataset": {k: v for k, v in (entry | changed).items() if v is not None}})
        return open_dataset(told.dataset[0], General(**general))

    assert sorted(opened().ids) == ids[1::2]
    assert {*opened(limit=3).ids} < {*ids[1::2]}
    assert opened(part=None, split="train").ids[0].startswith("train-")  # the data set's own setting of that name
    with pytest.raises(SuiteError, match="part 'test' needs split"):
        opened(split=None)
