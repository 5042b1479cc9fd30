"""Pictures listed in a CSV table."""

from __future__ import annotations

import csv
import difflib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from camfaith.benchmark.datasets.pictures import box_mask, existing_folder, path_below, read_mask, read_picture
from camfaith.benchmark.datasets.sample import Label, Sample, SampleError, class_list
from camfaith.models.settings import Location, Positive, Text, checked

_COLUMNS = ("file", "label", "labels", "mask", "content", "boxes", "x0", "y0", "x1", "y1", "cluster", "id")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}(\.0*)?")  # tables with gaps say "3.0"


@dataclass(frozen=True)
class _Row:
    id: str
    where: str
    fields: Mapping[str, str]
    label: Label
    problem: str | None


class Table:
    """Pictures listed in a CSV file (UTF-8, comma-separated, with a header).

    Columns, all but the first optional; an empty field means "not given":

    - `file`: path under `root`, which is the CSV's folder unless given.
    - `label`: a class index, or a class name where `classes` are given; or `labels`: several of these, "3; 7".
    - `mask`, `content`: paths of masks under `root`.
    - `boxes`: "x0 y0 x1 y1; x0 y0 x1 y1", or the columns `x0`, `y0`, `x1`, `y1` for one box: whole pixels of the
      displayed picture, x1 and y1 exclusive. The mask is the union of the boxes.
    - `cluster`; `id`, which is `file` where not given.

    `white` is the value of white in grey of more than 8 bits (`camfaith.models.load_picture`): 4095 in 12 bits.

    Only the table is read until a sample is taken. A row that cannot be used raises `SampleError` when it is taken: a
    path that leaves `root`, a bad label, a bad box, an id used before (it is listed as "id#2"). The table itself raises
    `ValueError` where it has no `file` column or no row.
    """

    @checked
    def __init__(
        self,
        path: Location,
        *,
        root: Location | None = None,
        name: Text | None = None,
        classes: Sequence[str] | None = None,
        white: Positive | None = None,
    ) -> None:
        path, self._white = Path(path).expanduser(), white
        self._root = existing_folder(path.parent if root is None else root).resolve()
        self.name = name or path.stem
        self.class_names: Sequence[str] | None = class_list(classes)
        self._rows = _rows(path, self.class_names)
        self.ids: Sequence[str] = [row.id for row in self._rows]
        self.labels: Sequence[Label] = [row.label for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int, /) -> Sample:
        row = self._rows[index]
        try:
            if row.problem is not None:
                raise SampleError(row.problem)
            return self._sample(row)
        except SampleError as error:
            raise SampleError(f"{row.where}: {error}") from error

    def _sample(self, row: _Row) -> Sample:
        image = read_picture(path_below(self._root, row.fields["file"]), self._white)
        mask, content = (self._mask(row, column, image.size) for column in ("mask", "content"))
        if boxes := _boxes(row.fields):
            if mask is not None:
                raise SampleError("both a mask and boxes are given: leave one of them empty")
            mask = box_mask(boxes, image.size)
        return Sample(row.id, image, row.label, mask, content, row.fields.get("cluster") or None)

    def _mask(self, row: _Row, column: str, size: tuple[int, int]) -> Image.Image | None:
        file = row.fields.get(column)
        return read_mask(path_below(self._root, file), size) if file else None


def _rows(path: Path, classes: Sequence[str] | None) -> list[_Row]:
    records = list(_records(path))
    if not records:
        raise ValueError(f"no images in {str(path)!r}: expected one row a picture below the header")
    positions: dict[str, list[int]] = {}
    for label, name in enumerate(classes or ()):
        positions.setdefault(name, []).append(label)
    taken = {_row_id(fields, line) for line, fields, _ in records}
    times: Counter[str] = Counter()
    rows = []
    for line, fields, problem in records:
        row_id, index = _row_id(fields, line), None
        try:
            index = _labels(fields, classes, positions)
        except SampleError as error:
            problem = problem or str(error)
        times[row_id] += 1
        if times[row_id] > 1:
            problem = f"duplicate id {row_id!r}: remove the row, or give it an id of its own in the column 'id'"
            row_id = _free_id(row_id, times, taken)
        rows.append(_Row(row_id, f"{path.name} line {line}", fields, index, problem))
    return rows


