"""What the fixture `faithfulness` gives a test."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from camfaith.benchmark.gating.loop import NoBaseline, gate
from camfaith.benchmark.gating.outcome import Outcome
from camfaith.benchmark.gating.plugin import WRITTEN
from camfaith.benchmark.gating.speed import Speed, speed
from camfaith.benchmark.suite.declaration import Suite


class Faithfulness:
    """Gates for a class activation map, in a test of pytest."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request, self._config = request, request.config
        self._timed = False

    def check(
        self,
        method: Any,
        *,
        baseline: str | os.PathLike[str] | None = None,
        like: Any = None,
        metrics: Any = None,
        models: Any = None,
        margin: Any = None,
        suite: Suite | Mapping[str, Any] | str | Path = "quick",
        data: str | Path | None = None,
        limit: int | None = None,
    ) -> Outcome:
        """Fail the test where the method lost more than `margin` against its `baseline`, or a method `like` it, and
        where that cannot be told (inconclusive, not comparable); what is given means what it does in `gate`.

        A relative `baseline` starts at pytest's root folder. With `--faithfulness-update` it is written, and nothing
        compared with it. The run stays in pytest's cache, so that only what changed is computed the next time.
        """
        __tracebackhide__ = True
        update = baseline is not None and bool(self._config.getoption("faithfulness_update"))
        file = None if baseline is None else Path(os.path.relpath(self._config.rootpath / baseline))
        try:
            with _warned():
                asked = Suite.of(suite, data=data)
                found = gate(
                    method,
                    baseline=file,
                    like=like,
                    metrics=metrics,
                    models=models,
                    margin=margin,
                    suite=asked,
                    limit=limit,
                    update=update,
                    out=self._folder(asked.suite.name),
                    renew=True,
                )
        except NoBaseline:
            raise AssertionError(
                f"no baseline at {baseline}: write it, and commit it, by\n"
                f"    pytest {shlex.quote(self._request.node.nodeid)} --faithfulness-update"
            ) from None
        except (ValueError, OSError) as error:  # one line says all
            raise error.with_traceback(None) from None
        if found.written:
            self._request.node.user_properties.append((WRITTEN, str(found.written)))
        if not found.passed:
            raise AssertionError(str(found))
        return found

    def speed(self, method: Any, peer: Any, *, suite: Any = "quick", data: str | Path | None = None) -> Speed:
        """Both methods' seconds, as a ratio, and their calls (`speed`); nothing is asserted of them.

        Where pytest-benchmark is installed, the method is measured by it too, with the ratio in its `extra_info`.
        """
        benchmark = self._benchmark()
        with _warned():
            found = speed(method, peer, suite=suite, data=data)
        if benchmark is not None:
            benchmark.extra_info.update(ratio=found.ratio, peer=found.peer, calls=str(found.calls))
            benchmark.pedantic(found.work, rounds=5)
        return found

    def _folder(self, suite: str) -> Path:
        cache = getattr(self._config, "cache", None)  # none under -p no:cacheprovider
        kept = (
            cache.mkdir("camfaith") if cache else self._request.getfixturevalue("tmp_path_factory").mktemp("camfaith")
        )
        return Path(os.path.relpath(kept)) / suite

    def _benchmark(self) -> Any:
        """The fixture of pytest-benchmark, once a test; it skips the test where benchmarks are skipped."""
        if self._timed or not self._config.pluginmanager.hasplugin("benchmark"):
            return None
        self._timed = True
        return self._request.getfixturevalue("benchmark")


@contextmanager
def _warned() -> Iterator[None]:
    """In the block a warning stays one under `-W error` too: a busy machine, say, is no fault of the method."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        yield
