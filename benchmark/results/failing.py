"""The methods and metrics that failed wholly."""

from __future__ import annotations

from typing import Any

import pandas as pd

from camfaith.benchmark.results.folder import RunFolder


def failing(scores: pd.DataFrame, folder: RunFolder) -> dict[str, str]:
    """The methods and metrics of which every row is an error, by "method LABEL" or "metric LABEL", each with its first
    error and where that was raised."""
    judged = scores[(scores["method"] != "") & (scores["metric"] != "diagnostics")]
    found = {}
    for kind in ("method", "metric"):
        whole: Any = judged.groupby(kind, sort=False)["status"].agg(lambda status: (status == "error").all())
        for label in whole.index[whole]:
            path = folder.trace_path(f"{kind} {label}")
            first = judged.loc[judged[kind] == label, "error"].iloc[0]
            told = path.read_text("utf-8").splitlines()[0] + f"; see {path}" if path.is_file() else first
            found[f"{kind} {label}"] = told
    return found
