"""The part of the page of metrics that says which of them measure faithfulness, and which to report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from camfaith.benchmark.cli.markdown import paragraphs
from camfaith.benchmark.validity.asking import WAYS
from camfaith.benchmark.validity.choosing import METHODS, Standing, reported, standings, unasked
from camfaith.benchmark.validity.degrading import DEGRADATIONS
from camfaith.benchmark.validity.networks import IMAGES, NETWORKS

_CHOICE = f"""\
## Which three should I report?

{{}}

The rule, which reads the table below: only metrics that measure faithfulness come into question. Metrics that ask in
one way err alike, so one of each way is taken: of those whose τ is not shown to be less than the way's best, the one
that costs the fewest forwards for {METHODS} methods. The three with the greatest τ remain. `camfaith list metrics` says
the same. Report a control beside them, and do not average them: where they disagree, each says another thing.

The ways of asking:

{{}}"""
_MEASURED = f"""\
## Do they measure faithfulness?

A metric that measures it puts a true map before a worse one. So each metric is asked about true maps that get worse in
five grades, before networks whose truth is known by construction, with {IMAGES} images each. **τ** is Kendall's,
between the grade and the mean score of the main column: 1 where every grade is put before all that are worse, 0 where
the metric cannot tell, below 0 where it prefers worse maps; with its 95 % bootstrap interval over images. A metric
measures faithfulness if the interval lies above 0 for each degradation over all networks, and before each network over
all degradations. Else the table says at what it fails: it *prefers* a degradation, or is *wrong* before a network,
whose interval lies below 0; it *cannot tell* one, or is *blind* before one, whose interval holds 0. The first table is
the mean over the networks before which the metric is defined, the second the mean over degradations. Metrics that want
maps of altered images are given a method that knows the truth of any image, and shows it at that grade.

The table is made by `python -m camfaith.benchmark.validity > new.csv`, and moved to `benchmark/validity/table.csv`.
These networks add up what each cell is worth, and their evidence is bright on dark ground: what holds for them need not
hold for yours, but a metric that fails here has no better claim elsewhere. A metric of stability, of randomisation or
of an artefact is made for another question: where it fails here, a good value of it is no sign that a map is true.

The degradations:

{{}}

The networks:

{{}}"""


def part() -> list[str]:
    """Paragraphs: the three to report, and the tables."""
    every = standings().values()
    ways = _listed({way: what + "." for way, what in WAYS.items()})
    degradations = _listed({name: " ".join(paragraphs(each)) for name, each in DEGRADATIONS.items()})
    builds: dict[Any, list[str]] = {}
    for name, build in NETWORKS.items():
        builds.setdefault(getattr(build, "func", build), []).append(name)
    networks = _listed({"`, `".join(names): " ".join(paragraphs(build)) for build, names in builds.items()})
    return [
        _CHOICE.format("\n".join(map(_chosen, reported())), ways),
        _MEASURED.format(degradations, networks),
        _table(
            ["τ", *DEGRADATIONS, "fails at"],
            {
                each.name: [each.shown.removeprefix("τ = "), *_taus(each, DEGRADATIONS), _said(each) or "–"]
                for each in every
            },
        ),
        _table(list(NETWORKS), {each.name: _taus(each, NETWORKS) for each in every}),
        *([f"Not asked:\n\n{_listed(unasked())}"] if unasked() else []),
    ]


def standing_of(name: str) -> list[str]:
    """What the table says of a metric, in a sentence; nothing of one without a direction."""
    if each := standings().get(name):
        return [f"Measured: {each.shown}; {_said(each) or 'it measures faithfulness'}."]
    return [f"Not measured: {why}" for which, why in unasked().items() if which == name]


def _chosen(each: Standing) -> str:
    return f"- [`{each.name}`](#{each.name}): {each.why}"


def _said(each: Standing) -> str:
    return "; ".join(each.failings)


def _taus(each: Standing, of: Iterable[str]) -> list[str]:
    return ["–" if each.taus[name] != each.taus[name] else f"{each.taus[name]:z.2f}" for name in of]


def _listed(told: Mapping[str, str]) -> str:
    return "\n".join(f"- `{name}`: {what}" for name, what in told.items())


def _table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    head = ["| metric | " + " | ".join(columns) + " |", "| :-- |" + " --: |" * len(columns)]
    return "\n".join([*head, *(f"| [`{name}`](#{name}) | " + " | ".join(cells) + " |" for name, cells in rows.items())])
