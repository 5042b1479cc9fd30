"""This process works on the spans of a run, one by one; others may work on the same folder beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from camfaith.benchmark.results.folder import RunFolder
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.hearing import hearing
from camfaith.benchmark.running.known import Known
from camfaith.benchmark.running.lacking import Holdings
from camfaith.benchmark.running.missing import Settled, Work
from camfaith.benchmark.running.part import Read, make_parts, read_samples
from camfaith.benchmark.running.planning import plan_block
from camfaith.benchmark.running.read_ahead import ReadAhead
from camfaith.benchmark.running.settling import settled_by
from camfaith.metrics import Engine

Tell = Callable[[float, str], None]
"""Called with the forwards done since the last call, and what is being judged."""


def work_through(folder: RunFolder, blocks: Sequence[Holdings], run: str, tell: Tell) -> None:
    """Make what the folder lacks of these blocks, waiting in the end for the spans that other processes have."""
    with hearing():
        for holdings in blocks:
            _Worker(folder, holdings, run, tell).work()


class _Worker:
    """Works through one block."""

    def __init__(self, folder: RunFolder, holdings: Holdings, run: str, tell: Tell) -> None:
        self._folder, self._holdings, self._run, self._tell = folder, holdings, run, tell
        self._block = holdings.block
        self._network: _Network | None = None

    def work(self) -> None:
        try:
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
        finally:
            if self._network:
                self._network.close()

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
        block = self._block
        self._folder.tidy(block.name, span.start)
        works = self._holdings.lacking(span, settled, again=True)
        known = Known(self._holdings.parts(span, again=True), block.context)
        for work in works:
            if not work.needs_model(block):
                self._write(span, work, known, None)
                continue
            self._network = self._network or _Network(block, self._tell)
            following = [found for next_span in later for found in self._holdings.lacking(next_span)]
            with self._network.telling(work):
                self._write(span, work, known, self._network.engine, self._network.ahead.take(work, following))

    def _write(self, span: range, work: Work, known: Known, engine: Engine | None, read: Read | None = None) -> None:
        kept_at = self._folder.unfinished_path(self._block.name, span.start)
        for made in make_parts(self._block, work, known, self._run, engine, kept_at, read):
            self._folder.write_part(self._block.name, span.start, made.note, made.tables)
            for who, trace in made.traces.items():
                self._folder.write_trace(who, trace)


class _Network:
    """A block's network at work: its engine, its reader, and the telling of what it does."""

    def __init__(self, block: Block, tell: Tell) -> None:
        self._block, self._tell = block, tell
        self.engine = Engine(block.bench.classifier, block.bench.setup, tick=self._tick)
        self.ahead = ReadAhead(lambda work: read_samples(block, work), device=block.bench.classifier.device.type)
        self._last, self._told = 0, 0

    def close(self) -> None:
        self.ahead.close()

    def _tick(self) -> None:
        """Tell of the batch that the engine has made."""
        more = self.engine.meter.forwards - self._last
        self._last, self._told = self.engine.meter.forwards, self._told + more
        self._tell(more, self._block.title)

    @contextmanager
    def telling(self, work: Work) -> Iterator[None]:
        """Tell in the end of what was planned and not asked of the engine."""
        self._last, self._told = self.engine.meter.forwards, 0
        self._tell(0, self._block.title)
        yield
        self._tell(plan_block(self._block, [work]).forwards - self._told, self._block.title)
