"""Claims checked against a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camfaith.benchmark.claims.assessing import Assessed, assess
from camfaith.benchmark.claims.deciding import decide
from camfaith.benchmark.claims.declaration import Claim, Claims, Quantity
from camfaith.benchmark.claims.quantities import NotMeasured, Quantities
from camfaith.benchmark.results.accuracy import doubts
from camfaith.benchmark.results.cells import units_of, until_separated
from camfaith.benchmark.results.checked import ROWS, Checked
from camfaith.benchmark.results.intervals import FEWEST
from camfaith.benchmark.results.store import Result, load


class Place(NamedTuple):
    """Where a claim is checked: the model of its measure, that of what it is compared with, and the data set."""

    model: str
    other: str
    dataset: str

    @property
    def title(self) -> str:
        return self.model if self.other == self.model else f"{self.model} against {self.other}"


def check_claims(
    run: str | Path | Result, claims: Claims | Mapping[str, Any] | str | Path, names: Mapping[str, str] | None = None
) -> Checked:
    """Check claims (a shipped name, a TOML file, a mapping) against a run (its folder, or the result in hand).

    Each claim gets a row for each model and data set of its scope. It is *supported* where a test refutes its opposite,
    *contradicted* where one refutes the claim itself, else *undecided*, with the reason: sign-flip tests of paired
    values, clusters flipped whole, both corrected for all rows (Holm) at the level of the claims. `names` says what
    the claims' models, data sets, methods and metrics are called in the run: {"vgg19": "fundus-vgg"}.

    What the run lacks is an undecided row that says so. `ClaimsError` for claims that make no sense, `RunFolderError`
    where there is no run.
    """
    asked = Claims.of(claims, names)
    result = run if isinstance(run, Result) else load(run)
    quantities = Quantities(result)
    rows: list[dict[str, Any]] = []
    for number, claim in enumerate(asked.claim, 1):
        found = [_row(claim, place, quantities) for place in _places(claim, result.info)]
        if len(found) > 1 and len({row["refused"] for row in found}) == 1 and not any(row["n"] for row in found):
            found = [found[0] | {"model": "", "dataset": ""}]  # the same everywhere: said once
        rows += [{"claim": number, **row} for row in found]
    decide(rows, asked.claims.level)
    about = asked.claims
    return Checked(
        name=Path(claims).stem if isinstance(claims, str | Path) else "claims",
        title=about.title,
        source=about.source,
        run=str(result.path),
        level=about.level,
        rows=pd.DataFrame(rows, columns=ROWS).astype({"needed": "Int64"}),
        notes=list(_notes(rows, result)),
    )


def _notes(rows: list[dict[str, Any]], result: Result) -> Iterator[str]:
    """What a reader must know before the verdicts."""
    status = result.info.get("status", "unknown")
    if status != "complete":
        yield f"The run is not complete (status: {status}): what follows is of what had been stored by then."
    for doubt in doubts(result.accuracy, result.info):
        yield f"{doubt}."
    for row in rows:
        if row["apart"]:
            yield (
                f"Claim {row['claim']}, {row['model']} on {row['dataset']}: the two networks' maps explain different "
                f"classes on {row['apart']} of {row['n'] + row['lost']} samples."
            )


def _places(claim: Claim, info: Mapping[str, Any]) -> Iterator[Place]:
    """Every model and data set that a claim is about. Where its quantities are alike, a model is not compared with
    itself; with no other there is one place, without an `other`."""
    models = claim.scope.model or tuple(m["name"] for m in info["models"])
    if all(quantity.model for quantity in claim.quantities.values()):
        models = (str(claim.measure.model),)
    given = None if claim.against is None or claim.against.number is not None else claim.against
    pairs = [(claim.measure.model or m, m if given is None else given.model or m) for m in models]
    if given is None:
        pairs = [(measured, measured) for measured, _ in pairs]
    elif _anywhere(claim.measure) == _anywhere(given) and claim.says != "explains":
        pairs = [pair for pair in pairs if pair[0] != pair[1]] or [(pairs[0][0], "")]
    for measured, other in dict.fromkeys(pairs):
        for dataset in claim.scope.dataset or tuple(d["name"] for d in info["datasets"]):
            yield Place(measured, other, dataset)


def _anywhere(quantity: Quantity) -> Quantity:
    return quantity.model_copy(update={"model": None})


def _row(claim: Claim, place: Place, quantities: Quantities) -> dict[str, Any]:
    """A claim on one model and data set, tested but not decided."""
    told = {name: getattr(claim, name) for name in ("sentence", "reading", "says", "margin")}
    told |= {"model": place.title, "dataset": place.dataset, "lost": 0, "apart": 0}
    told |= {**_words(claim), **Assessed()._asdict()}
    if place.other == "":
        return told | {"model": place.model, "refused": "the run has no other model to compare with"}
    try:
        values, samples = _values(claim, place, quantities)
    except NotMeasured as error:
        return told | {"refused": f"not measured: {error}"}
    finite: Any = np.isfinite(values).all(axis=1)
    whole = values.loc[finite]
    units = _timed(claim, whole) or units_of(whole.index, samples.loc[whole.index, "cluster"])
    told |= {"n": len(whole), "units": len(whole if units is None else {*units}), "lost": len(values) - len(whole)}
    if place.other != place.model:
        others = quantities.samples(place.other, place.dataset)["target"].reindex(samples.index)
        told["apart"] = int((others != samples["target"]).sum())
    refused = _refusal(claim, whole, told, until_separated(quantities.info))
    return told | {"refused": refused} | ({} if refused else assess(claim, whole, units)._asdict())


def _timed(claim: Claim, whole: pd.DataFrame) -> list[Any] | None:
    """The batch of each sample, where a claim is about seconds: those of a batch are measured once, and shared out."""
    timed = [part for part, quantity in claim.quantities.items() if quantity.cost == "seconds"]
    return list(whole[timed].itertuples(index=False, name=None)) if timed else None


def _refusal(claim: Claim, whole: pd.DataFrame, told: Mapping[str, Any], until: bool) -> str:
    """Why a row is not tested; "" where it is."""
    if whole.empty:
        return f"none of {told['lost']} samples has a value" if told["lost"] else "no sample is in the scope"
    if told["units"] < FEWEST:
        what = "samples" if told["units"] == told["n"] else "clusters"
        if _timed(claim, whole) is not None:
            what = "batches, each timed as a whole"
        return f"too few: {told['units']} {what}; at least {FEWEST} are needed"
    if claim.says == "predicts" and len(whole["outcome"].unique()) == 1:
        outcome, value = claim.quantities["outcome"], whole["outcome"].iloc[0]
        return f"{outcome} is {value:g} for all {told['n']} samples: there is nothing to predict"
    if until and any(quantity.metric for quantity in claim.quantities.values()):
        return "the run stopped judging where its own test had decided, and no test of all samples holds any more"
    return ""


def _values(claim: Claim, place: Place, quantities: Quantities) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The values of a claim's parts (a column each) on the samples of its scope, and what is known of those."""
    samples = quantities.within(claim.scope, place.model, place.dataset)
    parts = {"against": claim.against_whom, "changed_against": claim.changed_against} | claim.quantities
    found = {}
    for part, quantity in parts.items():
        if quantity is not None:
            model = place.other if part in ("against", "changed_against") else place.model
            found[part] = quantities.values(quantity, model, place.dataset).reindex(samples.index)
    frame = pd.DataFrame(found, samples.index)
    if claim.says == "explains" and "changed_against" not in frame:
        frame["changed_against"] = frame["against"]
    if "outcome" in frame and not frame["outcome"].dropna().isin([0, 1]).all():
        raise NotMeasured(f"{claim.quantities['outcome']} is not 0 or 1 everywhere, so it is no outcome")
    return frame, samples


def _words(claim: Claim) -> dict[str, str]:
    """What a row's numbers are means of."""
    if claim.says == "predicts":
        outcome = claim.quantities["outcome"]
        other = f"AUROC of {claim.against}" if claim.against else "chance"
        return {"measure": f"AUROC of {claim.measure} for {outcome}", "compared": other}
    if claim.says == "explains":
        before, after = (
            f"{one}{f' − {other}' if other is not None else ''}"
            for one, other in ((claim.measure, claim.against), (claim.changed, claim.changed_against or claim.against))
        )
        return {"measure": before, "compared": f"what is left of it: {after}"}
    return {"measure": str(claim.measure), "compared": str(claim.against)}
