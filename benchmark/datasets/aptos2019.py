"""APTOS 2019: photographs of the retina, graded for diabetic retinopathy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from camfaith.benchmark.datasets.field import field_of
from camfaith.benchmark.datasets.listing import Listed, Row, label_in, read_rows
from camfaith.benchmark.datasets.pictures import ByStem, read_mask, read_picture, required
from camfaith.benchmark.datasets.sample import Sample
from camfaith.models.settings import Location, Text, checked

WHERE = (
    "get APTOS 2019 from https://www.kaggle.com/c/aptos2019-blindness-detection/data and unpack it so that the folder "
    "holds train.csv (id_code, diagnosis) and train_images/ID_CODE.png"
)

GRADES = ("no retinopathy", "mild", "moderate", "severe", "proliferative")

_EYE = re.compile(r"(.+)_(left|right)", re.IGNORECASE)


class Aptos2019(Listed):
    """APTOS 2019 as Kaggle has it: `root/train.csv` (id_code, diagnosis) and `root/train_images/ID_CODE.png`.

    The label is the grade, 0 to 4. The content mask is the round field of view, found from the picture; `crop` cuts
    the picture to the field's box. `root/lesion_masks/ID_CODE.png` is the mask where it is there. A picture may have
    another suffix, in any case.

    The cluster is the patient, for ids like "12_left" and "12_right", and pictures whose files are equal byte by byte
    are of one cluster. Only the table, and files of equal size, are read until a sample is taken. A row that cannot be
    used raises `SampleError` when it is taken: no picture or several, a damaged one, a bad grade, an id used before.

    Raises `FileNotFoundError`, which says where to get the data, where the table or the folder is not there. Source:
    Asia Pacific Tele-Ophthalmology Society 2019.
    """

    @checked
    def __init__(self, root: Location, *, crop: bool = True, name: Text = "aptos2019") -> None:
        folder = required(root, WHERE, ["train.csv"], ["train_images"])
        self.name, self._crop = name, crop
        self.class_names: Sequence[str] | None = GRADES
        self._pictures, self._masks = ByStem(folder, ["train_images"]), ByStem(folder, ["lesion_masks"])
        rows = read_rows(
            folder / "train.csv",
            ("id_code", "diagnosis"),
            lambda fields, line: fields["id_code"] or f"line {line}",
            lambda fields: label_in(fields["diagnosis"], GRADES, "no diagnosis is given: expected a grade from 0 to 4"),
        )
        stems = [row.fields["id_code"] for row in rows]
        super().__init__(rows, _tied([*map(_patient, stems)], self._pictures.equal(stems)))

    def _sample(self, row: Row, cluster: str | None) -> Sample:
        stem = row.fields["id_code"]
        image = read_picture(self._pictures[stem])
        mask = read_mask(self._masks[stem], image.size) if stem in self._masks else None
        sample = Sample(row.id, image, row.label, mask, field_of(image), cluster)
        return _cropped(sample) if self._crop else sample


def _patient(stem: str) -> str:
    eye = _EYE.fullmatch(stem)
    return eye[1] if eye else stem


def _tied(names: Sequence[str], groups: Iterable[Sequence[int]]) -> list[str]:
    """The names, where all that a group of positions ties together, directly or over others, has one name."""
    found = {name: name for name in names}
    for group in groups:
        tied = {found[names[position]] for position in group}
        found = {name: min(tied) if now in tied else now for name, now in found.items()}
    return [found[name] for name in names]


def _cropped(sample: Sample) -> Sample:
    assert sample.content is not None
    box = sample.content.getbbox()
    mask = None if sample.mask is None else sample.mask.crop(box)
    return replace(sample, image=sample.image.crop(box), mask=mask, content=sample.content.crop(box))
