"""XML files that say which objects a picture shows and in which boxes, as Pascal VOC and ImageNet have them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from camfaith.benchmark.datasets.sample import SampleError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1."""


@dataclass(frozen=True)
class Annotation:
    """The size (width, height) of the picture and its objects, each a name and a box."""

    size: tuple[int, int]
    objects: tuple[tuple[str, Box], ...]

    def boxes(self, name: str, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
        """The boxes of the objects of that name, in whole pixels of the picture displayed at `size`.

        Raises `SampleError` where that is not the picture's shape.
        """
        across, down = size[0] / self.size[0], size[1] / self.size[1]
        if abs(across / down - 1) > 0.02:
            raise SampleError(
                f"the boxes are for a picture of {self.size[0]}x{self.size[1]}, but it is displayed at "
                f"{size[0]}x{size[1]}: give it whole, and not turned"
            )
        found = [box for named, box in self.objects if named == name]
        return [_whole((x0 * across, y0 * down, x1 * across, y1 * down), size) for x0, y0, x1, y1 in found]


def read_annotation(path: Path) -> Annotation:
    """What the file says. Raises `SampleError` where it is not there or cannot be read."""
    try:
        parser = ElementTree.XMLParser(target=_Elements())  # noqa: S314
        root = ElementTree.parse(path, parser).getroot()  # noqa: S314
        width, height = (int(_text(root, f"size/{side}")) for side in ("width", "height"))
        if width < 1 or height < 1:
            raise ValueError(f"a picture of {width}x{height}")
        return Annotation((width, height), tuple((_text(one, "name"), _box(one)) for one in root.iter("object")))
    except FileNotFoundError:
        raise SampleError(f"no annotation at {str(path)!r}") from None
    except (ElementTree.ParseError, ValueError, OSError) as error:
        raise SampleError(f"annotation {str(path)!r} cannot be read: {error}") from error


class _Elements(ElementTree.TreeBuilder):
    def doctype(self, *_: object) -> None:
        """No annotation has one; entities, which can grow without bound, are declared there."""
        raise ValueError("it has a DOCTYPE")


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.findtext(path)
    if found is None:
        raise ValueError(f"no {path!r} in {element.tag!r}")
    return found.strip()


def _box(element: ElementTree.Element) -> Box:
    x0, y0, x1, y1 = (float(_text(element, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax"))
    return x0, y0, x1, y1


def _whole(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The box in whole pixels, cut at the picture's edges."""
    x0, y0, x1, y1 = (min(max(round(value), 0), size[axis % 2]) for axis, value in enumerate(box))
    return x0, y0, x1, y1
