"""The table of how metrics order the grades, as it ships.

A row is a metric before one network, or before all of them (`EVERY`: the mean over those where it is defined). `tau` is
the mean over the degradations of Kendall's τ between the grade and the mean score, and each degradation has a column of
its own; `_low` and `_high` are the limits of the 95 % percentile bootstrap interval over images. `images` is how many
have a score in every grade. The row over all networks tells the metric's `version`, its `way` of asking and its
forwards once an image and once a map (`asking`). A metric that cannot be asked has one row, with the reason in
`unasked`.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

import pandas as pd

EVERY, YARDSTICK = "all", "true map"
"""The network's name in rows over all networks; the metric's name in the rows of who knows the truth."""


def text_of(table: pd.DataFrame) -> str:
    """The table as CSV, with three decimals."""
    return table.round(3).to_csv(index=False, float_format="%g")


@lru_cache(maxsize=1)
def shipped() -> pd.DataFrame:
    """The table that ships, made by `python -m camfaith.benchmark.validity`."""
    with files("camfaith.benchmark.validity").joinpath("table.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
