"""What every part of a report reads: a run's tables in one order, names for files, numbers as text."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from camfaith.benchmark.results.cells import Block as Values
from camfaith.benchmark.results.cells import units_of, until_separated
from camfaith.benchmark.results.showing import ARROWS
from camfaith.benchmark.results.statistics import conservation_scale
from camfaith.benchmark.results.store import Result


class Block(NamedTuple):
    """One model on one data set."""

    model: str
    dataset: str

    @property
    def title(self) -> str:
        return f"{self.model} on {self.dataset}"

    @property
    def stem(self) -> str:
        return file_stem(self.model, self.dataset)


ALL = Block("", "")
"""How the rows are named that take each block as one unit."""


class Judged(NamedTuple):
    """A metric's column, and which way is better."""

    metric: str
    column: str
    better: str | None

    @property
    def title(self) -> str:
        return f"{self.metric} {self.column}".strip()

    @property
    def arrow(self) -> str:
        return ARROWS.get(self.better or "", "")

    @property
    def head(self) -> str:
        return f"{self.title} {self.arrow}".strip()

    @property
    def ends(self) -> tuple[str, str]:
        """What the images at either end of an order by this column are called."""
        return ("best", "worst") if self.better else ("highest", "lowest")


@dataclass(frozen=True)
class View:
    """A run's results, summarised once."""

    result: Result

    @property
    def info(self) -> dict[str, Any]:
        return self.result.info

    @property
    def suite(self) -> Mapping[str, Any]:
        """The head of the suite: its name, seed and target."""
        found = self.info.get("suite")
        return found if isinstance(found, Mapping) else {"name": found or "unnamed"}

    @property
    def target(self) -> str:
        """Which class was explained: predicted, label, second, or those of a name or number."""
        target = self.suite.get("target", "–")
        return ", ".join(map(str, target)) if isinstance(target, list) else str(target)

    @property
    def scores(self) -> pd.DataFrame:
        return self.result.scores

    @cached_property
    def summary(self) -> pd.DataFrame:
        return self.result.summary()

    @cached_property
    def scale(self) -> pd.DataFrame:
        return conservation_scale(self.scores, self.info)

    @property
    def until_separated(self) -> bool:
        """Whether methods left a metric early, so that tests of a number of images fixed beforehand would be wrong."""
        return until_separated(self.info)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        return self.result.compare()

    @cached_property
    def ranking(self) -> pd.DataFrame:
        return self.result.ranking()

    @cached_property
    def agreement(self) -> pd.DataFrame:
        return self.result.agreement()

    @cached_property
    def reliability(self) -> pd.DataFrame:
        return self.result.reliability()

    @cached_property
    def blocks(self) -> list[Block]:
        """Every model × data set that has rows."""
        return [Block(*names) for names in self.summary[["model", "dataset"]].drop_duplicates().to_numpy().tolist()]

    def values_of(self, block: Block) -> Values:
        """The values of one block, as arrays."""
        return next(v for v in self.result.blocks if (v.model, v.dataset) == block)

    @cached_property
    def methods(self) -> list[str]:
        """All methods in the run's order, the controls last."""
        return [*self._of_kind(control=False), *self._of_kind(control=True)]

    @cached_property
    def controls(self) -> list[str]:
        return self._of_kind(control=True)

    def _of_kind(self, *, control: bool) -> list[str]:
        found = self.summary.loc[self.summary["control"] == control, "method"]
        return [str(method) for method in found.unique()]

    @cached_property
    def judged(self) -> list[Judged]:
        """The main column of every metric that has rows."""
        rows = self.summary.loc[self.summary["main"] == True, ["metric", "column", "better"]]  # noqa: E712
        found = rows.drop_duplicates(["metric", "column"]).to_numpy().tolist()
        order = {m["label"]: place for place, m in enumerate(self.info.get("metrics", ()))}
        found.sort(key=lambda row: order.get(row[0], len(order)))
        return [Judged(m, c, b if isinstance(b, str) else None) for m, c, b in found]

    @cached_property
    def ranked(self) -> list[Judged]:
        """Those of `judged` that say which way is better."""
        return [column for column in self.judged if column.better]

    @cached_property
    def _summaries(self) -> dict[Block, dict[tuple[str, str, str], dict[str, Any]]]:
        found: dict[Block, dict[tuple[str, str, str], dict[str, Any]]] = {}
        rows: list[dict[str, Any]] = self.summary.to_dict("records")  # type: ignore[assignment]
        for row in rows:
            place = found.setdefault(Block(row["model"], row["dataset"]), {})
            place[row["method"], row["metric"], row["column"]] = row
        return found

    def summary_of(self, block: Block) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The summary of one block: a row for each method, metric and column."""
        return self._summaries[block]

    def units_of(self, block: Block, samples: pd.Index) -> list[Any] | None:
        """What each of a block's samples counts as, its cluster or itself."""
        known = self.of(block, self.scores).drop_duplicates("sample").set_index("sample")["cluster"]
        return units_of(samples, known.reindex(samples))

    def of(self, block: Block, table: pd.DataFrame) -> pd.DataFrame:
        """The rows of one block in any of the run's tables."""
        return table[(table["model"] == block.model) & (table["dataset"] == block.dataset)]

    def metrics_named(self, *names: str) -> list[str]:
        """The labels of the run's metrics that are one of `names`."""
        return [m["label"] for m in self.info.get("metrics", ()) if m.get("name") in names]

    def picked(self, table: str, samples: Collection[str]) -> pd.DataFrame:
        """The rows of some samples: the maps of a large run do not fit into memory all at once."""
        return self.result.read(table, sample=list(samples))


def spanned(counts: Iterable[int]) -> str:
    """The least and the greatest of some numbers of images."""
    found = sorted({*counts})
    return f"n = {found[0]}–{found[-1]}" if len(found) > 1 else f"n = {found[0]}" if found else "n = 0"


def file_stem(*names: str) -> str:
    """A file name that every file system takes; different `names` never share one."""
    text = "--".join(names)
    safe = re.sub(r"[^a-z0-9.+-]+", "-", text.lower()).strip("-.")[:60]
    return safe if safe and safe == text else f"{safe or 'x'}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def numbers(*values: float, like: float = math.nan) -> list[str]:
    """Numbers that stand together, in one notation: three significant digits of the largest; or as many decimals as
    the numbers around them have (of size `like`), unless these would hide too much."""
    size = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
    decimals = _decimals(like if like > 0 and 0.1 * like <= size < 1e4 else size)
    style = f".{decimals}f" if not size or 1e-3 <= size < 1e4 else ".2e"
    return [_number(v, style) for v in values]


def _decimals(size: float) -> int:
    return 3 if size < 1 else max(0, 2 - int(math.log10(size)))


def number(value: float) -> str:
    return numbers(value)[0] if value else "0"


def _number(value: float, style: str) -> str:
    if not math.isfinite(value):
        return "–" if math.isnan(value) else str(value)
    text = f"{value:{style}}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        return f"{mantissa}e{int(exponent)}"
    return text.removeprefix("-") if not text.strip("-0.") else text


def shortened(text: str, width: int) -> str:
    """The text in at most `width` characters; a longer one loses its middle."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[left + 1 - width :]}"
