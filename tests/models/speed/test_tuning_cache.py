"""A network is measured once on a machine; a bad cache only means measuring again."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import platformdirs
import pytest
import torch

from camfaith.models import Classifier
from camfaith.models.speed import tuning_cache
from camfaith.models.speed.allocator import memory_is_kept
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning_cache import from_json, setup_of

IMAGE = torch.zeros(1, 3, 16, 16)
FOUND = Setup(32, False, ("bf16",), 123.4, {"fold": "not faster here"})


@pytest.fixture
def measured(monkeypatch):
    """What was measured: a list of the images' sizes and of what was allowed."""
    calls = []

    def tune(_classifier, image, allow=()):
        calls.append((tuple(image.shape[2:]), tuple(allow)))
        return FOUND

    monkeypatch.setattr(tuning_cache, "tune", tune)
    return calls


@pytest.fixture
def classifier(counting):
    return Classifier(counting.inner)


@pytest.fixture
def cache():
    return Path(platformdirs.user_cache_dir("camfaith")) / "speed.json"


def test_the_cache_of_the_tests_is_not_the_users(cache, tmp_path, measured, classifier):
    setup_of(classifier, IMAGE)
    assert tmp_path in cache.parents
    assert [path.name for path in cache.parent.iterdir()] == ["speed.json"], "no draft is left"


def test_a_second_call_measures_nothing_and_finds_the_same(measured, classifier):
    assert setup_of(classifier, IMAGE, ["bf16", "fold"]) == FOUND
    assert setup_of(classifier, torch.rand(1, 3, 16, 16), ["fold", "bf16"]) == FOUND
    assert measured == [((16, 16), ("bf16", "fold"))]


def test_the_same_network_with_other_weights_is_measured_once(measured, counting):
    setup_of(Classifier(counting.inner), IMAGE)
    setup_of(Classifier(type(counting.inner)()), IMAGE)
    assert len(measured) == 1


def test_what_was_found_to_run_fused_runs_plainly_where_a_network_that_looks_alike_cannot_be_traced(
    measured, classifier, monkeypatch
):
    monkeypatch.setattr(tuning_cache, "tune", lambda *_: replace(FOUND, fused=True))
    assert setup_of(classifier, IMAGE).fused
    assert setup_of(classifier, IMAGE).fused
    kind, forward = type(classifier.network), type(classifier.network).forward
    monkeypatch.setattr(kind, "forward", lambda self, images: forward(self, images if images.mean() > 0 else -images))
    assert setup_of(classifier, IMAGE) == FOUND


def measures_again(measured, classifier, image=IMAGE, allow=()):
    before = len(measured)
    setup_of(classifier, image, allow)
    return len(measured) > before


def test_whatever_may_change_the_speed_means_measuring_again(measured, classifier, monkeypatch, tiny):
    setup_of(classifier, IMAGE)
    assert measures_again(measured, classifier, torch.zeros(1, 3, 24, 16))
    assert measures_again(measured, classifier, IMAGE.double())
    assert measures_again(measured, classifier, allow=["bf16"])
    assert measures_again(measured, Classifier(tiny))
    for name, value in {"memory_is_kept": not memory_is_kept(), "_device": "another"}.items():
        with monkeypatch.context() as changed:
            changed.setattr(tuning_cache, name, lambda *_, value=value: value)
            assert measures_again(measured, classifier)
    with monkeypatch.context() as changed:
        changed.setattr(torch, "get_num_threads", lambda: 17)
        assert measures_again(measured, classifier)
    with monkeypatch.context() as changed:
        changed.setattr("os.getloadavg", lambda: (99.0, 0.0, 0.0))
        changed.setattr("os.cpu_count", lambda: 4)
        assert measures_again(measured, classifier)
        assert not measures_again(measured, classifier)
    with monkeypatch.context() as changed:
        changed.setattr(torch, "__version__", "1.0")
        assert measures_again(measured, classifier)
    assert not measures_again(measured, classifier), "the first is known still"


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"text"', "\x00\xff"])
def test_a_damaged_cache_is_measured_over(content, measured, classifier, cache):
    cache.parent.mkdir(parents=True)
    cache.write_bytes(content.encode("latin-1"))
    assert setup_of(classifier, IMAGE) == FOUND
    assert setup_of(classifier, IMAGE) == FOUND
    assert len(measured) == 1


@pytest.mark.parametrize(
    "entry",
    [
        *(None, [], "text", {}, {"batch_size": 3}, {"shortcuts": [], "another": 1}),
        *({"shortcuts": [], "batch_size": size} for size in (0, -3, 4.5, "many")),
        *({"shortcuts": ["magic"]}, {"shortcuts": [], "threads": "all"}),
    ],
)
def test_a_damaged_entry_is_measured_over(entry, measured, classifier, cache):
    setup_of(classifier, IMAGE)
    (key,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: entry, "others": asdict(Setup())}))
    assert setup_of(classifier, IMAGE) == FOUND
    assert len(measured) == 2
    assert json.loads(cache.read_text()).keys() == {key, "others"}


def test_a_cache_that_is_a_folder_means_measuring(measured, classifier, cache):
    cache.mkdir(parents=True)
    assert setup_of(classifier, IMAGE) == FOUND
    assert setup_of(classifier, IMAGE) == FOUND
    assert len(measured) == 2


def test_a_place_where_no_folder_can_be_made_means_measuring(measured, classifier, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda _name: str(tmp_path / "file" / "cache"))
    assert setup_of(classifier, IMAGE) == FOUND
    assert len(measured) == 1


@pytest.mark.parametrize("actions", [["mkdir"], ["write_text"], ["read_text"], ["mkdir", "read_text", "unlink"]])
def test_a_home_that_cannot_be_used_means_measuring(actions, measured, classifier, monkeypatch):
    def refused(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    for action in actions:
        monkeypatch.setattr(Path, action, refused)
    assert setup_of(classifier, IMAGE) == FOUND
    assert len(measured) == 1


@pytest.mark.parametrize("setup", [Setup(), FOUND, Setup(8, True, ("fold", "compile"), 0.1, {"bf16": "“why”"})])
def test_a_setup_survives_json(setup):
    assert from_json(json.loads(json.dumps(asdict(setup)))) == setup
