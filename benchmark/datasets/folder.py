"""Pictures in class folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from camfaith.benchmark.datasets.field import field_of
from camfaith.benchmark.datasets.pictures import (
    EXTENSIONS,
    existing_folder,
    find_pictures,
    printable,
    read_mask,
    read_picture,
)
from camfaith.benchmark.datasets.sample import Sample, class_list
from camfaith.models.settings import Location, Positive, Text, checked


class Folder:
    """Pictures in class folders, `root/CLASS/**/picture.jpg`, as torchvision's ImageFolder reads them.

    - Classes are the sub-folders sorted by name, or `classes` in the order given; every sub-folder must be among these.
    - Pictures directly in `root`, with none in sub-folders, have no label.
    - Ids are paths relative to `root`, with `/`, sorted folder by folder. Links are followed.
    - Hidden files and folders and files without one of `extensions` are skipped.
    - `white` is the value of white in grey of more than 8 bits (`camfaith.models.load_picture`): 4095 in 12 bits.
    - `masks` is a folder with a PNG at the same relative path for each picture that has a mask.
    - With `field`, the content mask is the round field of view, found from the picture.

    Only names are read until a sample is taken. Raises `ValueError` where there is no picture, a class folder without
    one, an unknown class folder, pictures both in `root` and in class folders, or no mask that fits a picture.
    """

    @checked
    def __init__(
        self,
        root: Location,
        *,
        name: Text | None = None,
        classes: Sequence[str] | None = None,
        masks: Location | None = None,
        extensions: Sequence[str] = EXTENSIONS,
        white: Positive | None = None,
        field: bool = False,
    ) -> None:
        self._root, self._white, self._field = existing_folder(root), white, field
        self._masks = None if masks is None else existing_folder(masks)
        beside = self._masks is not None and self._masks.samefile(self._root)
        if beside and ".png" in map(str.lower, extensions):
            raise ValueError("the masks lie beside the pictures: give extensions=[...] without '.png'")
        self._paths = find_pictures(self._root, extensions, without=None if beside else self._masks)
        if not self._paths:
            raise ValueError(
                f"no images in {str(self._root)!r}: expected CLASS/picture or picture with one of the extensions "
                + " ".join(extensions)
            )
        self.name = name or self._root.resolve().name
        self.ids: Sequence[str] = [printable(path) for path in self._paths]
        self.class_names: Sequence[str] | None = self._classes(class_list(classes))
        self.labels: Sequence[int | None] = self._labels()
        if self._masks is not None and not any(map(self._mask, self._paths)):
            raise ValueError(
                f"no mask in {str(self._masks)!r} fits a picture: expected names like "
                f"{printable(self._paths[0].with_suffix('.png'))!r}"
            )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int, /) -> Sample:
        path = self._paths[index]
        image, file = read_picture(self._root / path, self._white), self._mask(path)
        mask = None if file is None else read_mask(file, image.size)
        return Sample(self.ids[index], image, self.labels[index], mask, field_of(image) if self._field else None)

    def _mask(self, path: Path) -> Path | None:
        mask = None if self._masks is None else self._masks / path.with_suffix(".png")
        return mask if mask is not None and mask.is_file() else None

    def _classes(self, given: list[str] | None) -> list[str] | None:
        loose = [path for path in self._paths if len(path.parts) == 1]
        if len(loose) == len(self._paths):
            return given
        if loose:
            raise ValueError(
                f"{str(self._root)!r} holds pictures beside class folders, first {str(loose[0])!r}: move them into a "
                "class folder or away"
            )
        folders = self._sub_folders()
        if given is not None:
            self._check_known(folders, given)
            return given
        used = {path.parts[0] for path in self._paths}
        if empty := [folder for folder in folders if folder not in used]:
            raise ValueError(
                f"no images in class folder {str(self._root / empty[0])!r}: remove it, or give classes=[...] to say "
                "which classes there are"
            )
        return folders

    def _sub_folders(self) -> list[str]:
        folders = [path for path in self._root.iterdir() if path.is_dir() and not path.name.startswith(".")]
        return sorted(path.name for path in folders if self._masks is None or not path.samefile(self._masks))

    def _check_known(self, folders: list[str], classes: list[str]) -> None:
        for folder in folders:
            if folder not in classes:
                from camfaith.models.lookup import UnknownName  # loads torch

                raise UnknownName("class", folder, classes, f"the folder is {str(self._root / folder)!r}")
            if classes.count(folder) > 1:
                raise ValueError(f"class folder {folder!r} is there twice in classes: give both a name of their own")

    def _labels(self) -> list[int | None]:
        index = {name: label for label, name in enumerate(self.class_names or ())}
        return [index[path.parts[0]] if len(path.parts) > 1 else None for path in self._paths]
