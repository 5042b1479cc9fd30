"""One thing that a method, or a metric, must do, and what is found of it: machinery that all checks share."""

from __future__ import annotations

import inspect
import unittest
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from camfaith.benchmark.conformance.shrinking import Failure, shrunk
from camfaith.benchmark.conformance.trials import Trial, undisturbed
from camfaith.benchmark.suite.declaration import SuiteError
from camfaith.models.errors import NotApplicable
from camfaith.models.leaks import Kind, Watch

Outcome = Literal["passed", "failed", "does not apply"]


class Broken(AssertionError):
    """A check fails; the message says what was seen."""


class Malformed(NotApplicable):
    """What came out is nothing that a check could go on with."""


class Examined(Protocol):
    """A method or metric that checks are made of."""

    lost: ClassVar[str]
    """What an error means for its users."""

    @property
    def name(self) -> str: ...

    @property
    def exempt(self) -> Mapping[str, str]:
        """The checks that its definition breaks, each with the reason."""


_TINY = Trial(1, 2, 2)
Subject = TypeVar("Subject", bound=Examined)


@dataclass(frozen=True)
class Finding:
    """What a check said. `smallest` is the smallest input found that breaks it; `seen` says what came out, or why the
    check does not apply; `means` what a failure means for a user."""

    check: str
    outcome: Outcome
    seen: str = ""
    smallest: str = ""
    means: str = ""


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One thing that a method or metric must do: `test` raises if it does not.

    `trials` are tried one after the other, and the first that breaks it is shrunk, down to `least`: a failure on a
    smaller input is nobody's fault. `by_error` says that an error has the meaning `means` too; otherwise an error means
    that nothing comes out.
    """

    test: Callable[[Subject, Trial], None]
    trials: Sequence[Trial]
    means: str
    least: Trial = _TINY
    by_error: bool = False

    @property
    def name(self) -> str:
        return self.test.__name__.replace("_", "-")

    @property
    def says(self) -> str:
        """What must hold, in a sentence."""
        return " ".join((inspect.getdoc(self.test) or "").split())

    def __str__(self) -> str:
        return self.name

    def of(self, subject: Subject) -> Finding:
        """What the check says of a method or metric; the global generators are left alone."""
        if self.name in subject.exempt:
            return Finding(self.name, "does not apply", subject.exempt[self.name])
        reasons = []
        for trial in self.trials:
            try:
                failure = self._broken(subject, trial)
            except NotApplicable as reason:
                reasons.append(str(reason))
                continue
            if failure is not None:
                smallest, failure = shrunk(trial, failure, self.least, lambda less: self._still_broken(subject, less))
                means = subject.lost if failure.error and not self.by_error else self.means
                return Finding(self.name, "failed", failure.seen, str(smallest), means)
        if len(reasons) == len(self.trials):
            return Finding(self.name, "does not apply", reasons[0])
        return Finding(self.name, "passed")

    def _broken(self, subject: Subject, trial: Trial) -> Failure | None:
        """What is seen if the check fails, None if it does not."""
        try:
            with undisturbed(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.test(subject, trial)
        except NotApplicable:
            raise
        except Broken as seen:
            return Failure("", str(seen))
        except Exception as error:  # whatever the examined code raises breaks it
            return Failure(type(error).__name__, f"{type(error).__name__}: {error}")
        return None

    def _still_broken(self, subject: Subject, trial: Trial) -> Failure | None:
        try:
            return self._broken(subject, trial)
        except NotApplicable:
            return None


@dataclass(frozen=True)
class Examination(Generic[Subject]):
    """One check of one method or metric, called without arguments: `AssertionError` if it fails, a skip if it does not
    apply."""

    check: Check[Subject]
    subject: Subject

    def __str__(self) -> str:
        return f"{self.subject.name}-{self.check.name}"

    def __call__(self) -> None:
        finding = self.check.of(self.subject)
        if finding.outcome == "does not apply":
            raise unittest.SkipTest(finding.seen)
        assert finding.outcome == "passed", f"{finding.smallest}: {finding.seen} (so {finding.means})"


def asked_for(thing: Any, settings: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A class or name, and its settings; it may come as a table of a suite, {"name": "gradcam++", "variant": "pgc"}."""
    table = dict(thing) if isinstance(thing, Mapping) else {"name": thing}
    return table.pop("name"), table | dict(settings)


def with_settings(name: str, settings: Mapping[str, Any]) -> str:
    """A name as reports have it: gradcam++(variant=pgc)."""
    told = ", ".join(f"{key}={value}" for key, value in settings.items())
    return f"{name}({told})" if told else name


def require_known(subject: Examined, checks: Sequence[Check[Any]]) -> None:
    """`SuiteError` for something that is exempt from a check that does not exist."""
    known = [check.name for check in checks]
    for name in subject.exempt:
        if name not in known:
            raise SuiteError(f"{subject.name} is exempt from {name!r}, which is no check; there are {', '.join(known)}")


def require_none(before: Watch, *kinds: Kind) -> None:
    """Raises `Broken` for a leak of one of these kinds."""
    for leak in before.leaks():
        if leak.kind in kinds:
            raise Broken(leak.text)
