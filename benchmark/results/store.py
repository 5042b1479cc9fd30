"""What a run stored, read back: of all that its folder holds, what its suite asks for now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from camfaith.benchmark.results.cells import Block, blocks
from camfaith.benchmark.results.coded import places, plain, read_coded, relabelled
from camfaith.benchmark.results.folder import Part, RunFolder, RunFolderError
from camfaith.benchmark.results.tables import SCHEMAS, map_of

__all__ = ["Result", "RunFolder", "RunFolderError", "load", "map_of"]


class Result:
    """A finished (or stopped) run, read from its folder."""

    def __init__(self, path: str | Path) -> None:
        self.folder = RunFolder(path)
        self.info = self.folder.info

    @property
    def path(self) -> Path:
        return self.folder.path

    @cached_property
    def scores(self) -> pd.DataFrame:
        """One row per sample × method × metric × column, with its status and error; `main` marks the rows of the column
        that stands for the metric."""
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
            self._require(kind, asked.get(kind, ()))
        found = self._table(table, asked)
        if table == "scores":
            found = self._without_old_complaints(found)
        elif table == "maps":
            found = found[found["status"] == "ok"].reset_index(drop=True)
        found = plain(found)
        if table == "scores":
            found["main"] = found["column"] == found["metric"].map(
                {m["label"]: m["main"] for m in self.info["metrics"]}
            )
        return found

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

    @cached_property
    def warnings(self) -> pd.DataFrame:
        """What methods, metrics, models and readers warned of, or left behind, each once, with how often."""
        who = ["model", "dataset", "method", "metric", "text"]
        found = self.read("warnings").groupby(who, sort=False, dropna=False)
        return found.agg(count=("count", "sum"), sample=("sample", "first")).reset_index()

    def columns(self, table: str, *names: str) -> pd.DataFrame:
        """Some columns of one of `SCHEMAS`, and nothing else."""
        return plain(self._table(table, {}, names))

    def calls(self) -> pd.DataFrame:
        """The images that go through the network for one map, and back, with the pass that all methods share: means per
        model, data set and method; NaN in a folder of an earlier version."""
        by = ["model", "dataset", "method"]
        found = self.columns("maps", *by, "sample", "method_key", "forwards", "backwards")
        return found.groupby(by, sort=False)[["forwards", "backwards"]].mean().reset_index()

    @cached_property
    def accuracy(self) -> pd.DataFrame:
        """Accuracy, balanced accuracy and mean confidence of each model on each data set with labels."""
        from camfaith.benchmark.results.accuracy import accuracies

        return accuracies(self._table("pictures", {}, ("model", "dataset", "sample", "label", "logits")), self.info)

    def warning_lines(self) -> list[str]:
        """The warnings as text, one line each."""
        found = []
        for row in self.warnings.to_dict("records"):
            who = " under ".join(row[kind] for kind in ("method", "metric") if row[kind])
            times = f" ({row['count']} times)" if row["count"] > 1 else ""
            found.append(f"{who or row['model']} on {row['dataset']}: {row['text']}{times}")
        return found

    @cached_property
    def failing(self) -> dict[str, str]:
        """The methods and metrics of which every row is an error, and the first (`failing`)."""
        from camfaith.benchmark.results.failing import failing

        return failing(self.scores, self.folder)

    @property
    def has_values(self) -> bool:
        """Whether anything was judged at all."""
        judged = self.scores["method"] != ""
        return bool((judged & self.scores["status"].isin(["ok", "constant"])).any())

    @cached_property
    def blocks(self) -> list[Block]:
        """The values of each model on each data set, as arrays."""
        return list(blocks(self.scores, self.info))

    def summary(self) -> pd.DataFrame:
        """Mean, interval, n, and what is shown: better than random, rank, best, skill, per cell (`summarise`)."""
        from camfaith.benchmark.results.statistics import summarise

        return summarise(self.scores, self.info, self.blocks)

    def compare(self, *methods: str) -> pd.DataFrame:
        """Paired differences between every two of these methods, in the order given; without any, between every two of
        the run's that are no controls (`compare_methods`). `ValueError` for one that the run has not."""
        from camfaith.benchmark.results.pairs import compare_methods

        self._require("method", methods)
        return compare_methods(self.blocks, list(combinations(methods, 2)) if methods else None)

    def ranking(self) -> pd.DataFrame:
        """How methods are ordered under each metric, and how firmly (`rank_methods`)."""
        from camfaith.benchmark.results.ranking import rank_methods

        return rank_methods(self.blocks)

    def agreement(self) -> pd.DataFrame:
        """Whether metrics order the methods alike (`agree`)."""
        from camfaith.benchmark.results.agreement import agree

        return agree(self.blocks)

    def reliability(self) -> pd.DataFrame:
        """How far each metric is to be trusted, on each model and data set (`reliability_of`)."""
        from camfaith.benchmark.results.reliability import reliability_of

        return reliability_of(self.blocks, self.scores, self.lines, self.info)

    def table(self, metric: str, column: str | None = None) -> pd.DataFrame:
        """One metric's main column, or another `column`: a row for each model, data set and sample, a column for each
        method, NaN where there is no value. `ValueError` for a metric or column that the run has not."""
        rows = self.select(metric=metric)
        known = list(rows["column"].unique())
        if column is not None and column not in known:
            raise ValueError(f"metric {metric!r} has no column {column!r}; it has {', '.join(known) or 'none'}")
        rows = rows[rows["main"] if column is None else rows["column"] == column]
        by = ["model", "dataset", "sample", "method"]
        rows = rows[rows["method"] != ""].drop_duplicates(by, keep="last").set_index(by)
        wide = rows["value"].unstack("method", sort=False)  # noqa: PD010 - a pivot table has rows of no sample
        return wide[[m["label"] for m in self.info["methods"] if m["label"] in wide]].rename_axis(columns=None)

    def separations(self) -> pd.DataFrame:
        """Which method is ahead of which, and after how many images: `sequential.separations` per model × data set.

        The run's level, the share of wrong leads among all, holds for each model × data set, if its samples came in
        random order: `until = "separated"` sees to that; in other runs the classes take turns.
        """
        from camfaith.benchmark.results.sequential import separations_of

        return separations_of(self.scores, self.info)

    def _repr_html_(self) -> str:
        from camfaith.benchmark.results.showing import html_of

        return html_of(self.summary(), repr(self), self.info)

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

    def _require(self, kind: str, labels: Sequence[str]) -> None:
        """`ValueError` for a method or metric that the run has not."""
        known = ["", "diagnostics", *(m["label"] for m in self.info[f"{kind}s"])]
        unknown = [label for label in labels if label not in known]
        if unknown:
            raise ValueError(f"the run has no {kind} {unknown[0]!r}; it has {', '.join(known[2:])}")

    def _name(self, part: Path) -> str:
        return part.relative_to(self.path / "parts").as_posix()

    def _damage(self, first: str, count: int) -> RunFolderError:
        more = f" ({count} parts in all)" if count > 1 else ""
        return RunFolderError(f"{first}{more}; run the same command once more, which makes it again")

    def _table(
        self, name: str, wanted: Mapping[str, Sequence[str]], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """One of `SCHEMAS`, or some of its columns, over all parts, with those rows alone that the suite asks for, in
        its order."""
        schema = SCHEMAS[name] if columns is None else pa.schema([SCHEMAS[name].field(column) for column in columns])
        keys = {
            kind: {m.get("cells", m["key"]): m["label"] for m in self.info[f"{kind}s"]}
            for kind in ("method", "metric")
            if f"{kind}_key" in schema.names
        }
        asked = {column: values for column, values in wanted.items() if column not in keys}
        for kind, labels in keys.items():
            if kind in wanted:  # a label may be another than when the row was written
                unlabelled = [""] if set(wanted[kind]) - set(labels.values()) else []
                asked[f"{kind}_key"] = [key for key, label in labels.items() if label in wanted[kind]] + unlabelled
            elif self._held(kind) - set(labels):
                asked[f"{kind}_key"] = ["", *labels]
        paths = [(part, path) for part in self.parts if self._may_hold(part, asked) and (path := part.file(name))]
        wrong = [text for part, _ in paths if (text := part.damage([name]))]
        if wrong:
            raise self._damage(wrong[0], len(wrong))
        found = read_coded([path for _, path in paths], schema, asked)
        for kind, labels in keys.items():
            found[kind] = relabelled(found[kind], found[f"{kind}_key"], labels)
        for kind in [kind for kind in keys if kind in wanted]:
            found = found[found[kind].isin(wanted[kind])]
        return self._in_order(found)

    def _held(self, kind: str) -> set[str]:
        """The keys of all methods, or metrics, that the parts hold anything of."""
        notes = [part.note for part in self.parts]
        if kind == "method":
            return {key for note in notes for key in (*note.cells, *note.maps)}
        return {key for note in notes for keys in note.cells.values() for key in keys}

    @staticmethod
    def _may_hold(part: Part, wanted: Mapping[str, Sequence[str]]) -> bool:
        note = part.note
        of = {"model": [note.model], "dataset": [note.dataset], "sample": [*note.samples, *note.unusable]}
        if any(set(held).isdisjoint(wanted[column]) for column, held in of.items() if column in wanted):
            return False
        methods, metrics = wanted.get("method_key"), wanted.get("metric_key")
        if (methods is None and metrics is None) or "" in [*(methods or ()), *(metrics or ())]:  # as any part may have
            return True
        held = [m for method in (note.cells if methods is None else methods) for m in note.cells.get(method, ())]
        return any(metrics is None or metric in metrics for metric in held)

    def _in_order(self, found: pd.DataFrame) -> pd.DataFrame:
        """Rows of samples that the suite asks for, by model, data set, sample, method and metric; else as written."""
        sample = np.full(len(found), -1)
        for data in self.info["datasets"]:
            sample = np.where(found["dataset"] == data["name"], places(found["sample"], data["ids"]), sample)
        names = {kind: [one["name"] for one in self.info[f"{kind}s"]] for kind in ("model", "dataset")}
        names["sample"] = max((data["ids"] for data in self.info["datasets"]), key=len, default=[])
        names |= {kind: ["", *(one["label"] for one in self.info[f"{kind}s"])] for kind in ("method", "metric")}
        code = np.zeros(len(found), np.int64)
        for column, known in [(column, known) for column, known in names.items() if column in found]:
            at = sample if column == "sample" else places(found[column], known)
            code = code * (len(known) + 1) + np.maximum(at, 0)
        kept = np.flatnonzero(sample >= 0)
        return found.iloc[kept[np.argsort(code[kept], kind="stable")]].reset_index(drop=True)

    def _without_old_complaints(self, scores: pd.DataFrame) -> pd.DataFrame:
        """Scores without what was wrong with samples that could be used after all, and what is wrong said once."""
        wrong = scores[(scores["method"] == "") & (scores["status"] == "error")]
        if wrong.empty:
            return scores
        place = pd.MultiIndex.from_frame(wrong[["model", "dataset", "sample"]])
        notes = [part.note for part in self.parts]
        used = place.isin([(note.model, note.dataset, sample) for note in notes for sample in note.samples])
        return scores.drop(wrong.index[used | place.duplicated()]).reset_index(drop=True)


def load(path: str | Path) -> Result:
    """The result in a run's folder; `RunFolderError` where there is none."""
    return Result(path)
