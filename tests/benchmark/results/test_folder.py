"""A run's folder holds parts that are whole or not there, and says which of them are not as they were written."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from camfaith.benchmark import load, run
from camfaith.benchmark.results.folder import RunFolder, RunFolderError
from camfaith.benchmark.results.tables import SCHEMAS
from camfaith.models import Classifier


@pytest.fixture
def suite(small_suite):
    small_suite["suite"] |= {"methods": ["gradcam", "random"]}
    return small_suite


@pytest.fixture
def again(suite, counting, tmp_path):
    """Runs the suite, and says what it cost in all so far."""
    model = Classifier(counting.inner, name="tiny")
    return lambda **more: run(suite, models=[model], **{"out": tmp_path / "run", **more})


@pytest.fixture
def finished(again, copy_of):
    """The suite's run, as it is when all is done."""
    return load(copy_of("run", lambda folder: again(out=folder)))


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


DAMAGE = {
    "a flipped bit": flip,
    "a cut file": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "an empty file": lambda path: path.write_bytes(b""),
    "a lost file": lambda path: path.unlink(),
    "a lost part": lambda path: shutil.rmtree(path.parent),
}
FILES = ("scores.parquet", "lines.parquet", "maps.parquet", "answers.parquet", "pictures.parquet", "part.json")


DAMAGED = [("a flipped bit", file) for file in FILES]
DAMAGED += itertools.product(["a cut file", "an empty file", "a lost file"], ["scores.parquet", "part.json"])
DAMAGED += [("a lost part", "scores.parquet")]


@pytest.mark.parametrize(("damage", "file"), DAMAGED)
def test_what_is_damaged_is_named_and_made_again_and_nothing_else(finished, again, tmp_path, damage, file):
    scores, before = finished.scores, finished.info["cost"]["forwards"]
    first, second = (part.path for part in finished.parts)
    DAMAGE[damage](second / file)
    broken = load(tmp_path / "run")
    if file != "answers.parquet":  # which no table of a result shows
        table = file.removesuffix(".parquet") if file in FILES[:3] + FILES[4:5] else "scores"
        with pytest.raises(RunFolderError, match=f"{second.parent.name}/0.*run the same command once more"):
            getattr(broken, table)
    if damage == "a lost part":
        made = again()
    else:
        with pytest.warns(UserWarning, match=f"{second.parent.name}/0.*it is made again"):
            made = again()
    pd.testing.assert_frame_equal(made.scores.drop(columns="seconds"), scores.drop(columns="seconds"))
    assert made.info["cost"]["forwards"] == before
    assert made.folder.damaged() == {}
    assert first in [part.path for part in made.parts]


DELETION = {"name": "deletion", "steps": 4}
COARSE = {"name": "deletion", "steps": 2, "label": "coarse"}


@pytest.mark.parametrize("then", [[COARSE], [COARSE, "corner-artifact"]], ids=["nothing new", "of maps alone"])
def test_maps_and_pictures_are_made_again_whose_cells_lie_in_other_parts(again, tmp_path, then):
    again(metrics=[DELETION])
    again(metrics=[COARSE])
    shutil.rmtree(tmp_path / "run" / "parts" / again().parts[0].path.relative_to(tmp_path / "run" / "parts"))
    made = again(metrics=then)
    fresh = again(metrics=then, out=tmp_path / "fresh")
    for table, keys in (
        ("scores", ["sample", "method", "metric", "column"]),
        ("maps", ["sample", "method"]),
        ("pictures", ["sample"]),
    ):
        found, wanted = ([tuple(row) for row in getattr(r, table)[keys].to_numpy()] for r in (made, fresh))
        assert sorted(found) == sorted(wanted)


def test_a_run_kept_without_pictures_goes_on_with_them(again, suite, tmp_path):
    suite["suite"]["pictures"] = "none"
    again(metrics=[DELETION])
    suite["suite"]["pictures"] = "all"
    assert set(again(metrics=[DELETION, "corner-artifact"]).scores["metric"]) >= {"deletion", "corner-artifact"}


def test_every_file_is_on_the_disk_before_its_part_has_its_name(again, tmp_path, monkeypatch):
    synced, named = set(), []
    fsync, replace = os.fsync, os.replace

    def follow(handle):
        synced.add(os.path.realpath(f"/proc/self/fd/{handle}"))
        return fsync(handle)

    def rename(source, target):
        held = {str(path) for path in [source, *source.glob("*")]} if source.is_dir() else {str(source)}
        named.append((str(target), held - synced))
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", follow)
    monkeypatch.setattr(os, "replace", rename)
    again()
    assert len([target for target, _ in named if "parts" in target]) == 2
    assert not any(unsynced for target, unsynced in named if "speed.json" not in target)


