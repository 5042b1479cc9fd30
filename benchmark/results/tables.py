"""The tables of a run: one fixed schema each, so that parts fit together whatever they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_TEXT, _WHOLE, _REAL, _BYTES, _REALS = pa.string(), pa.int64(), pa.float64(), pa.binary(), pa.list_(pa.float64())


def _schema(**fields: pa.DataType) -> pa.Schema:
    return pa.schema(list(fields.items()))


_PLACE = {"context": _TEXT, "model": _TEXT, "dataset": _TEXT, "sample": _TEXT}
_METHOD, _METRIC = {"method": _TEXT, "method_key": _TEXT}, {"metric": _TEXT, "metric_key": _TEXT}

SCHEMAS: Mapping[str, pa.Schema] = {
    "scores": _schema(
        run=_TEXT,
        **_PLACE,
        cluster=_TEXT,
        label=_WHOLE,
        target=_WHOLE,
        policy=_TEXT,
        **_METHOD,
        **_METRIC,
        preset=_TEXT,
        column=_TEXT,
        value=_REAL,
        status=_TEXT,
        error=_TEXT,
        seconds=_REAL,
        forwards=_WHOLE,
    ),
    "lines": _schema(**_PLACE, **_METHOD, **_METRIC, x_label=_TEXT, y_label=_TEXT, x=_REALS, y=_REALS),
    "maps": _schema(
        **_PLACE,
        **_METHOD,
        rectified=pa.bool_(),
        control=pa.bool_(),
        height=_WHOLE,
        width=_WHOLE,
        precision=_TEXT,
        values=_BYTES,
        contributions=_BYTES,
        status=_TEXT,
        error=_TEXT,
        seconds=_REAL,
        forwards=_REAL,
        backwards=_REAL,
    ),
    "warnings": _schema(**_PLACE, **_METHOD, **_METRIC, text=_TEXT, count=_WHOLE),
    "answers": _schema(
        **_PLACE,
        probe=_TEXT,
        logit=_REALS,
        log_probability=_REALS,
        confidence=_REALS,
        distance=_REALS,
        logits=_REALS,
    ),
    "pictures": _schema(
        **_PLACE,
        cluster=_TEXT,
        label=_WHOLE,
        target=_WHOLE,
        precision=_TEXT,
        image=_BYTES,
        exact=_BYTES,
        mask=_BYTES,
        content=_BYTES,
        logits=_REALS,
        logit=_REAL,
        log_probability=_REAL,
        features=_BYTES,
        digest=_TEXT,
    ),
}
"""scores: long form, one row per sample × method × metric × column; lines: the curves behind the numbers; maps: raw
maps on their native grid, and the images that went through the network for one, and back: the pass that methods share,
and the method's own; warnings: what methods, metrics, models and readers warned of, where first, and how often;
answers: what image probes were told, and the logits of all classes, one altered image after the other, where they want
them; pictures: the images as the model saw them, with their `exact` values (float32) where 8 bits are too few, and the
network's `features` of them (float32)."""


def map_of(row: Any) -> NDArray[np.floating]:
    """The raw map (h×w) of one row of the maps table."""
    values: NDArray[np.floating] = np.frombuffer(row["values"], dtype=row["precision"])
    return values.reshape(int(row["height"]), int(row["width"]))
