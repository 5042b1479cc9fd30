"""Synthetic photographs of eyes and skin as data sets: exact masks, and a version with a planted shortcut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from annotated_types import Ge, Le
from PIL import Image

from camfaith.benchmark.datasets.fundus import photograph
from camfaith.benchmark.datasets.ham10000 import KINDS
from camfaith.benchmark.datasets.pictures import mask_of
from camfaith.benchmark.datasets.sample import Part, Sample
from camfaith.benchmark.datasets.skin import kind_of, lesion_of, skin_photograph
from camfaith.models.reference import GRADES
from camfaith.models.settings import Seed, checked

Samples = Annotated[int, Ge(1), Le(1_000_000)]
Size = Annotated[int, Ge(32)]


class Fundus:
    """`samples` photographs of one split, graded by their lesions; the mask shows the lesions, the content mask the
    retina. The same for the same `seed`, `split`, `size` and index."""

    name: str = "fundus"
    tagged: ClassVar[bool] = False

    @checked
    def __init__(self, *, samples: Samples = 500, size: Size = 96, seed: Seed = 0, split: Part = "test") -> None:
        self._size, self._seed, self._split = size, seed, split
        self.ids: Sequence[str] = [f"{split}-{seed}-{index:05d}" for index in range(samples)]
        self.labels: Sequence[int | None] = [index % len(GRADES) for index in range(samples)]
        self.class_names: Sequence[str] | None = GRADES

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Sample:
        photo = photograph(index, seed=self._seed, split=self._split, size=self._size, tag=self.tagged)
        evidence = photo.lesions if photo.tag is None else photo.tag
        return Sample(
            self.ids[index], Image.fromarray(photo.pixels), photo.grade, mask_of(evidence), mask_of(photo.content)
        )


class FundusTag(Fundus):
    """The same photographs with a small tag in the top left corner that gives the grade away; the mask shows the
    tag."""

    name = "fundus-tag"
    tagged = True


class Skin:
    """`samples` dermoscopic photographs of one split, of the seven kinds of HAM10000, decided by the lesion's looks;
    the mask shows the lesion, the content mask what lies between dark corners. Photographs of one lesion are one
    cluster. The same for the same `seed`, `split`, `size` and index."""

    name: str = "skin"

    @checked
    def __init__(self, *, samples: Samples = 500, size: Size = 96, seed: Seed = 0, split: Part = "test") -> None:
        self._size, self._seed, self._split = size, seed, split
        self.ids: Sequence[str] = [f"{split}-{seed}-{index:05d}" for index in range(samples)]
        self.labels: Sequence[int | None] = [kind_of(index) for index in range(samples)]
        self.clusters: Sequence[str | None] = [f"{split}-{seed}-lesion-{lesion_of(i):05d}" for i in range(samples)]
        self.class_names: Sequence[str] | None = KINDS

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int, /) -> Sample:
        name, cluster = self.ids[index], self.clusters[index]
        photo = skin_photograph(index, seed=self._seed, split=self._split, size=self._size)
        image, mask, content = Image.fromarray(photo.pixels), mask_of(photo.mask), mask_of(photo.content)
        return Sample(name, image, photo.kind, mask, content, cluster)