def test_scores_are_the_rows_of_all_parts_in_the_suites_order_and_a_selection_is_some_of_them(again, tmp_path):
    for place in range(6):
        Image.effect_noise((32, 32), 40).convert("RGB").save(tmp_path / f"{place}.png")
    (tmp_path / "3.png").write_bytes(b"no picture")
    asked = {"datasets": [{"name": "folder", "root": str(tmp_path)}], "metrics": ["deletion", "conservation"]}
    again(methods=["gradcam", "random"], **asked)
    result = again(methods=["xgradcam", {"name": "gradcam", "label": "ours"}], **asked)
    rows = [row for part in result.parts for row in pq.read_table(part.file("scores")).to_pylist()]
    key = next(method["key"] for method in result.info["methods"] if method["label"] == "ours")
    rows = [row | ({"method": "ours"} if row["method_key"] == key else {}) for row in rows if row["method"] != "random"]
    ids = result.info["datasets"][0]["ids"]
    of = {"sample": ids, "method": ["", "xgradcam", "ours"], "metric": ["diagnostics", "deletion", "conservation"]}
    rows.sort(key=lambda row: [names.index(row[column]) if row[column] else 0 for column, names in of.items()])
    whole = pa.Table.from_pylist(rows, SCHEMAS["scores"]).to_pandas().astype({"label": "Int64", "target": "Int64"})
    whole["main"] = whole["column"] == whole["metric"].map({"deletion": "auc", "conservation": "residual"})
    pd.testing.assert_frame_equal(result.scores, whole)
    for chosen in ({"method": ["", "ours"]}, {"metric": ["diagnostics"], "status": ["ok"]}, {"sample": ids[2:4]}):
        some = whole[pd.DataFrame({name: whole[name].isin(values) for name, values in chosen.items()}).all(axis=1)]
        assert len(some)
        pd.testing.assert_frame_equal(result.select(**chosen), some.reset_index(drop=True))


def test_a_selection_reads_only_the_parts_that_can_hold_it(finished, again, suite, tmp_path):
    first = finished.parts
    again(metrics=[*suite["suite"]["metrics"], {"name": "deletion", "steps": 2, "label": "coarse"}])
    (first[0].path / "scores.parquet").unlink()
    found = load(tmp_path / "run")
    assert set(found.select(sample=list(first[1].note.samples))["sample"]) == set(first[1].note.samples)
    (first[1].path / "scores.parquet").unlink()
    coarse = found.select(metric="coarse", method=["gradcam"], column="auc")
    assert len(coarse) == 6
    assert set(coarse["metric"]) == {"coarse"}
    with pytest.raises(RunFolderError, match="cannot be read"):
        found.select(metric="insertion")
    with pytest.raises(ValueError, match="the run has no metric 'deletion'; it has deletion"):
        found.select(metric="deletion")
    with pytest.raises(ValueError, match="no column 'metrics' with text; it has run, context, model"):
        found.select(metrics="coarse")


@pytest.mark.parametrize("change", [str.lower, lambda t: t[:-9], lambda t: "", lambda t: "[3]", lambda t: "[" * 10**5])
def test_a_run_json_that_is_not_as_it_was_written_is_refused(tmp_path, change):
    RunFolder(tmp_path).write_info({"run": "A", "suite": {"name": "old"}})
    assert load(tmp_path).info == {"run": "A", "suite": {"name": "old"}}
    (tmp_path / "run.json").write_text(change((tmp_path / "run.json").read_text()))
    with pytest.raises(RunFolderError, match="edited, damaged, or made by an earlier version of camfaith"):
        load(tmp_path)


def test_a_part_of_another_version_is_refused_and_not_taken_for_damage(finished, again):
    part = finished.parts[0].path
    content = json.loads((part / "part.json").read_text()) | {"colour": "blue"}
    del content["checksum"]
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (part / "part.json").write_text(json.dumps({"checksum": checksum, **content}))
    with pytest.raises(RunFolderError, match="was written by another version of camfaith"):
        again()
    assert part.is_dir()


def test_several_processes_share_the_spans_of_a_run(suite, tmp_path):
    suite["model"] = [{"name": "fundus-vgg"}]
    suite["dataset"][0] |= {"size": 96, "limit": 4}
    suite["suite"] |= {"chunk": 1, "metrics": [{"name": "deletion", "steps": 4}]}
    alone = run(suite, out=tmp_path / "alone")
    shared = run(suite, out=tmp_path / "shared", workers=2)
    assert len(shared.parts) == len(alone.parts) == 4
    assert shared.info["status"] == "complete"
    assert shared.info["cost"]["forwards"] == alone.info["cost"]["forwards"]
    keys = ["sample", "method", "metric", "column", "value", "status"]
    pd.testing.assert_frame_equal(shared.scores[keys], alone.scores[keys], rtol=1e-5, atol=1e-7)


def test_a_model_that_is_taken_out_leaves_the_rest_readable(again, suite, counting, tmp_path):
    both = [Classifier(counting.inner, name=name) for name in ("tiny", "other")]
    run(suite, models=both, out=tmp_path / "run")
    assert set(again().scores["model"]) == {"tiny"}


@pytest.mark.filterwarnings("ignore:.*it is made again")
def test_a_part_that_another_process_made_again_meanwhile_is_left_alone(finished, again, tmp_path, monkeypatch):
    (part, _) = finished.parts
    flip(part.path / "scores.parquet")
    seen = RunFolder(tmp_path / "run").damaged()
    again()
    cost = again().info["cost"]["forwards"]
    monkeypatch.setattr(RunFolder, "damaged", lambda self: {**seen, part.path.parent / "7": "gone by now"})
    assert again().info["cost"]["forwards"] == cost
    assert part.path.is_dir()
