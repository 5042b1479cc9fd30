"""How often the statistics are right: `docs/statistics.md`, its words from `words.md` and its figures simulated.

    python tests/calibration/page.py > docs/statistics.md

All is drawn from fixed seeds and goes through the code that a run and a comparison go through. It takes about seven
minutes on two cores; `--processes` says how many there are.
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from string import Template
from typing import Any

import claims
import decisions
import gate
import limits
import showing
from draws import CLUSTERS, DIFFERENCES, VALUES

SIZES = (8, 16, 32, 100)
Task = tuple[Callable[..., dict[str, float]], tuple[Any, ...]]
Results = list[tuple[tuple[Any, ...], dict[str, float]]]
"""What a function was given, but for the seed, and what came out."""


@dataclass(frozen=True)
class Effort:
    """How often each thing is drawn: intervals and single tests, tables, tables with something to find, runs until
    separated, comparisons where nothing is lost at 32 images, others, and claims."""

    rows: int = 4000
    tables: int = 1000
    planted: int = 60
    runs: int = 200
    equal: int = 1000
    unequal: int = 100
    claims: int = 600


def tasks(effort: Effort) -> dict[str, list[Task]]:
    """What is simulated for each table of the page, in its order."""
    rows, some = effort.rows, SIZES[1:]
    gates = [(0, 0, 1, n, effort.unequal) for n in some] + [(0, 0, 4, 32, effort.equal)]
    for spread, losing in ((1, 1), (4, 1), (4, 8)):
        gates += [(loss, losing, spread, n, effort.unequal) for loss in (1, 2) for n in some]
    return {
        "coverage": [(limits.coverage, (name, n, rows)) for name in (*VALUES, CLUSTERS) for n in (*SIZES, 1000)],
        "tests": [(decisions.claimed, (name, n, rows)) for name in (*DIFFERENCES, CLUSTERS) for n in SIZES],
        "tables": [(decisions.false_tables, (d, n, effort.tables)) for d in decisions.DRAWS for n in (8, 16, 32)],
        "power": [(decisions.power, (n, rows)) for n in SIZES],
        "planted": [(decisions.planted_tables, (e, n, effort.planted)) for e in decisions.EFFECTS for n in some],
        "detectable": [
            (decisions.detected, (name, n, family, min(rows, 1000)))
            for name in ("normal", "exponential")
            for family in decisions.FAMILIES
            for n in SIZES
        ],
        "leads": [(decisions.leads, (name, 300, effort.runs)) for name in decisions.BETTER],
        "gate": [(gate.verdicts, given) for given in gates],
        "claims": [
            (claims.on_the_edge, (kind, values, n, effort.claims))
            for kind in claims.KINDS
            for values in ("normal", "exponential", CLUSTERS)
            for n in some
        ],
    }


def simulated(effort: Effort, processes: int = 1) -> dict[str, Results]:
    """The results of all tasks, each with a seed of its own."""
    plan = tasks(effort)
    flat = [(table, task, given) for table, of in plan.items() for task, given in of]
    if processes > 1:
        with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
            waiting = [pool.submit(task, *given, seed) for seed, (_, task, given) in enumerate(flat)]
            results = [each.result() for each in waiting]
    else:
        results = [task(*given, seed) for seed, (_, task, given) in enumerate(flat)]
    found: dict[str, Results] = {table: [] for table in plan}
    for (table, _, given), result in zip(flat, results, strict=True):
        found[table].append((given, result))
    return found


def page(found: dict[str, Results], effort: Effort) -> str:
    tables = {f"{name}_table": getattr(showing, name)(results) for name, results in found.items()}
    words = Template((Path(__file__).parent / "words.md").read_text("utf-8"))
    return words.substitute(tables | {name: f"{value:,}" for name, value in vars(effort).items()})


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes are as many as the cores
    sys.stdout.write(page(simulated(Effort(), parser.parse_args().processes), Effort()))


if __name__ == "__main__":
    main()
