"""What a metric's docstring must say. The check raises `Broken` if it does not."""

from __future__ import annotations

import re

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate
from camfaith.benchmark.conformance.trials import Trial
from camfaith.metrics import Metric
from camfaith.models.settings import settings_of

_RANGE = re.compile(r"[\[(][−-]?[\d./∞]+\w*, [−-]?[\d./∞]+\w*[\])]|\bany size\b|\bat most\b|\b1 or 0\b")
_SOURCE = re.compile(r"\b(1[89]|20)\d\d\b|\bown\b")


def documentation(candidate: Candidate, trial: Trial) -> None:  # noqa: ARG001 - as checks are called
    """The docstring says in which range the values are, which way is better, what each setting is, and who defined it
    and when, or that it is the author's own; `undefined` says when there is no value."""
    text = _docstrings(candidate.kind)
    if not text:
        raise Broken("it has no docstring")
    if not _RANGE.search(text):
        raise Broken("the docstring gives no range, as [0, 1]")
    for way in sorted(set(candidate.better.values())):
        if not re.search(rf"\b{way} (values )?(is|are) better\b", text):
            raise Broken(f"the docstring does not say of what {way} is better")
    if not _SOURCE.search(text):
        raise Broken("the docstring names no source: authors and a year, or that the metric is your own")
    for name in settings_of(candidate.kind) or ():
        if not re.search(rf"\b{re.escape(name)}\b", text):
            raise Broken(f"the docstring does not say what the setting {name!r} is")
    if not getattr(candidate.kind, "undefined", ""):
        raise Broken("`undefined` does not say when a value is NaN")


def _docstrings(kind: type) -> str:
    """The docstrings of the class and of what it derives from, up to what all metrics share. A dataclass that has none
    is given its signature, which does not count."""
    own = [base for base in getattr(kind, "__mro__", (kind,)) if base not in (Metric, object)]
    told = {base: " ".join((vars(base).get("__doc__") or "").split()) for base in own}
    return " ".join(text for base, text in told.items() if not text.startswith(f"{base.__name__}(")).strip()
