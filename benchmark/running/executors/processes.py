"""Several processes work on the spans of one run, each as `local` does, on one folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path

import torch

from camfaith.benchmark.results.folder import RunFolder
from camfaith.benchmark.running.executors.local import Tell, work_through
from camfaith.benchmark.running.lacking import Holdings, holdings_of
from camfaith.benchmark.suite.declaration import Suite
from camfaith.models import Classifier
from camfaith.models.speed.allocator import keep_memory, memory_is_kept
from camfaith.models.speed.setup import exact_arithmetic

_LAST = 10
"""Seconds in which a process that is stopped keeps what it has."""


def work_through_together(
    folder: RunFolder,
    blocks: Sequence[Holdings],
    run: str,
    tell: Tell,
    *,
    workers: int,
    suite: Suite,
    given: Mapping[str, Classifier],
) -> None:
    """`work_through` by this process and `workers` − 1 others; the processor's threads are shared out among them.

    Models in memory must be such as pickle takes. A process that ends badly is named in a warning, and its spans are
    made by the others.
    """
    threads = max(1, (os.cpu_count() or 1) // workers)
    context = get_context("spawn")  # a forked copy of torch can hang
    told = (folder.path, suite, dict(given), run, threads, memory_is_kept())
    others = [context.Process(target=_work, args=told) for _ in range(workers - 1)]
    for other in others:
        other.start()
    try:
        with _threads(threads):
            work_through(folder, blocks, run, tell)
        for other in others:
            other.join()
    except KeyboardInterrupt:  # which they got too
        for other in others:
            other.join(_LAST)
        raise
    finally:
        for other in others:
            other.terminate()
    failed = [str(other.exitcode) for other in others if other.exitcode]
    if failed:
        warnings.warn(f"{len(failed)} of {workers} processes ended with exit code {', '.join(failed)}", stacklevel=2)


def _work(path: Path, suite: Suite, given: Mapping[str, Classifier], run: str, threads: int, keep: bool) -> None:
    torch.set_num_threads(threads)
    if keep:
        keep_memory()
    folder = RunFolder(path)
    with exact_arithmetic(), suppress(KeyboardInterrupt):
        work_through(folder, holdings_of(suite, folder, given), run, lambda *_: None)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
