"""A baseline holds all that a comparison needs, is small, and says so where it cannot be used."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pyarrow.parquet as pq
import pytest

from camfaith.benchmark.results import baseline
from camfaith.benchmark.results.baseline import BaselineError, read_baseline, write_baseline
from camfaith.benchmark.results.comparison import compare


def test_what_is_read_is_what_was_written(side, noise, tmp_path):
    values = {"road": noise(20), "deletion": noise(20)}
    values["road"][3] = float("nan")
    one = side(values, clusters=[None, *map(str, range(19))])
    found = read_baseline(write_baseline(one, tmp_path / "new" / "cam.parquet"))
    for name in ("method", "made", "models", "metrics"):
        assert getattr(found, name) == getattr(one, name)
    kept = one.values[one.values["column"] == "auc"].reset_index(drop=True)  # "ties" has no direction
    for name, table in (("values", kept), ("samples", one.samples), ("reach", one.reach)):
        pd.testing.assert_frame_equal(getattr(found, name).astype(object), table.astype(object), check_dtype=False)
    other = side({metric: row + 0.02 for metric, row in values.items()})
    frames = [compare(base, other).rows for base in (one, found)]
    pd.testing.assert_frame_equal(*frames)


def test_fifty_samples_and_ten_metrics_are_small(side, noise, tmp_path):
    one = side({"road": noise(50)}, models__tiny__classes=[f"a class with a longer name {i}" for i in range(1000)])
    many = []
    for metric in range(10):
        for column in range(3):
            more = one.values[one.values["column"] == "auc"]
            many.append(more.assign(metric=f"metric {metric}", column=f"column {column}", value=noise(50, seed=metric)))
        better = {f"column {column}": "higher" for column in range(3)}
        one.metrics[f"metric {metric}"] = one.metrics["road"] | {"label": f"metric {metric}", "better": better}
    one = replace(one, values=pd.concat(many, ignore_index=True))
    path = write_baseline(one, tmp_path / "cam.parquet")
    assert len(read_baseline(path).values) == 1500
    assert path.stat().st_size < 60_000


def _edit(path, change):
    """Write the file anew, with its table and what it says of itself as `change` leaves them."""
    with pq.ParquetFile(path) as file:
        facts, rows = json.loads(file.metadata.metadata[baseline._NOTE]), file.read()
    table = rows.to_pandas()
    change(table, facts)
    rows = rows.from_pandas(table, rows.schema, preserve_index=False)
    with pq.ParquetWriter(path, rows.schema, store_schema=False) as file:
        file.write_table(rows)
        file.add_key_value_metadata({baseline._NOTE: json.dumps(facts)})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: _edit(path, lambda rows, _: rows.__setitem__("value", rows["value"] - 0.1)), "edited or damaged"),
        (
            lambda path: _edit(path, lambda _, facts: facts["models"]["tiny"].update(head="sigmoid")),
            "edited or damaged",
        ),
        (lambda path: _edit(path, lambda _, facts: facts.pop("checksum")), "edited or damaged"),
        (
            lambda path: _edit(path, lambda _, facts: facts.update(format=9)),
            r"by camfaith 0.1.0 in format 9, .* reads format 1",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "is no baseline .no Parquet file"),
        (lambda path: path.write_text("metric,value"), "is no baseline .no Parquet file"),
        (lambda path: pd.DataFrame({"value": [1.0]}).to_parquet(path), "does not say what made it"),
        (lambda path: path.unlink(), "there is no baseline at"),
    ],
    ids=["value", "fact", "checksum", "format", "cut", "text", "other", "gone"],
)
def test_a_file_that_cannot_be_used_is_refused(side, noise, tmp_path, damage, said):
    path = write_baseline(side({"road": noise(10)}), tmp_path / "cam.parquet")
    _edit(path, lambda *_: None)
    assert read_baseline(path).label == "cam"  # written anew it is as it was
    damage(path)
    with pytest.raises(BaselineError, match=said) as told:
        read_baseline(path)
    assert f"camfaith baseline RUN {path}" in str(told.value)
