"""Parts are read ahead in order, and what shortcuts change is written down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from camfaith.benchmark import run
from camfaith.benchmark.running import part
from camfaith.benchmark.suite import tuning_cache
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup

MOVED = ("deletion", "insertion", "sensitivity-n")
"""Metrics that ask the model; the pointing game looks at the map alone."""


@pytest.fixture
def suite(small_suite):
    """Two methods, three metrics that shortcuts move and one that they do not, and a batch found by measuring."""
    head = small_suite["suite"]
    head["methods"] = ["gradcam", "random"]
    head["metrics"] = [m for m in head["metrics"] if isinstance(m, dict)] + ["energy-pointing-game"]
    del head["batch_size"]
    return small_suite


@pytest.fixture
def forced(monkeypatch):
    """Has a setup stand for what measuring finds."""

    def install(setup):
        monkeypatch.setattr(tuning_cache, "tune", lambda _classifier, _image, _allow=(): setup)

    return install


@pytest.fixture
def model(counting):
    return Classifier(counting, name="tiny")


def test_a_run_with_a_shortcut_says_how_far_it_moved_every_metric(suite, forced, model, tmp_path):
    forced(Setup(16, shortcuts=("bf16",)))
    result = run(suite, models=[model], out=tmp_path / "run", allow=["bf16"])
    (entry,) = result.info["engine"]
    assert entry["setup"]["shortcuts"] == ["bf16"]
    assert entry["compared_samples"] == 4
    assert set(entry["largest_change"]) == {*MOVED, "energy-pointing-game"}
    assert all(0 < entry["largest_change"][metric] < 0.5 for metric in MOVED)
    assert entry["largest_change"]["energy-pointing-game"] == 0


def test_the_change_that_is_told_is_the_largest_there_is(suite, forced, model, tmp_path):
    suite["dataset"][0]["limit"] = 4  # all of them are compared
    forced(Setup(16))
    exact = run(suite, models=[model], out=tmp_path / "exact").scores
    forced(Setup(16, shortcuts=("bf16",)))
    result = run(suite, models=[model], out=tmp_path / "quick", allow=["bf16"])
    both = exact.merge(result.scores, on=["sample", "method", "metric", "column"], suffixes=("", "_quick"))
    for metric, column in {"deletion": "auc", "insertion": "auc", "sensitivity-n": "correlation"}.items():
        rows = both[(both["metric"] == metric) & (both["column"] == column)]
        expected = (rows["value"] - rows["value_quick"]).abs().max()
        assert result.info["engine"][0]["largest_change"][metric] == pytest.approx(expected, rel=1e-6)


def test_a_run_without_shortcuts_has_no_change_to_tell(suite, forced, model, tmp_path):
    forced(Setup(16, refused={"bf16": "not faster here"}))
    (entry,) = run(suite, models=[model], out=tmp_path / "run", allow=["bf16"]).info["engine"]
    assert entry.keys() == {"model", "dataset", "setup"}
    assert entry["setup"]["refused"] == {"bf16": "not faster here"}


def test_comparing_costs_the_run_nothing_that_it_tells_of(suite, forced, model, tmp_path):
    forced(Setup(16))
    plain = run(suite, models=[model], out=tmp_path / "plain").info["cost"]
    forced(Setup(16, shortcuts=("bf16",)))
    quick = run(suite, models=[model], out=tmp_path / "quick", allow=["bf16"]).info["cost"]
    for name in ("forwards", "backwards", "shared", "failed"):
        assert quick[name] == plain[name]


def test_a_run_goes_on_with_the_setup_that_it_was_begun_with(suite, forced, model, counting, tmp_path):
    def stop(done, _planned, _what):
        if done > 0:
            raise KeyboardInterrupt

    suite["dataset"][0]["limit"] = 12  # three parts
    forced(Setup(5, False, ("bf16",)))
    whole = run(suite, models=[model], out=tmp_path / "whole", allow=["bf16"])
    with pytest.raises(KeyboardInterrupt):
        run(suite, models=[model], out=tmp_path / "halves", allow=["bf16"], progress=stop)
    (tmp_path / "cache" / "speed.json").unlink()
    forced(Setup(64))
    sizes = []
    counting.register_forward_pre_hook(lambda _module, inputs: sizes.append(len(inputs[0])))
    resumed = run(suite, models=[model], out=tmp_path / "halves", allow=["bf16"])
    assert max(sizes) == 5
    assert resumed.info["engine"] == whole.info["engine"]
    assert resumed.info["engine"][0]["setup"]["batch_size"] == 5
    columns = ["sample", "method", "metric", "column", "value", "status"]
    assert resumed.scores[columns].equals(whole.scores[columns])


@pytest.fixture
def reading(monkeypatch):
    """Data of ten samples beside a device, in parts of three, and the parts whose reading has begun."""
    begun = []

    def read(_bench, indices, _seed, _classes):
        begun.append(indices)
        if 6 in indices:
            raise OSError("the disk is gone")
        return [f"sample {index}" for index in indices], []

    class Prompt(ThreadPoolExecutor):
        """Reads at once, so that what has begun depends on no clock."""

        def submit(self, *args, **kwargs):
            future = super().submit(*args, **kwargs)
            future.exception()
            return future

    monkeypatch.setattr(part, "read", read)
    monkeypatch.setattr(part, "ThreadPoolExecutor", Prompt)

    def ahead(device, samples):
        place = SimpleNamespace(device=SimpleNamespace(type=device))
        bench = SimpleNamespace(dataset=range(samples), classifier=place, classes=5)
        return part._read_ahead(bench, SimpleNamespace(chunk=3, seed=0))

    return begun, ahead


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("samples", [1, 3, 5, 6])
def test_samples_come_in_order_and_each_once(samples, device, reading):
    _, ahead = reading
    given = [(indices, result()[0]) for indices, result in ahead(device, samples)]
    assert [index for indices, _ in given for index in indices] == list(range(samples))
    assert all(read == [f"sample {index}" for index in indices] for indices, read in given)
    assert all(len(indices) <= 3 for indices, _ in given)


def test_beside_an_accelerator_two_parts_are_read_at_most_before_they_are_wanted(reading):
    begun, ahead = reading
    seen = [len(begun) for _ in ahead("cuda", 16)]
    assert seen == [2, 3, 4, 5, 6, 6]


def test_on_the_cpu_nothing_is_read_before_it_is_wanted(reading):
    begun, ahead = reading
    for place, (_, result) in enumerate(ahead("cpu", 5)):
        assert len(begun) == place
        result()


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_a_reader_raises_is_raised_where_its_part_is_wanted(device, reading):
    _, ahead = reading
    parts_ahead = ahead(device, 12)
    for _ in range(2):
        assert next(parts_ahead)[1]()[0]
    indices, result = next(parts_ahead)
    assert 6 in indices
    with pytest.raises(OSError, match="the disk is gone"):
        result()
