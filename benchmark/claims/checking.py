"""Claims checked against a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from camfaith.benchmark.claims.deciding import decide, nothing_tested, refusal
from camfaith.benchmark.claims.declaration import Claim, Claims
from camfaith.benchmark.claims.quantities import NotMeasured, Quantities
from camfaith.benchmark.claims.testing import tested
from camfaith.benchmark.results.cells import units_of, until_separated
from camfaith.benchmark.results.checked import ROWS, Checked
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
        if len({row["refused"] for row in found}) == 1 and not any(row["n"] for row in found):
            found = [found[0] | {"model": "", "dataset": ""}]  # the same everywhere: said once
        rows += [{"claim": number, **row} for row in found]
    decide(rows, asked.claims.level)
    table = pd.DataFrame(rows, columns=ROWS).astype({"needed": "Int64"})
    about = asked.claims
    name = Path(claims).stem if isinstance(claims, str | Path) else "claims"
    return Checked(name, about.title, about.source, str(result.path), about.level, table)


def _places(claim: Claim, info: Mapping[str, Any]) -> Iterator[Place]:
    """Every model and data set that a claim is about; a quantity is not compared with itself."""
    own = [quantity.model for quantity in claim.quantities.values()]
    models = claim.scope.model or tuple(m["name"] for m in info["models"])
    other = claim.against.model if claim.against is not None else None
    if all(own):
        models = (str(claim.measure.model),)
    for model in models:
        measured = claim.measure.model or model
        compared = measured if claim.against is None or claim.against.number is not None else other or model
        same = claim.against is not None and _in(claim.measure, measured) == _in(claim.against, compared)
        if same and claim.scope.model is None and claim.says != "explains":
            continue
        for dataset in claim.scope.dataset or tuple(d["name"] for d in info["datasets"]):
            yield Place(measured, compared, dataset)


def _in(quantity: Any, model: str) -> Any:
    return quantity.model_copy(update={"model": model})


def _row(claim: Claim, place: Place, quantities: Quantities) -> dict[str, Any]:
    """A claim on one model and data set, tested but not decided."""
    told = {name: getattr(claim, name) for name in ("sentence", "reading", "says", "margin")}
    told |= {"model": place.title, "dataset": place.dataset, **_words(claim), **nothing_tested()}
    try:
        values, samples = _values(claim, place, quantities)
    except NotMeasured as error:
        return told | {"refused": f"not measured: {error}"}
    whole = values[np.isfinite(values).all(axis=1)]
    units = units_of(whole.index, samples.loc[whole.index, "cluster"])
    found = tested(claim, whole, units)
    lost = len(values) - len(whole)
    refused = refusal(found.n, found.units, lost, units is not None)
    if not refused and any(q.metric for q in claim.quantities.values()) and until_separated(quantities.info):
        refused = (
            "the run stopped judging where its own test had decided, so no test of a fixed number of samples holds"
        )
    row = told | found._asdict() | {"lost": lost, "refused": refused}
    return row | {"p": np.nan, "p_against": np.nan, "p_effect": np.nan} if refused else row


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
