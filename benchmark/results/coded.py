"""The rows of many files as one frame, whose text is codes until all is filtered and in order: a run says few things
many times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
from numpy.typing import NDArray


def read_coded(paths: Sequence[Path], schema: pa.Schema, wanted: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The rows with these values, file by file as they were written; text is categorical."""
    text = [field.name for field in schema if field.type == pa.string()]
    coded = pa.schema([f.with_type(pa.dictionary(pa.int32(), f.type)) if f.name in text else f for f in schema])
    files = ds.ParquetFileFormat(dictionary_columns=text)
    rows = None
    for column, values in wanted.items():
        found = ds.field(column).isin(pa.array(values, pa.string()))
        rows = found if rows is None else rows & found
    source = ds.dataset([str(path) for path in paths], schema=coded, format=files)
    table: pd.DataFrame = source.to_table(columns=schema.names, filter=rows).to_pandas()
    return table


def places(column: pd.Series[Any], names: Sequence[str]) -> NDArray[np.int64]:
    """Where each text of a coded column stands among the names; -1 for none of them."""
    known = {name: place for place, name in enumerate(names)}
    return np.array([*(known.get(text, -1) for text in column.cat.categories), -1])[column.cat.codes]


def relabelled(written: pd.Series[Any], key: pd.Series[Any], labels: Mapping[str, str]) -> pd.Categorical:
    """A coded column with the labels that keys have now; what has no key stays as it was written."""
    names = list(dict.fromkeys([*labels.values(), *written.cat.categories]))
    now = np.array([*(names.index(label) for label in labels.values()), -1])[places(key, list(labels))]
    codes: NDArray[np.int64] = np.where(key == "", places(written, names), now)
    found: pd.Categorical = pd.Categorical.from_codes(codes, pd.Index(names))
    return found


def plain(coded: pd.DataFrame) -> pd.DataFrame:
    """Text as text again, and whole numbers that may be missing as such."""
    text = pd.Series([""]).dtype  # `str`, and `object` before pandas 3
    for name, column in coded.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            said = column.cat.categories.astype(text).array
            coded[name] = said.take(column.cat.codes.to_numpy(), allow_fill=True)
    return coded.astype({name: "Int64" for name in ("label", "target") if name in coded})
