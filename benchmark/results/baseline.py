"""A baseline: what one method got, and what made it, in one small file to keep beside the code of a method."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from camfaith.benchmark.results.files import whole
from camfaith.benchmark.results.sides import BLOCK, REACH, SAMPLES, VALUES, Side, side_of
from camfaith.benchmark.results.store import Result, load

FORMAT = 1
_NOTE = b"camfaith.baseline"
_FACTS = ("method", "made", "models", "metrics")
_TEXT = (*BLOCK, "sample", "metric", "column", "status", "cluster", "digest")
_KINDS = {name: pa.string() for name in _TEXT} | {"target": pa.int64()}
_ROWS = pa.schema(
    [
        (name, _KINDS.get(name, pa.float64()))
        for name in [*VALUES, *SAMPLES[3:]]
        if name != "error"  # which may name a machine's files
    ]
)


class BaselineError(ValueError):
    """A file that is no baseline, or none that can be used; the message says what to do."""


def write_baseline(run: str | Path | Result | Side, path: str | Path, method: str | None = None) -> Path:
    """Write what a method (left out: the only one that is no control) got in a run, of every column with a direction,
    into one Parquet file; returns its path."""
    if not isinstance(run, Side):
        run = side_of(run if isinstance(run, Result) else load(run), method)
    judged = [(m["label"], column) for m in run.metrics.values() for column in m["better"]]
    values = run.values[pd.MultiIndex.from_frame(run.values[["metric", "column"]]).isin(judged)]
    if values.empty:
        raise ValueError(
            f"{run.source} holds no value of {run.label!r} with a direction: nothing to make a baseline of"
        )
    rows = pa.Table.from_pandas(values.merge(run.samples, "left", [*BLOCK, "sample"]), _ROWS, preserve_index=False)
    reach = run.reach.astype(object).where(run.reach.notna(), None)
    facts = {"format": FORMAT, **{name: getattr(run, name) for name in _FACTS}, "reach": reach.to_numpy().tolist()}
    facts = json.loads(json.dumps(facts, default=str))
    facts["checksum"] = _checksum(facts, rows)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with (
        whole(path) as draft,
        pq.ParquetWriter(draft, _ROWS, compression="zstd", compression_level=19, store_schema=False) as file,
    ):
        file.write_table(rows)
        file.add_key_value_metadata({_NOTE: json.dumps(facts)})
    return Path(path)


def read_baseline(path: str | Path) -> Side:
    """The side of a comparison that a baseline holds; `BaselineError` where the file is none, was edited or damaged, or
    was written by another version of camfaith that this one cannot read."""
    path = Path(path)
    if not path.is_file():
        raise BaselineError(f"there is no baseline at {path}; make one: camfaith baseline RUN {path}")
    try:
        with pq.ParquetFile(path) as file:
            facts, rows = json.loads(file.metadata.metadata[_NOTE]), file.read()
        found = facts["format"]
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise BaselineError(f"{path} is no baseline ({_kind(error)}); make one: camfaith baseline RUN {path}") from None
    if found != FORMAT:
        made = facts.get("made", {}).get("versions", {}).get("camfaith", "another version")
        raise BaselineError(
            f"{path} was written by camfaith {made} in format {found}, and this one reads format {FORMAT}; make it "
            f"anew: camfaith baseline RUN {path}"
        )
    if facts.pop("checksum", None) != _checksum(facts, rows):
        raise BaselineError(
            f"{path} is not as it was written: edited or damaged; restore it (git checkout), or make it anew: camfaith "
            f"baseline RUN {path}"
        )
    table = rows.to_pandas().assign(error="")
    samples = table[SAMPLES].drop_duplicates([*BLOCK, "sample"]).reset_index(drop=True)
    samples["target"] = samples["target"].astype("Int64")
    reach = pd.DataFrame(facts["reach"], columns=REACH).astype({"random": float, "distance": float, "lead": float})
    kept: dict[str, Any] = {name: facts[name] for name in _FACTS}
    return Side(str(path), "baseline", **kept, values=table[VALUES], samples=samples, find_reach=lambda: reach)


def _kind(error: Exception) -> str:
    return "no Parquet file" if isinstance(error, pa.ArrowException | OSError) else "it does not say what made it"


def _checksum(facts: dict[str, Any], rows: pa.Table) -> str:
    said = {name: fact for name, fact in facts.items() if name != "checksum"}
    whole_ = [said, rows.select(_ROWS.names).to_pydict()]
    return hashlib.sha256(json.dumps(whole_, sort_keys=True).encode()).hexdigest()
