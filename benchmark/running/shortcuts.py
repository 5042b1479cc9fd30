"""What shortcuts change: the first samples judged with and without them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.judging import judge
from camfaith.benchmark.running.known import Known
from camfaith.benchmark.running.planning import whole
from camfaith.benchmark.running.reading import read, same_size
from camfaith.benchmark.running.records import Records
from camfaith.metrics import Engine

_COMPARED = 4  # samples that are judged with and without shortcuts


def largest_changes(block: Block) -> dict[str, Any]:
    """How far a block's shortcuts moved the main score of each metric, at most, in how many samples."""
    bench, (work,) = block.bench, whole(block)
    ready, _ = read(bench, range(min(_COMPARED, len(block.dataset))), block.suite.suite.seed, bench.classes)
    tables = []
    for shortcuts in ((), bench.setup.shortcuts):
        records = Records("", "")
        for group in same_size(ready):
            engine = Engine(bench.classifier, replace(bench.setup, shortcuts=shortcuts))
            judge(block, engine, group, work, Known(), records)
        tables.append(records.tables()["scores"].to_pandas())
    main = {judge_.label: judge_.metric.main for judge_ in block.judges}
    exact, quick = (table[table["column"] == table["metric"].map(main)] for table in tables)
    both = exact.merge(quick, on=["sample", "method", "metric"], suffixes=("", "_quick"))
    moved = (both["value"] - both["value_quick"]).abs().groupby(both["metric"]).max()
    changes = {str(metric): float(value) for metric, value in moved.items()}
    return {"largest_change": changes, "compared_samples": len(ready)}
