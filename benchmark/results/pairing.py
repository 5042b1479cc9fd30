"""Which method of one side is compared with which of the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from camfaith.benchmark.results.baseline import read_baseline
from camfaith.benchmark.results.sides import Side, methods_of, sides_of, the_method
from camfaith.benchmark.results.store import Result, load

Source = str | Path | Result | Side
"""A run (its folder, or the result in hand), a baseline's file, or one side that is there already."""


def pairs_of(base: Source, candidate: Source | None = None, methods: Sequence[str] = ()) -> list[tuple[Side, Side]]:
    """The pairs that are compared. Each of `methods` is "A", the same method in both, or "A=B", the base's A with the
    candidate's B. Without them, two sides with one method each that is no control are a pair, whatever the names; else
    those are pairs that have a label in common and are no controls.

    Without a candidate, two methods of the base are compared: "A=B". `ValueError` for methods that are not there.
    """
    first = _opened(base)
    second = first if candidate is None else _opened(candidate)
    there = _labels(first), _labels(second)
    if candidate is None and not methods:
        raise ValueError(f"{base} alone: give a second run or a baseline, or two of its methods with --method A=B")
    named = (
        [_named(word, first, second) for word in methods] if methods else _alike(*there, _name(first), _name(second))
    )
    if candidate is None and any(a == b for a, b in named):
        raise ValueError("a method of one run is equal to itself; name two: --method A=B")
    bases, candidates = (_sides(side, [pair[place] for pair in named]) for place, side in enumerate((first, second)))
    return list(zip(bases, candidates, strict=True))


def _opened(source: Source) -> Result | Side:
    if isinstance(source, Result | Side):
        return source
    path = Path(source)
    if path.is_dir():
        return load(path)
    if path.suffix == ".parquet" or path.is_file():
        return read_baseline(path)
    raise ValueError(f"there is neither a run's folder nor a baseline at {path}")


def _labels(source: Result | Side) -> dict[str, bool]:
    return methods_of(source) if isinstance(source, Result) else {source.label: bool(source.method.get("control"))}


def _name(source: Result | Side) -> str:
    return str(source.path) if isinstance(source, Result) else source.source


def _sides(source: Result | Side, labels: Sequence[str]) -> list[Side]:
    return sides_of(source, labels) if isinstance(source, Result) else [source for _ in labels]


def _named(word: str, first: Result | Side, second: Result | Side) -> tuple[str, str]:
    """The labels that a word names; labels may hold "=" themselves."""
    bases, candidates = _labels(first), _labels(second)
    if word in bases and word in candidates:
        return word, word
    cuts = [(word[:at].strip(), word[at + 1 :].strip()) for at, sign in enumerate(word) if sign == "="]
    for base, candidate in cuts:
        if base in bases and candidate in candidates:
            return base, candidate
    wanted = cuts[0] if len(cuts) == 1 else (word, word)
    for label, known, source in zip(wanted, (bases, candidates), (first, second), strict=True):
        if label not in known:
            hint = "" if cuts else "; two methods of different names are compared with --method A=B"
            raise ValueError(f"{_name(source)} has no method {label!r}; it has {', '.join(known)}{hint}")
    raise ValueError(f"no two methods are named by {word!r}; say --method A=B")


def _alike(
    bases: Mapping[str, bool], candidates: Mapping[str, bool], base: str, candidate: str
) -> list[tuple[str, str]]:
    own = [[label for label, control in side.items() if not control] for side in (bases, candidates)]
    if all(len(labels) == 1 for labels in own):
        return [(own[0][0], own[1][0])]
    if not all(own):  # controls alone
        return [(the_method(bases, base), the_method(candidates, candidate))]
    both = [label for label in own[0] if label in own[1]]
    if not both:
        raise ValueError(
            f"no method is in both: {base} has {', '.join(own[0])}; {candidate} has {', '.join(own[1])}; "
            "say --method A=B"
        )
    return [(label, label) for label in both]
