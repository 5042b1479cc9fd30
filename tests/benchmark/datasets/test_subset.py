"""A run takes the samples in one order, drawn from the seed and the ids, in which the classes take turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from camfaith.benchmark.datasets.each_class import EachClass
from camfaith.benchmark.datasets.sample import Dataset, Sample
from camfaith.benchmark.datasets.subset import known_clusters, subset
from camfaith.benchmark.datasets.synthetic import Skin


class Listed:
    """A data set of names and labels alone; a plug-in without `labels` leaves them out."""

    name = "listed"
    class_names: Sequence[str] | None = None

    def __init__(self, labels: Iterable[int | None], ids: Sequence[str] = (), known: bool = True) -> None:
        labels = list(labels)
        self.ids: Sequence[str] = ids or [f"{i:03}" for i in range(len(labels))]
        if known:
            self.labels = labels

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Sample:
        return Sample(self.ids[index], Image.new("RGB", (1, 1)))


def labels_of(dataset: Dataset) -> list[int | None]:
    return list(dataset.labels)  # type: ignore[attr-defined]


labels = st.lists(st.sampled_from([None, 0, 1, 2]), min_size=1, max_size=30)
seeds = st.integers(0, 1000)


@given(labels, seeds, st.booleans(), st.data())
def test_a_larger_limit_begins_with_the_samples_of_a_smaller_one(
    found: list[int | None], seed: int, by_class: bool, data: st.DataObject
) -> None:
    whole = Listed(found)
    limit = data.draw(st.integers(1, len(found) + 2))
    part, everything = (subset(whole, n, seed, by_class=by_class) for n in (limit, None))
    assert list(part.ids) == list(everything.ids)[:limit] == [part[i].id for i in range(len(part))]
    assert sorted(everything.ids) == whole.ids
    assert labels_of(everything) == [found[int(name)] for name in everything.ids]
    assert (part.name, part.class_names) == ("listed", None)


@given(labels, seeds)
def test_any_first_so_many_samples_hold_the_classes_evenly_and_the_unlabelled_last(
    found: list[int | None], seed: int
) -> None:
    whole, dealt = Counter(found), Counter[int | None]()
    for label in labels_of(subset(Listed(found), None, seed)):
        dealt[label] += 1
        lasting = [known for known in whole if known is not None and dealt[known] < whole[known]]
        assert all(dealt[known] >= max(dealt.values()) - 1 for known in lasting)
        assert label is not None or not lasting


@given(labels, seeds, st.booleans(), st.data())
def test_a_sample_that_is_added_takes_the_place_of_at_most_one_and_moves_none_past_another_of_its_class(
    found: list[int | None], seed: int, by_class: bool, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(found) - 1))
    names = [f"{i:03}" for i in range(len(found))]
    fewer = Listed(found[:place] + found[place + 1 :], names[:place] + names[place + 1 :])
    before, after = (subset(part, None, seed, by_class=by_class) for part in (fewer, Listed(found, names)))
    for label in set(found):
        old, new = ([n for n in part.ids if found[int(n)] == label] for part in (before, after))
        assert old == [name for name in new if name != names[place]]
    for limit in range(1, len(found)):
        assert len(set(before.ids[:limit]) - set(after.ids[:limit])) <= 1


@given(st.permutations(range(20)), seeds, st.booleans())
def test_the_order_of_the_files_does_not_matter(order: list[int], seed: int, by_class: bool) -> None:
    moved = Listed([i % 3 for i in order], [f"{i:03}" for i in order])
    whole = Listed([i % 3 for i in range(20)])
    assert subset(moved, None, seed, by_class=by_class).ids == subset(whole, None, seed, by_class=by_class).ids


def test_where_classes_do_not_count_or_are_not_known_samples_are_a_random_draw() -> None:
    rare = Listed([0] * 9 + [1])
    second = [subset(rare, 2, seed, by_class=False).ids[1] for seed in range(1000)]
    assert all(70 <= count <= 130 for count in Counter(second).values())  # 100, give or take three deviations
    assert second == [subset(Listed(rare.labels, known=False), 2, seed).ids[1] for seed in range(1000)]


def test_a_subset_is_the_same_every_time_and_another_for_another_seed() -> None:
    whole = Listed([i % 7 for i in range(300)])
    chosen = [tuple(subset(whole, 20, seed).ids) for seed in (0, 0, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) == 4
    # Another choice would change the numbers of every run with a limit.
    assert list(subset(Listed([0, 1] * 6), 4, seed=0).ids) == ["009", "002", "005", "000"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit must be 1 or more, got {limit}"):
        subset(Listed([0] * 5), limit)


def test_labels_that_do_not_match_the_samples_are_refused() -> None:
    whole = Listed([0] * 5)
    whole.labels = [0]
    with pytest.raises(ValueError, match="data set 'listed' has 5 samples but 1 labels"):
        subset(whole, 2)


def test_clusters_are_handed_on_and_none_are_known_of_a_data_set_without() -> None:
    data = Skin(samples=12)
    part, each = subset(data, 5), EachClass(data, ["mel", "nv"])
    assert known_clusters(part) == [data.clusters[data.ids.index(name)] for name in part.ids]
    assert known_clusters(each) == [cluster for cluster in data.clusters for _ in "12"]
    assert known_clusters(Listed([0, 1])) == known_clusters(subset(Listed([0, 1]))) == [None, None]
    assert known_clusters(EachClass(Listed([0, 1]))) == ["000", "001"]
