"""Pictures listed in a CSV table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from PIL import Image

from camfaith.benchmark.datasets.field import field_of
from camfaith.benchmark.datasets.listing import WHOLE_NUMBER, Listed, Row, label_in, read_rows
from camfaith.benchmark.datasets.pictures import box_mask, existing_folder, path_below, read_mask, read_picture
from camfaith.benchmark.datasets.sample import Label, Sample, SampleError, class_list
from camfaith.models.settings import Location, Positive, Text, checked

_COLUMNS = ("file", "label", "labels", "mask", "content", "boxes", "x0", "y0", "x1", "y1", "cluster", "id")


class Table(Listed):
    """Pictures listed in a CSV file (UTF-8, comma-separated, with a header).

    Columns, all but the first optional; an empty field means "not given":

    - `file`: path under `root`, which is the CSV's folder unless given.
    - `label`: a class index, or a class name where `classes` are given; or `labels`: several of these, "3; 7".
    - `mask`, `content`: paths of masks under `root`.
    - `boxes`: "x0 y0 x1 y1; x0 y0 x1 y1", or the columns `x0`, `y0`, `x1`, `y1` for one box: whole pixels of the
      displayed picture, x1 and y1 exclusive. The mask is the union of the boxes.
    - `cluster`; `id`, which is `file` where not given.

    With `field`, the content mask of a row that gives none is the round field of view, found from the picture.

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
        field: bool = False,
    ) -> None:
        path, self._white, self._field = Path(path).expanduser(), white, field
        self._root = existing_folder(path.parent if root is None else root).resolve()
        self.name = name or path.stem
        names = class_list(classes)
        self.class_names: Sequence[str] | None = names
        remedy = "remove the row, or give it an id of its own in the column 'id'"
        rows = read_rows(path, ("file",), _row_id, lambda fields: _labels(fields, names), remedy)
        _check_spelling(path, rows[0].fields)
        super().__init__(rows, [row.fields.get("cluster") or None for row in rows])

    def _sample(self, row: Row, cluster: str | None) -> Sample:
        image = read_picture(path_below(self._root, row.fields["file"]), self._white)
        mask, content = (self._mask(row, column, image.size) for column in ("mask", "content"))
        if boxes := _boxes(row.fields):
            if mask is not None:
                raise SampleError("both a mask and boxes are given: leave one of them empty")
            mask = box_mask(boxes, image.size)
        if content is None and self._field:
            content = field_of(image)
        return Sample(row.id, image, row.label, mask, content, cluster)

    def _mask(self, row: Row, column: str, size: tuple[int, int]) -> Image.Image | None:
        file = row.fields.get(column)
        return read_mask(path_below(self._root, file), size) if file else None


def _check_spelling(path: Path, columns: Mapping[str, str]) -> None:
    for column in columns:
        if meant := set(difflib.get_close_matches(column, _COLUMNS, n=1, cutoff=0.75)) - {*columns}:
            raise ValueError(f"column {column!r} in {str(path)!r}: did you mean {meant.pop()!r}? Rename it")


def _row_id(fields: Mapping[str, str], line: int) -> str:
    file = fields["file"]
    return fields.get("id") or (PurePosixPath(file).as_posix() if file else f"line {line}")


def _labels(fields: Mapping[str, str], classes: Sequence[str] | None) -> Label:
    """What the columns `label` and `labels` give."""
    several = [part.strip() for part in fields.get("labels", "").split(";")]
    if "labels" not in fields:
        return label_in(fields.get("label", ""), classes)
    if fields.get("label"):
        raise SampleError("labels are given both in 'label' and in 'labels': leave one of them empty")
    found = [label_in(text, classes) for text in several if text]
    return tuple(sorted({label for label in found if label is not None}))


def _boxes(fields: Mapping[str, str]) -> list[tuple[int, int, int, int]]:
    listed = [part.split() for part in fields.get("boxes", "").split(";") if part.strip()]
    corners = [fields.get(column, "") for column in ("x0", "y0", "x1", "y1")]
    if any(corners):
        if listed:
            raise SampleError("boxes are given both in 'boxes' and in x0, y0, x1, y1: leave one of them empty")
        listed = [corners]
    return [_box(numbers) for numbers in listed]


def _box(numbers: Sequence[str]) -> tuple[int, int, int, int]:
    if len(numbers) != 4 or not all(map(WHOLE_NUMBER.fullmatch, numbers)):
        raise SampleError(f"box {' '.join(numbers)!r} is not four whole numbers 'x0 y0 x1 y1': round them to pixels")
    x0, y0, x1, y1 = (int(float(number)) for number in numbers)
    return x0, y0, x1, y1
