"""Claims: sentences about explanations, each with what is measured, what it is compared with, and where, as TOML."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from camfaith.benchmark.suite.mistakes import explained, read_named
from camfaith.models.lookup import UnknownName
from camfaith.models.settings import NotNegative, Text

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
KINDS = ("metric", "similarity", "cost", "prediction", "number")
CHANCE = 0.5
"""The AUROC of what says nothing of an outcome."""
Names = Annotated[tuple[Text, ...], Field(strict=False, min_length=1)]


class ClaimsError(ValueError):
    """Claims that cannot be checked; the message names the key and what may stand there."""


class Quantity(BaseModel):
    """A value for each sample: exactly one of metric, similarity, cost, prediction, or the same number for all."""

    model_config = _STRICT
    metric: Text | None = None
    """A metric of the run, of `method`, or the mean over `methods`; or diagnostics."""
    column: Text | None = None
    """The metric's column; None takes its main one."""
    similarity: Literal["spearman", "ssim", "top-k"] | None = None
    """How alike the maps of `methods` are: the mean over all pairs."""
    cost: Literal["seconds", "forwards", "backwards"] | None = None
    """What one map of `method` costs, or the mean over `methods`. Seconds are measured once for each batch."""
    prediction: Literal["correct", "confidence"] | None = None
    """Whether the network takes the image for what its label says (1 or 0), or the probability that it gives it."""
    number: float | None = None
    """The same for all samples; a number alone means this."""
    method: Text | None = None
    """A method of the run."""
    methods: Names | None = None
    """Several."""
    model: Text | None = None
    """The model whose value this is, whichever model the row is about: pairs two networks on the same sample."""

    @model_validator(mode="before")
    @classmethod
    def _a_number_is_a_quantity(cls, value: Any) -> Any:
        return {"number": value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        said = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(said) != 1:
            raise ValueError(f"say one of {', '.join(KINDS)}; got {' and '.join(said) or 'none'}")
        named = len(self.methods or ()) if self.method is None else 1
        if self.method is not None and self.methods is not None:
            raise ValueError("say method or methods, not both")
        if said[0] == "similarity" and (named < 2 or len({*(self.methods or ())}) < named):
            raise ValueError("similarity needs methods, two different ones or more")
        if said[0] in ("metric", "cost") and not named:
            raise ValueError(f"{said[0]} needs a method, or methods")
        if said[0] in ("prediction", "number") and named:
            raise ValueError(f"{said[0]} is of no method: leave it out")
        if self.column is not None and said[0] != "metric":
            raise ValueError("a column is a metric's: leave it out")
        if self.metric == "diagnostics" and self.column is None:
            raise ValueError("diagnostics have no main column: say which column")
        return self

    @property
    def of_methods(self) -> tuple[str, ...]:
        return self.methods or (() if self.method is None else (self.method,))

    def __str__(self) -> str:
        if self.number is not None:
            return f"{self.number:g}"
        what = self.metric or self.similarity or self.cost or self.prediction
        parts = [f"{what} {self.column}" if self.column else str(what)]
        if self.of_methods:
            parts.append(f"of {', '.join(self.of_methods)}")
        return " ".join([*parts, f"in {self.model}"] if self.model else parts)


class Where(Quantity):
    """Samples of which a quantity lies in a range."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("say at_least, at_most, or both")
        return self


class Scope(BaseModel):
    """What a claim is about; left out: everything in the run."""

    model_config = _STRICT
    model: Names | None = None
    """One model, or a list."""
    dataset: Names | None = None
    """One data set, or a list."""
    target: Text | int | None = None
    """Samples that are explained for this class, by name or index."""
    where: Where | None = None
    """Samples of which another quantity is `at_least`, or `at_most`, so much."""

    @field_validator("model", "dataset", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class Claim(BaseModel):
    """One sentence, and how it is measured."""

    model_config = _STRICT
    sentence: Text
    """What somebody wrote, word by word."""
    reading: Text
    """How the sentence is measured, in words."""
    measure: Quantity
    """What is measured."""
    against: Quantity | None = None
    """What it is compared with: a quantity, or a number."""
    says: Literal["greater", "less", "equal", "not less", "not greater", "predicts", "explains"]
    """What is claimed of `measure` against `against`."""
    margin: NotNegative = 0.0
    """How much is too little to count, in the units of what is compared."""
    outcome: Quantity | None = None
    """With predicts: what is predicted, 1 or 0 for each sample; None is a correct prediction."""
    changed: Quantity | None = None
    """With explains: `measure` after the intervention."""
    changed_against: Quantity | None = None
    """With explains: `against` after the intervention."""
    scope: Scope = Scope()
    """Of which samples."""

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        if self.says not in ("predicts", "explains") and self.against is None:
            raise ValueError(f"{self.says!r} needs against: a quantity, or a number")
        if self.says == "equal" and not self.margin:
            raise ValueError("'equal' needs a margin: no two means are equal to the last digit")
        if self.outcome is not None and self.says != "predicts":
            raise ValueError("an outcome belongs to says = 'predicts'")
        if (self.changed is None) == (self.says == "explains"):
            raise ValueError("says = 'explains' and changed belong together")
        if self.changed_against is not None and self.says != "explains":
            raise ValueError("changed_against belongs to says = 'explains'")
        if self.says == "predicts" and self.against is not None and self.against.number is not None:
            raise ValueError("'predicts' is against another quantity, or against chance if that is left out")
        if self.says == "explains" and self.margin >= 1:
            raise ValueError("'explains' has a share as its margin, below 1")
        return self

    @property
    def against_whom(self) -> Quantity:
        """`against`, or the number that stands for it."""
        return self.against or Quantity(number=CHANCE if self.says == "predicts" else 0.0)

    @property
    def quantities(self) -> dict[str, Quantity]:
        """All that must be known of a sample, by its part in the claim; no numbers."""
        found = {"measure": self.measure, "against": self.against}
        if self.says == "predicts":
            found["outcome"] = self.outcome or Quantity(prediction="correct")
        elif self.says == "explains":
            found |= {"changed": self.changed, "changed_against": self.changed_against}
        return {part: q for part, q in found.items() if q is not None and q.number is None}


class General(BaseModel):
    """A file's `[claims]` table."""

    model_config = _STRICT
    title: Text
    """What stands above the page."""
    source: Text = ""
    """Whose sentences these are."""
    level: float = Field(0.05, gt=0, lt=0.5)
    """The chance that any claim is said to be supported, or contradicted, and is not."""


class Claims(BaseModel):
    """Validated claims; `Claims.of` reads them from a shipped name, a TOML file, a mapping, or others."""

    model_config = _STRICT
    claims: General
    claim: tuple[Claim, ...] = Field(min_length=1, strict=False)

    @classmethod
    def of(cls, source: Claims | Mapping[str, Any] | str | Path, names: Mapping[str, str] | None = None) -> Claims:
        """Raises `ClaimsError` with the key and the allowed values, `UnknownName` for a file that does not exist.

        `names` says what models, data sets, methods and metrics of the claims are called in the run:
        {"vgg19": "fundus-vgg"}.
        """
        if not isinstance(source, Claims | Mapping | str | os.PathLike):
            raise ClaimsError(f"expected the name of claims, their TOML file or a mapping, got {reprlib.repr(source)}")
        content: Any = source.model_dump(exclude_unset=True) if isinstance(source, Claims) else source
        where = "claims"
        if isinstance(source, str | os.PathLike):
            where, content = str(source), read_named(source, shipped_claims(), "claims", ClaimsError)
        try:
            found = cls.model_validate(content)
            if not names:
                return found
            known = {*_names(found.model_dump())}
            if unknown := sorted({*names} - known):
                raise UnknownName("name in the claims", unknown[0], known)
            return cls.model_validate(_renamed(found.model_dump(exclude_unset=True), names))
        except ValidationError as error:
            raise ClaimsError(explained(error, where, cls, "the claims")) from None


_NAMED = ("model", "dataset", "method", "methods", "metric")


def _names(content: Any, key: str = "") -> Iterator[str]:
    """All names of things in the run."""
    if isinstance(content, Mapping):
        for inner, value in content.items():
            yield from _names(value, inner)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _names(value, key)
    elif key in _NAMED and isinstance(content, str):
        yield content


def _renamed(content: Any, names: Mapping[str, str], key: str = "") -> Any:
    if isinstance(content, Mapping):
        return {inner: _renamed(value, names, inner) for inner, value in content.items()}
    if isinstance(content, list | tuple):
        return [_renamed(value, names, key) for value in content]
    return names.get(content, content) if key in _NAMED and isinstance(content, str) else content


def shipped_claims() -> dict[str, Path]:
    """The claims that come with the package, by name."""
    folder = Path(str(files("camfaith.benchmark.claims") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}
