"""What came of claims that were checked against a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

ROWS = [
    *("claim", "sentence", "reading", "says", "margin", "model", "dataset", "n", "units", "lost"),
    *("measure", "compared", "measured", "against", "difference", "low", "high"),
    *("p", "p_against", "verdict", "why", "needed"),
]
VERDICTS = ("supported", "contradicted", "undecided")


@dataclass(frozen=True, eq=False)
class Checked:
    """Claims with what a run says of them; `name` is that of their file.

    `rows`: a row for each claim on each model and data set, as `ROWS`. `measure` and `compared` say in words what the
    numbers `measured` and `against` are means of, `difference` is measured − against (of `explains` the share that is
    explained), `low` and `high` the limits of its 95 % interval. `p` is small where the opposite of the claim is
    refuted, `p_against` where the claim is; both are corrected for all rows (Holm). `lost`: samples of the scope
    without a value. `needed`: the samples, or clusters, that would decide.
    """

    name: str
    title: str
    source: str
    run: str
    level: float
    rows: pd.DataFrame
    notes: Sequence[str] = ()

    def counts(self) -> dict[str, int]:
        """How many rows have each verdict."""
        return {verdict: int((self.rows["verdict"] == verdict).sum()) for verdict in VERDICTS}

    def to_json(self) -> str:
        """All of it as JSON; a number that is none is null."""
        about = {name: getattr(self, name) for name in ("name", "title", "source", "run", "level")} | self.counts()
        rows = json.loads(self.rows.to_json(orient="records", double_precision=15))
        return json.dumps({**about, "rows": rows, "notes": list(self.notes)}, indent=2, ensure_ascii=False)
