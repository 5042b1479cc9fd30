"""HAM10000: dermoscopic photographs of seven kinds of pigmented skin lesion."""

from __future__ import annotations

from collections.abc import Sequence

from camfaith.benchmark.datasets.field import field_of
from camfaith.benchmark.datasets.listing import Listed, Row, label_in, read_rows
from camfaith.benchmark.datasets.pictures import ByStem, read_mask, read_picture, required
from camfaith.benchmark.datasets.sample import Sample
from camfaith.models.settings import Location, Text, checked

IMAGES = ("HAM10000_images_part_1", "HAM10000_images_part_2")
MASKS = "HAM10000_segmentations_lesion_tschandl"

WHERE = (
    "get HAM10000 from https://doi.org/10.7910/DVN/DBW86T (Harvard Dataverse) and unpack it so that the folder holds "
    "HAM10000_metadata.csv (lesion_id, image_id, dx), HAM10000_images_part_1/IMAGE_ID.jpg, HAM10000_images_part_2 and, "
    f"for masks, {MASKS}/IMAGE_ID_segmentation.png"
)

KINDS = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
"""Actinic keratosis, basal cell carcinoma, benign keratosis, dermatofibroma, melanoma, naevus, vascular lesion."""


class Ham10000(Listed):
    """HAM10000 as it is published: `root/HAM10000_metadata.csv` (lesion_id, image_id, dx), the pictures in
    `root/HAM10000_images_part_1` and `_2`, and the lesions' masks, where they are, in
    `root/HAM10000_segmentations_lesion_tschandl/IMAGE_ID_segmentation.png`.

    The label is the kind of lesion, the cluster the lesion, of which there may be several pictures. With `field`, the
    content mask is the round field of view, found from the picture. A picture may have another suffix, in any case.

    Only the table is read until a sample is taken. A row that cannot be used raises `SampleError` when it is taken: no
    picture or several, a damaged one, an unknown kind, an id used before.

    Raises `FileNotFoundError`, which says where to get the data, where the table or both folders are not there. Source:
    Tschandl, Rosendahl, Kittler 2018.
    """

    @checked
    def __init__(self, root: Location, *, field: bool = False, name: Text = "ham10000") -> None:
        folder = required(root, WHERE, ["HAM10000_metadata.csv"], IMAGES)
        self.name, self._field = name, field
        self.class_names: Sequence[str] | None = KINDS
        self._pictures, self._masks = ByStem(folder, IMAGES), ByStem(folder, [MASKS])
        rows = read_rows(
            folder / "HAM10000_metadata.csv",
            ("lesion_id", "image_id", "dx"),
            lambda fields, line: fields["image_id"] or f"line {line}",
            lambda fields: label_in(fields["dx"], KINDS, f"no dx is given: expected one of {', '.join(KINDS)}"),
        )
        super().__init__(rows, [row.fields["lesion_id"] or None for row in rows])

    def _sample(self, row: Row, cluster: str | None) -> Sample:
        image = read_picture(self._pictures[row.fields["image_id"]])
        masked = f"{row.fields['image_id']}_segmentation"
        mask = read_mask(self._masks[masked], image.size) if masked in self._masks else None
        return Sample(row.id, image, row.label, mask, field_of(image) if self._field else None, cluster)
