"""Whether two sides may be compared at all: what differs between them, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from camfaith.benchmark.results.sides import BLOCK, Side, within

MOVED = 0.02
"""Logits of one class that differ by more than this, and this share of their size, are of different models."""


@dataclass(frozen=True)
class Mismatch:
    """Something that differs, and for which model, data set and metric ("": for all) nothing can be compared then."""

    text: str
    model: str = ""
    dataset: str = ""
    metric: str = ""

    def hits(self, model: str, dataset: str, metric: str = "") -> bool:
        place = ((self.model, model), (self.dataset, dataset), (self.metric, metric))
        return all(mine in ("", theirs) for mine, theirs in place)


def matched(base: Side, candidate: Side) -> dict[str, str]:
    """The candidate's metric for each of the base's: that with the same key, else that of the same label."""
    keys = {metric["key"]: label for label, metric in candidate.metrics.items()}
    found = {label: keys[metric["key"]] for label, metric in base.metrics.items() if metric["key"] in keys}
    rest = {label: label for label in base.metrics if label in candidate.metrics and label not in found.values()}
    return rest | found


def mismatches(base: Side, candidate: Side, *, metrics: bool = True) -> list[Mismatch]:
    """All that makes values of the two sides speak of different things; without `metrics` their sources may differ."""
    found = list(_policy(base, candidate))
    common = [block for block in base.blocks if block in candidate.blocks]
    if not common:
        told = (", ".join(f"{m} on {d}" for m, d in side.blocks) or "nothing" for side in (base, candidate))
        found.append(Mismatch("no model on a data set is in both: {} in the base, {} in the candidate".format(*told)))
    for model in dict.fromkeys(model for model, _ in common):
        found += _facts(f"model {model}", base.models.get(model, {}), candidate.models.get(model, {}), model=model)
    for block in common:
        if not any(each.hits(*block) for each in found):
            found += _samples(base, candidate, block)
    if metrics:
        for label, other in matched(base, candidate).items():
            found += _metric(label, (base, base.metrics[label]), (candidate, candidate.metrics[other]))
    return found


def _metric(label: str, *sides: tuple[Side, Mapping[str, Any]]) -> list[Mismatch]:
    """What differs between the metric of both sides: what it is and is told, else its source."""
    names = ("name", "version", "parameters", "main", "better")
    found = list(_facts(f"metric {label}", *({name: m.get(name) for name in names} for _, m in sides), metric=label))
    if not found and sides[0][1]["key"] != sides[1][1]["key"]:
        keys = (f"{metric['key']} (camfaith {_camfaith(side)})" for side, metric in sides)
        found.append(Mismatch(_differ(f"metric {label}: its source", *keys), metric=label))
    among = [set(metric.get("over", ())) for _, metric in sides]
    beside = [methods - {side.method["key"]} for methods, (side, _) in zip(among, sides, strict=True)]
    if sides[0][1]["better"] and among[0] != among[1] and beside[0] != beside[1]:
        text = f"metric {label} judges methods together, and those beside this one are others in the candidate"
        found.append(Mismatch(text, metric=label))
    return found


def _policy(base: Side, candidate: Side) -> Iterator[Mismatch]:
    for side, who in ((base, "base"), (candidate, "candidate")):
        if side.made.get("until") == "separated":
            yield Mismatch(
                f"the {who} is a run until all is separated: which samples have values there depends on the values; "
                'run it with until = "all"'
            )
    if base.made["target"] != candidate.made["target"]:
        yield Mismatch(_differ("the class that is explained", base.made["target"], candidate.made["target"]))


def _facts(what: str, ours: Mapping[str, Any], theirs: Mapping[str, Any], **where: str) -> Iterator[Mismatch]:
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            yield Mismatch(_differ(f"{what}: {name}", ours.get(name), theirs.get(name)), **where)


def _differ(what: str, base: Any, candidate: Any) -> str:
    return f"{what} is {_short(base)} in the base, {_short(candidate)} in the candidate"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def both_of(base: Side, candidate: Side, block: tuple[str, str]) -> pd.DataFrame:
    """The samples of one block that both sides have, with the facts of each (`_x` the base's, `_y` the candidate's)."""
    ours, theirs = (within(side.samples, block) for side in (base, candidate))
    return ours.merge(theirs.drop(columns=BLOCK), on="sample")


def _samples(base: Side, candidate: Side, block: tuple[str, str]) -> Iterator[Mismatch]:
    """Samples of one name with other content; and the same image with another class explained, or another logit."""
    both = both_of(base, candidate, block)
    if both.empty:
        told = (f"{len(ids)} with {ids[0]} the first" for ids in (_ids(base, block), _ids(candidate, block)))
        yield Mismatch(
            "{}: no sample is in both: {} in the base, {} in the candidate".format(" on ".join(block), *told), *block
        )
    for name, said in (
        ("digest", "content (digest)"),
        ("target", "explained class"),
        ("logit", "logit of the explained class"),
    ):
        pairs = list(zip(both[f"{name}_x"], both[f"{name}_y"], strict=True))
        at = [place for place, pair in enumerate(pairs) if _moved(*pair)]
        if at:
            line = _differ(f"{' on '.join(block)}: {said}", *map(_number, pairs[at[0]]))
            many = f"{len(at)} of {len(both)} samples differ in it, the first {both['sample'].iloc[at[0]]}"
            yield Mismatch(f"{line} ({many})", *block)
            return  # what follows from it need not be told


def _moved(ours: Any, theirs: Any) -> bool:
    if pd.isna(ours) or pd.isna(theirs):
        return False
    return abs(ours - theirs) > MOVED * (1 + abs(ours)) if isinstance(ours, float) else bool(ours != theirs)


def _number(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def _camfaith(side: Side) -> str:
    return str(side.made["versions"].get("camfaith", "?"))


def advice(base: Side, candidate: Side) -> str:
    """What to do where something differs that must not."""
    if base.stored == "baseline":
        return (
            f"If that is meant, run the accepted method as the candidate was run (camfaith {_camfaith(candidate)}), "
            f"and make the baseline anew: camfaith baseline RUN {base.source} --method {base.label}"
        )
    return (
        f"Run both anew with one camfaith, on the same model, samples and metrics: {base.source} was made with "
        f"{_camfaith(base)}, {candidate.source} with {_camfaith(candidate)}."
    )


def notes(base: Side, candidate: Side) -> Iterator[str]:
    """What differs and forbids nothing, but may explain a difference; and what only one side has."""
    if base.method["key"] == candidate.method["key"]:
        yield "Both sides are the same method (equal source and settings): what differs is chance or the machine."
    facts = [
        {**side.made["versions"], "the device": side.made["device"], "the seed": side.made["seed"]}
        | {"what may change numbers (allow)": side.made["allow"]}
        | {f"the layer of the method in {model}": layer for model, layer in side.method.get("layers", {}).items()}
        for side in (base, candidate)
    ]
    for name in [name for name in facts[0] if name in facts[1] and facts[0][name] != facts[1][name]]:
        yield f"{_differ(name, facts[0][name], facts[1][name])}."
    for side, who in ((base, "base"), (candidate, "candidate")):
        if side.made["status"] not in ("complete", None):
            yield f"The {who} ({side.source}) is a run that is not complete: {side.made['status']}."
    pairs = matched(base, candidate)
    for who, metrics, known in (
        ("candidate", base.metrics, [*pairs]),
        ("base", candidate.metrics, [*pairs.values()]),
    ):
        if alone := [label for label in metrics if label not in known]:
            yield f"The {who} lacks metrics: {', '.join(alone)}."
    yield from _alone(base, candidate)


def _alone(base: Side, candidate: Side) -> Iterator[str]:
    """Models, data sets and samples that only one side has."""
    for who, one, other in (("candidate", base, candidate), ("base", candidate, base)):
        for block in one.blocks:
            if block not in other.blocks:
                yield f"The {who} lacks {' on '.join(block)}."
                continue
            have, lack = (_ids(side, block) for side in (one, other))
            if missing := [sample for sample in have if sample not in set(lack)]:
                many = f"{len(missing)} of {len(have)} samples, the first {missing[0]}"
                yield f"{' on '.join(block)}: the {who} lacks {many}."


def _ids(side: Side, block: tuple[str, str]) -> Sequence[str]:
    return list(within(side.samples, block)["sample"])
