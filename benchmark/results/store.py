"""What a run stored, read back: of all that its folder holds, what its suite asks for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from camfaith.benchmark.results.folder import Part, RunFolder, RunFolderError
from camfaith.benchmark.results.tables import SCHEMAS, map_of

__all__ = ["Result", "RunFolder", "RunFolderError", "load", "map_of"]


class Result:
    """A finished (or stopped) run, read from its folder."""

    def __init__(self, path: str | Path) -> None:
        self.folder = RunFolder(path)
        self.info = self.folder.info
        if "blocks" not in self.info:
            raise RunFolderError(
                f"{self.folder.path} was made by an earlier version of camfaith, whose parts do not say what is in "
                "them; run its suite once more, into another folder or with overwrite"
            )

    @property
    def path(self) -> Path:
        return self.folder.path

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per sample × method × metric × column, with its status and error."""
        return self.read("scores")

    def select(self, **wanted: str | Sequence[str]) -> pd.DataFrame:
        """The rows of `scores` with these values, as `select(metric="deletion", method=["gradcam", "random"])`; nothing
        else is read. Any column with text may be named."""
        return self.read("scores", **wanted)

    def read(self, table: str, **wanted: str | Sequence[str]) -> pd.DataFrame:
        """The rows of one of `SCHEMAS` with these values, and nothing else; `ValueError` for a column without text, and
        for a method or metric that the run has not."""
        text = [field.name for field in SCHEMAS[table] if field.type == pa.string()]
        for column in wanted:
            if column not in text:
                raise ValueError(f"{table} has no column {column!r} with text; it has {', '.join(text)}")
        asked = {k: [v] if isinstance(v, str) else list(v) for k, v in wanted.items()}
        for kind in ("method", "metric"):
            known = ["", "diagnostics", *(m["label"] for m in self.info[f"{kind}s"])]
            unknown = [name for name in asked.get(kind, ()) if name not in known]
            if unknown:
                raise ValueError(f"the run has no {kind} {unknown[0]!r}; it has {', '.join(known[2:])}")
        found = self._table(table, asked)
        if table == "scores":
            return _without_old_complaints(found)
        return found[found["status"] == "ok"].reset_index(drop=True) if table == "maps" else found

    @cached_property
    def lines(self) -> pd.DataFrame:
        """The curves behind the numbers, one row each; `x` and `y` are arrays."""
        return self.read("lines")

    @cached_property
    def maps(self) -> pd.DataFrame:
        """The raw maps, one row each; `map_of(row)` gives the array."""
        return self.read("maps")

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """The images as the model saw them: PNG or WebP bytes without loss, with the mask as PNG bytes or None."""
        return self.read("pictures")

    def summary(self) -> pd.DataFrame:
        """Mean, confidence interval, n, rank, and the difference from the random control, per cell."""
        from camfaith.benchmark.results.statistics import summarise

        return summarise(self.scores, self.info)

    def separations(self) -> pd.DataFrame:
        """Which method is ahead of which, and after how many images: `sequential.separations` per model × data set.

        The run's level, the share of wrong leads among all, holds for each model × data set, if its samples came in
        random order: `until = "separated"` sees to that; in other runs the classes take turns.
        """
        from camfaith.benchmark.results.sequential import SEPARATION_COLUMNS, arrivals, separations

        suite = self.info["suite"]
        main = {m["label"]: m["main"] for m in self.info["metrics"] if m["main"] in m["better"]}
        better = {m["label"]: m["better"][m["main"]] for m in self.info["metrics"] if m["label"] in main}
        tables = [pd.DataFrame(columns=["model", "dataset", *SEPARATION_COLUMNS])]
        blocks: Any = self.scores.groupby(["model", "dataset"], sort=False)
        for (model, dataset), found in blocks:
            table = separations(arrivals(found, main), better, suite["level"], suite["margin"])
            tables.append(table.assign(model=model, dataset=dataset)[tables[0].columns])
        kept = [table for table in tables if len(table)]
        return pd.concat(kept, ignore_index=True) if kept else tables[0]

    def __repr__(self) -> str:
        return f"Result({str(self.path)!r}, {self.info.get('status', 'unknown')})"

    @cached_property
    def parts(self) -> list[Part]:
        """The parts that hold what the suite asks for; `RunFolderError` for one that is damaged or gone."""
        contexts = {block["context"] for block in self.info["blocks"]}
        found = [part for block in self.info["blocks"] for part in self.folder.parts(block["folder"])]
        there = {self._name(part.path) for part in found}
        lost = [name for name in self.info.get("parts", ()) if name not in there]
        if lost:
            raise self._damage(f"{self.path / 'parts' / lost[0]} is damaged or gone", len(lost))
        return [part for part in found if part.note.context in contexts]

    def _name(self, part: Path) -> str:
        return part.relative_to(self.path / "parts").as_posix()

    def _damage(self, first: str, count: int) -> RunFolderError:
        more = f" ({count} parts in all)" if count > 1 else ""
        return RunFolderError(f"{first}{more}; run the same command once more, which makes it again")

    def _table(self, name: str, wanted: Mapping[str, Sequence[str]]) -> pd.DataFrame:
        """One of `SCHEMAS` over all parts, with those rows alone that the suite asks for, in its order."""
        schema = SCHEMAS[name]
        keys = {kind: {m["key"]: m["label"] for m in self.info[f"{kind}s"]} for kind in ("method", "metric")}
        said = {kind: wanted[kind] for kind in keys if kind in wanted and f"{kind}_key" in schema.names}
        wanted = {column: values for column, values in wanted.items() if column not in said}
        for kind, names in said.items():  # a label may be another than when the row was written
            unlabelled = [""] if set(names) - set(keys[kind].values()) else []
            wanted[f"{kind}_key"] = [key for key, label in keys[kind].items() if label in names] + unlabelled
        asked = [part for part in self.parts if self._may_hold(part, wanted)]
        paths = [(part, path) for part in asked if (path := part.file(name)) is not None]
        wrong = [text for part, _ in paths if (text := part.damage([name]))]
        if wrong:
            raise self._damage(wrong[0], len(wrong))
        if not paths:
            return _framed(schema.empty_table())
        rows = ds.field("context").isin(sorted({block["context"] for block in self.info["blocks"]}))
        for column, values in wanted.items():
            rows &= ds.field(column).isin(pa.array(values, pa.string()))
        for kind, labels in keys.items():
            if f"{kind}_key" in schema.names:
                rows &= ds.field(f"{kind}_key").isin(pa.array(["", *labels], pa.string()))
        source = ds.dataset([str(path) for _, path in paths], schema=schema, format="parquet")
        found = _framed(source.to_table(filter=rows))
        for kind, labels in keys.items():
            if f"{kind}_key" in found:
                named = found[f"{kind}_key"].map(labels)
                found[kind] = named.where(found[f"{kind}_key"] != "", found[kind])
        for kind, names in said.items():
            found = found[found[kind].isin(names)]
        return self._in_order(found)

    @staticmethod
    def _may_hold(part: Part, wanted: Mapping[str, Sequence[str]]) -> bool:
        methods, metrics, cells = wanted.get("method_key"), wanted.get("metric_key"), part.note.cells
        held = [metric for method in (cells if methods is None else methods) for metric in cells.get(method, ())]
        return (methods is None and metrics is None) or any(metrics is None or metric in metrics for metric in held)

    def _in_order(self, found: pd.DataFrame) -> pd.DataFrame:
        """Rows of samples that the suite asks for, by model, data set, sample, method and metric; else as written."""
        ids = {data["name"]: {name: place for place, name in enumerate(data["ids"])} for data in self.info["datasets"]}
        kept, places = np.zeros(len(found), bool), np.zeros(len(found), np.int64)
        for name, known in ids.items():
            rows = (found["dataset"] == name).to_numpy(bool)
            at = found.loc[rows, "sample"].map(known)
            kept[rows], places[rows] = at.notna().to_numpy(), at.fillna(0).to_numpy(np.int64)
        orders = [(column, [m["name"] for m in self.info[f"{column}s"]]) for column in ("model", "dataset")]
        orders += [("sample", [])]
        orders += [(column, ["", *(m["label"] for m in self.info[f"{column}s"])]) for column in ("method", "metric")]
        code = np.zeros(len(found), np.int64)
        for column, names in orders:
            if column == "sample":
                code = code * (max(map(len, ids.values()), default=0) + 1) + places
            elif column in found:
                known = {name: place for place, name in enumerate(names)}
                code = code * (len(known) + 1) + found[column].map(known).fillna(0).to_numpy(np.int64)
        order = np.argsort(code, kind="stable")
        return found.iloc[order[kept[order]]].reset_index(drop=True)


def _without_old_complaints(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores without what was wrong with samples that could be used after all, and what is wrong said once."""
    about = (scores["method"] == "") & (scores["status"] == "error")
    if not about.any():
        return scores
    place = pd.MultiIndex.from_frame(scores[["model", "dataset", "sample"]])
    judged = place.isin(place[scores["method"] != ""])
    return scores[~(about & judged) & ~(about & place.duplicated())].reset_index(drop=True)


def load(path: str | Path) -> Result:
    """The result in a run's folder; `RunFolderError` where there is none."""
    return Result(path)


def _framed(table: pa.Table) -> pd.DataFrame:
    found: pd.DataFrame = table.to_pandas()
    for column in ("label", "target"):
        if column in found:
            found[column] = found[column].astype("Int64")
    return found