def _free_id(row_id: str, times: Counter[str], taken: set[str]) -> str:
    while (free := f"{row_id}#{times[row_id]}") in taken:
        times[row_id] += 1
    return free


def _records(path: Path) -> Iterator[tuple[int, dict[str, str], str | None]]:
    """(line, fields, problem) for each row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            columns = [column.strip() for column in next(reader, [])]
            _check_columns(path, columns)
            for values in reader:
                if not any(value.strip() for value in values):
                    continue
                wrong = f"the row has {len(values)} fields but the header has {len(columns)}: quote fields with commas"
                fields = dict(zip(columns, (value.strip() for value in values), strict=False))
                yield reader.line_num, {"file": "", **fields}, wrong if len(values) != len(columns) else None
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not UTF-8 ({error}): save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise ValueError(f"{str(path)!r} line {reader.line_num} is not CSV: {error}") from error


def _check_columns(path: Path, columns: list[str]) -> None:
    found = ", ".join(map(repr, columns)) or "none"
    if "file" not in columns:
        raise ValueError(f"no column 'file' in {str(path)!r}, columns found: {found}; commas separate columns")
    for column in columns:
        if meant := set(difflib.get_close_matches(column, _COLUMNS, n=1, cutoff=0.75)) - {*columns}:
            raise ValueError(f"column {column!r} in {str(path)!r}: did you mean {meant.pop()!r}? Rename it")
    if repeated := [column for column, n in Counter(columns).items() if n > 1 and column]:
        raise ValueError(f"column {repeated[0]!r} is there twice in {str(path)!r}, columns found: {found}")


def _row_id(fields: Mapping[str, str], line: int) -> str:
    file = fields["file"]
    return fields.get("id") or (PurePosixPath(file).as_posix() if file else f"line {line}")


def _labels(fields: Mapping[str, str], classes: Sequence[str] | None, positions: Mapping[str, list[int]]) -> Label:
    """What the columns `label` and `labels` give."""
    several = [part.strip() for part in fields.get("labels", "").split(";")]
    if "labels" not in fields:
        return _label(fields.get("label", ""), classes, positions)
    if fields.get("label"):
        raise SampleError("labels are given both in 'label' and in 'labels': leave one of them empty")
    found = [_label(text, classes, positions) for text in several if text]
    return tuple(sorted({label for label in found if label is not None}))


def _label(text: str, classes: Sequence[str] | None, positions: Mapping[str, list[int]]) -> int | None:
    """The class index that `text` gives; `positions` are the places of each name in `classes`."""
    if not text:
        return None
    meant = set(positions.get(text, []))
    if _WHOLE_NUMBER.fullmatch(text):
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


def _boxes(fields: Mapping[str, str]) -> list[tuple[int, int, int, int]]:
    listed = [part.split() for part in fields.get("boxes", "").split(";") if part.strip()]
    corners = [fields.get(column, "") for column in ("x0", "y0", "x1", "y1")]
    if any(corners):
        if listed:
            raise SampleError("boxes are given both in 'boxes' and in x0, y0, x1, y1: leave one of them empty")
        listed = [corners]
    return [_box(numbers) for numbers in listed]


def _box(numbers: Sequence[str]) -> tuple[int, int, int, int]:
    if len(numbers) != 4 or not all(map(_WHOLE_NUMBER.fullmatch, numbers)):
        raise SampleError(f"box {' '.join(numbers)!r} is not four whole numbers 'x0 y0 x1 y1': round them to pixels")
    x0, y0, x1, y1 = (int(float(number)) for number in numbers)
    return x0, y0, x1, y1
