"""Reading samples before they are wanted, beside an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from camfaith.benchmark.running.missing import Work


class ReadAhead:
    """Hands out the samples of one work after the other; a thread reads the next while this one is judged.

    Not on the CPU: a network there wants every processor, and a second thread that computes makes its threads wait for
    each other through the kernel, which costs ten times what reading takes.
    """

    def __init__(self, read: Callable[[Work], Any], *, device: str) -> None:
        self._read, self._waits = read, device == "cpu"
        self._thread = ThreadPoolExecutor(1)
        self._begun: dict[tuple[int, ...], Future[Any]] = {}

    def close(self) -> None:
        """Read no more."""
        self._thread.shutdown(cancel_futures=True)

    def take(self, work: Work, later: Sequence[Work] = ()) -> Callable[[], Any]:
        """Gives the samples of `work` when it is called; those of `later` are read meanwhile."""
        if self._waits:
            return partial(self._read, work)
        for one in (work, *later):
            if one.samples not in self._begun:
                self._begun[one.samples] = self._thread.submit(self._read, one)
        return self._begun.pop(work.samples).result
