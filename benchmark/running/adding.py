"""More methods, metrics, models or samples for a run that is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import nn

from camfaith.benchmark.results.store import Result
from camfaith.benchmark.running.runner import Progress, run, several
from camfaith.benchmark.suite.declaration import Entry, Suite, SuiteError, metric_entries
from camfaith.benchmark.suite.mistakes import explained
from camfaith.models import Classifier


def add(
    folder: str | Path | Result,
    *,
    methods: Any = (),
    metrics: Any = (),
    models: Any = (),
    limit: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Result:
    """What the run in `folder` was asked for last, and more: only what is missing is computed.

    Methods, metrics and models are named as in `run`; what the run has already is not added twice. `limit` is the new
    limit of every data set; a larger one keeps the samples of a smaller. A run on networks in memory needs them again
    as `models`: one that the run knows by its name stands for itself. Raises what `run` raises.
    """
    methods, metrics, models = (several(given) or [] for given in (methods, metrics, models))
    before = folder if isinstance(folder, Result) else Result(folder)
    suite = Suite.of(before.info["resolved"])
    given = [Classifier.of(model) if isinstance(model, nn.Module) else model for model in models]
    in_memory = {model.name: model for model in given if isinstance(model, Classifier)}
    known = [in_memory.pop(entry.label or entry.name, entry) for entry in suite.model]
    more = [model for model in given if not isinstance(model, Classifier) or model.name in in_memory]
    return run(
        suite,
        out=before.path,
        methods=_together(suite.suite.methods, methods),
        metrics=_together(suite.suite.metrics, metric_entries(metrics)),
        models=[*known, *more] if given else None,
        limit=limit,
        workers=workers,
        progress=progress,
    )


def _together(there: Sequence[Entry], more: Sequence[Any]) -> list[Any]:
    """All entries, none of them twice; `SuiteError` where one cannot be told."""
    kind = type(there[0])
    try:
        told = [kind.model_validate({"name": entry} if isinstance(entry, str) else entry) for entry in more]
    except ValidationError as error:
        raise SuiteError(explained(error, "what is added", kind, "an entry")) from None
    return [*there, *(entry for place, entry in enumerate(told) if entry not in [*there, *told[:place]])]
