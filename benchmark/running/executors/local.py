"""This process works on the spans of a run, one by one; others may work on the same folder beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from camfaith.benchmark.results.folder import RunFolder
from camfaith.benchmark.running.known import Known
from camfaith.benchmark.running.lacking import Holdings
from camfaith.benchmark.running.missing import Settled, Work
from camfaith.benchmark.running.part import make_parts, reader
from camfaith.benchmark.running.planning import plan_block
from camfaith.benchmark.running.settling import settled_by
from camfaith.metrics import Engine

Tell = Callable[[float, str], None]
"""Called with the forwards done since the last call, and what is being judged."""


def work_through(folder: RunFolder, blocks: Sequence[Holdings], run: str, tell: Tell) -> None:
    """Make what the folder lacks of these blocks, waiting in the end for the spans that other processes have."""
    for holdings in blocks:
        _Worker(folder, holdings, run, tell).work()


class _Worker:
    """Works through one block."""

    def __init__(self, folder: RunFolder, holdings: Holdings, run: str, tell: Tell) -> None:
        self._folder, self._holdings, self._run, self._tell = folder, holdings, run, tell
        self._block = holdings.block
        self._engine: Engine | None = None
        self._ahead: dict[tuple[int, ...], Future[object]] = {}

    def work(self) -> None:
        if self._block.suite.suite.until == "separated":  # a span waits for what all before it have settled
            with self._folder.claim(self._block.name, wait=True):
                for span, settled in settled_by(self._holdings, again=True):
                    self._make(span, settled)
            return
        lacking = [span for span in self._block.spans if self._holdings.lacking(span)]
        busy = [span for place, span in enumerate(lacking) if not self._try(span, lacking[place + 1 : place + 2])]
        for span in busy:
            with self._folder.claim(self._name(span), wait=True):
                self._make(span)

    def _try(self, span: range, later: Sequence[range]) -> bool:
        """Whether the span was free."""
        with self._folder.claim(self._name(span), wait=False) as held:
            if held:
                self._make(span, later=later)
        return held

    def _name(self, span: range) -> str:
        return f"{self._block.name}/{span.start:07d}"

    def _make(self, span: range, settled: Settled = (), later: Sequence[range] = ()) -> None:
        """Make what is missing of a span that is claimed."""
        self._folder.tidy(self._block.name, span.start)
        works = self._holdings.lacking(span, settled, again=True)
        known = Known(self._holdings.parts(span, again=True), self._block.context)
        with ThreadPoolExecutor(1) as reading:
            for work in works:
                self._make_work(span, work, known, reading, later)

    def _make_work(
        self, span: range, work: Work, known: Known, reading: ThreadPoolExecutor, later: Sequence[range]
    ) -> None:
        block, told = self._block, 0
        if not work.needs_model(block):
            for made in make_parts(block, work, known, self._run, None):
                self._folder.write_part(block.name, span.start, made.note, made.tables)
            return
        planned = plan_block(block, [work]).forwards
        engine = self._engine = self._engine or Engine(block.bench.classifier, block.bench.setup)
        last = engine.meter.forwards
        self._tell(0, block.title)

        def tick() -> None:
            nonlocal last, told
            self._tell(engine.meter.forwards - last, block.title)
            told += engine.meter.forwards - last
            last = engine.meter.forwards

        engine.tick = tick
        ready = self._ahead.pop(work.samples, None)
        read = reader(block, work) if ready is None else ready.result
        if block.bench.classifier.device.type != "cpu":
            # A network on the CPU wants every processor: a second thread that computes makes its threads wait for each
            # other through the kernel, which costs ten times what reading takes.
            for next_work in (found for following in later for found in self._holdings.lacking(following)):
                self._ahead[next_work.samples] = reading.submit(reader(block, next_work))
        for made in make_parts(block, work, known, self._run, engine, read):  # type: ignore[arg-type]
            self._folder.write_part(block.name, span.start, made.note, made.tables)
        self._tell(planned - told, block.title)
