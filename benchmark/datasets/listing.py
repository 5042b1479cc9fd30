"""Rows of a CSV file as samples: read whole, each row with what is wrong in it."""

from __future__ import annotations

import csv
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from camfaith.benchmark.datasets.sample import Label, Sample, SampleError

WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}(\.0*)?")  # tables with gaps say "3.0"


@dataclass(frozen=True)
class Row:
    """One row that is not blank."""

    id: str
    where: str
    fields: Mapping[str, str]
    label: Label
    problem: str | None


class Listed(ABC):
    """Samples that are rows; one that cannot be used says in which line it stands."""

    name: str
    class_names: Sequence[str] | None

    def __init__(self, rows: Sequence[Row], clusters: Sequence[str | None]) -> None:
        self._rows = rows
        self.ids: Sequence[str] = [row.id for row in rows]
        self.labels: Sequence[Label] = [row.label for row in rows]
        self.clusters: Sequence[str | None] = clusters

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Sample:
        row = self._rows[index]
        try:
            if row.problem is not None:
                raise SampleError(row.problem)
            return self._sample(row, self.clusters[index])
        except SampleError as error:
            raise SampleError(f"{row.where}: {error}") from error

    @abstractmethod
    def _sample(self, row: Row, cluster: str | None) -> Sample:
        """The sample of a row. Raises `SampleError` where it cannot be used."""


def read_rows(
    path: Path,
    columns: Sequence[str],
    name_of: Callable[[Mapping[str, str], int], str],
    label_of: Callable[[Mapping[str, str]], Label],
    remedy: str = "remove the row",
) -> list[Row]:
    """The rows of a CSV file (UTF-8, comma-separated, with a header).

    `name_of(fields, line)` is a row's id, `label_of(fields)` its label. A bad row is kept with its problem: a label
    that is refused, too many fields, an id used before (it is listed as "id#2", and `remedy` says what to do).

    Raises `ValueError` where the file is not such a table, lacks one of `columns`, has one twice, or has no row.
    """
    records = list(_records(path, columns))
    if not records:
        raise ValueError(f"no images in {str(path)!r}: expected one row a picture below the header")
    taken = {name_of(fields, line) for line, fields, _ in records}
    times: Counter[str] = Counter()
    rows = []
    for line, fields, problem in records:
        name, label = name_of(fields, line), None
        try:
            label = label_of(fields)
        except SampleError as error:
            problem = problem or str(error)
        times[name] += 1
        if times[name] > 1:
            problem = f"duplicate id {name!r}: {remedy}"
            name = _free_id(name, times, taken)
        rows.append(Row(name, f"{path.name} line {line}", fields, label, problem))
    return rows


def label_in(text: str, classes: Sequence[str] | None, missing: str = "") -> int | None:
    """The class index that `text` gives, as an index or as a name; None where it is empty.

    Raises `SampleError` where it is neither, out of range, or could be two classes, and where it is empty and `missing`
    says what should stand there.
    """
    if not text:
        if missing:
            raise SampleError(missing)
        return None
    meant = {index for index, name in enumerate(classes or ()) if name == text}
    if WHOLE_NUMBER.fullmatch(text):
        meant.add(int(float(text)))
    if len(meant) > 1:
        raise SampleError(
            f"label {text!r} could be any of the classes {sorted(meant)}: give an index, or rename a class"
        )
    if not meant and classes is None:
        raise SampleError(f"label {text!r} is not a class index: give one, or classes=[...] to use names")
    if not meant:
        raise SampleError(f"label {text!r} is neither an index nor the name of one of the {len(classes or ())} classes")
    label = meant.pop()
    if label < 0 or (classes is not None and label >= len(classes)):
        upper = "" if classes is None else f" to {len(classes) - 1}"
        raise SampleError(f"label {text!r} is out of range: class indices go from 0{upper}")
    return label


def _free_id(name: str, times: Counter[str], taken: set[str]) -> str:
    while (free := f"{name}#{times[name]}") in taken:
        times[name] += 1
    return free


def _records(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str], str | None]]:
    """(line, fields, problem) for each row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            _check_columns(path, columns, needed)
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                wrong = f"the row has {len(values)} fields but the header has {len(columns)}: quote fields with commas"
                fields = dict(zip(columns, (value.strip() for value in values), strict=False))
                blank = dict.fromkeys(needed, "")
                yield reader.line_num, {**blank, **fields}, wrong if len(values) != len(columns) else None
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 ({error}): save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise ValueError(f"{str(path)!r} line {reader.line_num} is not CSV: {error}") from error


def _check_columns(path: Path, columns: list[str], needed: Sequence[str]) -> None:
    found = ", ".join(map(repr, columns)) or "none"
    for column in needed:
        if column not in columns:
            raise ValueError(f"no column {column!r} in {str(path)!r}, columns found: {found}; commas separate columns")
    if repeated := [column for column, n in Counter(columns).items() if n > 1 and column]:
        raise ValueError(f"column {repeated[0]!r} is there twice in {str(path)!r}, columns found: {found}")
