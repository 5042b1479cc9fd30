"""A run's folder: what made it, and its results in parts that are written whole or not at all.

run.json                      the resolved suite, versions, hashes, seeds, the plan
parts/<key>/scores.parquet    long form, one row per sample × method × metric × column
parts/<key>/lines.parquet     the curves behind the numbers
parts/<key>/maps.parquet      raw maps on their native grid
parts/<key>/pictures.parquet  the images as the model saw them, with their masks
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pandas as pd
from numpy.typing import NDArray

SCORE_COLUMNS = (
    "run",
    "model",
    "dataset",
    "sample",
    "cluster",
    "label",
    "target",
    "policy",
    "method",
    "method_key",
    "metric",
    "metric_key",
    "preset",
    "column",
    "value",
    "status",
    "error",
    "seconds",
    "forwards",
)
LINE_COLUMNS = ("model", "dataset", "sample", "method", "metric", "x_label", "y_label", "x", "y")
MAP_COLUMNS = ("model", "dataset", "sample", "method", "rectified", "height", "width", "values")
PICTURE_COLUMNS = ("model", "dataset", "sample", "label", "target", "image", "mask", "digest")
TABLES: Mapping[str, tuple[str, ...]] = {
    "scores": SCORE_COLUMNS,
    "lines": LINE_COLUMNS,
    "maps": MAP_COLUMNS,
    "pictures": PICTURE_COLUMNS,
}


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked; the message says what to do."""


class RunFolder:
    """Reads and writes a run's folder; one writer at a time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def info_path(self) -> Path:
        return self.path / "run.json"

    def exists(self) -> bool:
        return self.info_path.is_file()

    @property
    def info(self) -> dict[str, Any]:
        """What `run.json` says; `RunFolderError` where there is none."""
        if not self.exists():
            raise RunFolderError(f"{self.path} is no run folder: it holds no run.json; give the folder of a run")
        try:
            found: dict[str, Any] = json.loads(self.info_path.read_text("utf-8"))
        except json.JSONDecodeError as error:
            raise RunFolderError(f"{self.info_path} is damaged ({error}); restore it or start a new run") from error
        return found

    def write_info(self, info: Mapping[str, Any]) -> None:
        """Replace `run.json` in one step."""
        self.path.mkdir(parents=True, exist_ok=True)
        draft = self.path / "run.json.part"
        try:
            draft.write_text(json.dumps(info, indent=2, default=str) + "\n", "utf-8")
            os.replace(draft, self.info_path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the folder for one run; `RunFolderError` where another run holds it. Leftovers of a killed run go."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.path / "run.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunFolderError(
                f"another run is writing to {self.path}; wait for it, or give another folder"
            ) from None
        try:
            for leftover in (self.path / "parts").glob("*.part"):
                shutil.rmtree(leftover)
            yield
        finally:
            lock.release()

    def has_part(self, key: str) -> bool:
        return (self.path / "parts" / key).is_dir()

    def write_part(self, key: str, tables: Mapping[str, pd.DataFrame]) -> None:
        """Write one part, whole or not at all; raises `OSError` (a full disk, say) and leaves no trace of it then."""
        draft, final = self.path / "parts" / f"{key}.part", self.path / "parts" / key
        try:
            draft.mkdir(parents=True, exist_ok=True)
            for name, table in tables.items():
                table.to_parquet(draft / f"{name}.parquet", index=False, compression="zstd")
            os.replace(draft, final)
        except BaseException as error:
            shutil.rmtree(draft, ignore_errors=True)
            if isinstance(error, OSError):
                hint = f"cannot write results to {final}: {error.strerror or error}; what was written before is whole"
                raise OSError(error.errno, hint) from error
            raise

    @property
    def parts(self) -> list[Path]:
        folder = self.path / "parts"
        if not folder.is_dir():
            return []
        return sorted(part for part in folder.iterdir() if part.is_dir() and part.suffix != ".part")

    def part_table(self, key: str, name: str) -> pd.DataFrame:
        """One of `TABLES` of one part."""
        return pd.read_parquet(self.path / "parts" / key / f"{name}.parquet")

    def clear(self) -> None:
        """Remove what a run wrote here, and nothing else."""
        for folder in ("parts", "report"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        self.info_path.unlink(missing_ok=True)

    def table(self, name: str) -> pd.DataFrame:
        """One of `TABLES` over all parts."""
        found = [pd.read_parquet(part / f"{name}.parquet") for part in self.parts]
        kept = [table for table in found if len(table)]
        return pd.concat(kept, ignore_index=True) if kept else pd.DataFrame(columns=list(TABLES[name]))


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
        """One row per sample × method × metric × column, with its status and error."""
        return self.folder.table("scores")

    @cached_property
    def lines(self) -> pd.DataFrame:
        """The curves behind the numbers, one row each; `x` and `y` are arrays."""
        return self.folder.table("lines")

    @cached_property
    def maps(self) -> pd.DataFrame:
        """The raw maps, one row each; `map_of(row)` gives the array."""
        return self.folder.table("maps")

    @cached_property
    def pictures(self) -> pd.DataFrame:
        """The images as the model saw them: PNG or JPEG bytes, with the mask as PNG bytes or None."""
        return self.folder.table("pictures")

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
        return f"Result({str(self.path)!r}, {len(self.scores)} rows, {self.info.get('status', 'unknown')})"


def map_of(row: Any) -> NDArray[np.float32]:
    """The raw map (h×w) of one row of the maps table."""
    values: NDArray[np.float32] = np.frombuffer(row["values"], dtype="<f4").reshape(row["height"], row["width"])
    return values


def load(path: str | Path) -> Result:
    """The result in a run's folder; `RunFolderError` where there is none."""
    return Result(path)
