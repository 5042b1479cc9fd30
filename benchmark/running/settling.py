"""Which cells need no more images, span by span, from the scores of the spans before."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pyarrow.parquet as pq

from camfaith.benchmark.results.sequential import arrivals, settled
from camfaith.benchmark.running.lacking import Holdings
from camfaith.benchmark.running.missing import Settled, Work


def works_of(holdings: Holdings) -> list[Work]:
    """All that is missing of a block; of cells that the scores so far have settled, nothing is."""
    if holdings.block.suite.suite.until == "all":
        return [work for span in holdings.block.spans for work in holdings.lacking(span)]
    return [work for span, settled in settled_by(holdings) for work in holdings.lacking(span, settled)]


def settled_by(holdings: Holdings, *, again: bool = False) -> Iterator[tuple[range, Settled]]:
    """The spans of a block, each with what the spans before it have settled, until all cells are; a span's scores must
    be there when the next is asked for."""
    block = holdings.block
    history: list[pd.DataFrame] = []
    for span in block.spans:
        done = _settled(holdings, history)
        if len(done) == len(block.methods) * len(block.judges):
            return
        yield span, done
        history.append(_scores(holdings, span, again))


def _scores(holdings: Holdings, span: range, again: bool) -> pd.DataFrame:
    """A span's scores, in the order of its samples, with the labels that the suite gives now."""
    block = holdings.block
    paths = [part.file("scores") for part in holdings.parts(span, again=again) if part.note.context == block.context]
    tables = [pq.read_table(path).to_pandas() for path in paths if path is not None]
    if not tables:
        return pd.DataFrame()
    found = pd.concat(tables, ignore_index=True)
    methods, metrics = ({one.key: one.label for one in kind} for kind in (block.methods, block.judges))
    found["method"], found["metric"] = found["method_key"].map(methods), found["metric_key"].map(metrics)
    order = {block.dataset.ids[index]: place for place, index in enumerate(span)}
    kept = found[found["method"].notna() & found["metric"].notna() & found["sample"].isin(list(order))]
    ordered: pd.DataFrame = kept.sort_values("sample", key=lambda samples: samples.map(order), kind="stable")
    return ordered


def _settled(holdings: Holdings, history: list[pd.DataFrame]) -> Settled:
    rows = [table for table in history if len(table)]
    if not rows:
        return frozenset()
    general = holdings.block.suite.suite
    main = {j.label: j.metric.main for j in holdings.block.judges if j.metric.main in j.metric.better}
    scores = arrivals(pd.concat(rows, ignore_index=True), main)
    found = settled(scores, list(main), general.level, general.margin, len(holdings.block.dataset))
    # A metric over several methods goes on with all of them until the last is settled: it is about them together.
    methods, several = holdings.block.methods, {j.label for j in holdings.block.judges if j.over}
    whole = {metric for metric in several if all((method.label, metric) in found for method in methods)}
    return {cell for cell in found if cell[1] not in several - whole}
