"""What is explained: a classifier, and what one forward and one backward show of it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camfaith.models.capture import Evidence
    from camfaith.models.classifier import Classifier
    from camfaith.models.errors import LayerError
    from camfaith.models.layers import survey, target_layer
    from camfaith.models.loading import load
    from camfaith.models.lookup import UnknownName
    from camfaith.models.pictures import PictureError, load_picture

# Torch takes seconds to import, and reports, which draw with `display`, do without it.
_WHERE = {
    "Classifier": "classifier",
    "Evidence": "capture",
    "LayerError": "errors",
    "PictureError": "pictures",
    "UnknownName": "lookup",
    "load": "loading",
    "load_picture": "pictures",
    "survey": "layers",
    "target_layer": "layers",
}

__all__ = [
    "Classifier",
    "Evidence",
    "LayerError",
    "PictureError",
    "UnknownName",
    "load",
    "load_picture",
    "survey",
    "target_layer",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"camfaith.models.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
