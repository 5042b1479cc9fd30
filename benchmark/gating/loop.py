"""The loop of an author: edit a method, ask whether it became worse, and only what changed is computed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import filelock

from camfaith.benchmark.gating.advice import look_first
from camfaith.benchmark.gating.naming import entries_of
from camfaith.benchmark.gating.outcome import Outcome
from camfaith.benchmark.results.baseline import read_baseline, write_baseline
from camfaith.benchmark.results.comparison import compare
from camfaith.benchmark.results.files import own_folder, require_no_link
from camfaith.benchmark.results.folder import RunFolderError
from camfaith.benchmark.results.margins import Margins
from camfaith.benchmark.results.sides import sides_of
from camfaith.benchmark.results.store import Result
from camfaith.benchmark.running.runner import Progress, run, several
from camfaith.benchmark.suite.declaration import Suite, SuiteError

FOLDER = Path("runs/gate")
MOST = 1_000
"""Parts in a folder that may be begun anew; reading more of them takes longer than what they save."""


class NoBaseline(FileNotFoundError):
    """The file of the baseline is not there."""


def gate(
    method: Any,
    *,
    baseline: str | os.PathLike[str] | None = None,
    like: Any = None,
    suite: Suite | Mapping[str, Any] | str | Path = "quick",
    data: str | Path | None = None,
    metrics: Any = None,
    models: Any = None,
    margin: Any = None,
    limit: int | None = None,
    update: bool = False,
    out: str | Path | None = None,
    renew: bool | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Judge a method, and say whether it lost more than `margin` against its `baseline`, a method `like` it, or both.

    `method` and `like` are classes, names, or tables of a name and settings. `baseline` is a file of the method's
    earlier values; with `update` it is written, and nothing compared with it. `like` is judged in the same run. Models,
    data and metrics are the suite's unless given, as in `run`. `margin` is a number, a share as "5%" (of the distance
    from the random control to the best known map, for which `random` and `hirescam` are judged too), a table with one
    for each metric, or a list of the command line's words. More calls of the network than in the baseline are a loss,
    unless `margin` has a "calls"; one that it is like may take fewer.

    The run stays in `out` (`runs/gate` where None), and grows: what it holds is not computed again. `renew` begins it
    anew where another model, or other data, has come under a name that it knows; None does so in the default folder.

    Raises `NoBaseline` where the baseline is not there yet, `SuiteError` where neither of both is given, and what `run`
    raises.
    """
    if baseline is None and like is None:
        raise SuiteError(
            "nothing to compare with: give a baseline, a file of the method's earlier values, or a method like it"
        )
    if update and baseline is None:
        raise SuiteError("nothing to update: give a baseline, the file to write")
    file = None if baseline is None else Path(baseline)
    if file is not None and not update and not file.is_file():
        raise NoBaseline(f"no baseline at {file}")
    before = None if file is None or update else read_baseline(file)
    margins = _margins(margin)
    asked = Suite.of(suite, data=data).changed(
        methods=entries_of(method, like), metrics=several(metrics), limit=limit, until="all"
    )
    folder = own_folder(Path(FOLDER if out is None else out))
    require_no_link(folder / "gate.lock")
    with filelock.FileLock(folder / "gate.lock"):  # another gate there would ask for other methods meanwhile
        result = _grown(asked, folder, models, renew=out is None if renew is None else renew, progress=progress)
        names = [told["label"] for told in result.info["methods"]]
        after, *other = sides_of(result, names[: 1 if like is None else 2])
    if update and not after.values["value"].notna().any():
        why = next((text for text in after.values["error"] if text), "none is defined")
        raise SuiteError(f"{after.label} has no value to write into a baseline: {why}")
    sides = {} if before is None else {str(file): before}
    sides |= {side.label: side for side in other}
    if update and file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_baseline(after, file)
    free = replace(margins, calls=inf)
    compared = {name: compare(side, after, margins if side is before else free) for name, side in sides.items()}
    return Outcome(after.label, compared, look_first(compared, sides, after), result.path, file if update else None)


def _margins(given: Any) -> Margins:
    if given is None:
        return Margins.of()
    if isinstance(given, Mapping):
        return Margins.of(own=given)
    return Margins.of(given) if isinstance(given, str | int | float) else Margins.read(given)


def _grown(suite: Suite, folder: Path, models: Any, *, renew: bool, progress: Progress | None) -> Result:
    full = renew and sum(1 for _ in folder.glob("parts/*/*/*")) > MOST
    try:
        return run(suite, out=folder, models=models, overwrite=full, progress=progress)
    except RunFolderError:
        if not renew:
            raise
        return run(suite, out=folder, models=models, overwrite=True, progress=progress)
