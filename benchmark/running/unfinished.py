"""What a stopped run had of the samples that it was judging: kept, so that the next goes on there, in equal batches."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from camfaith.benchmark.results.files import own_folder, write_whole
from camfaith.benchmark.running.block import Block
from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.running.missing import Work
from camfaith.benchmark.running.reading import Ready
from camfaith.benchmark.suite.declaration import digest
from camfaith.metrics import Spent
from camfaith.metrics.probing.journal import Journal, Stream
from camfaith.models.speed.counting import Tally


class Unfinished:
    """The maps and scores so far of some samples that are judged together. What was kept of other samples, or of other
    methods, metrics, models or batches, is nothing to them."""

    def __init__(self, path: Path, block: Block, work: Work, samples: Sequence[Ready]) -> None:
        keys = {one.label: one.key for kind in (block.methods, block.judges) for one in kind}
        cells = {keys[method]: [keys[metric] for metric in metrics] for method, metrics in work.cells.items()}
        about = [[sample.id, sample.digest] for sample in samples]
        have = [sorted(work.fresh), sorted(work.answered), work.kept, work.seen, asdict(block.bench.setup)]
        self._path, self._identity = path, digest([block.context, cells, about, have])
        kept = self._read()
        self.explained: dict[str, tuple[Explanations, Tally]] = {
            label: (_told(found), Tally(**tally)) for label, (found, tally) in kept.get("explained", {}).items()
        }
        self.journal = Journal([Stream(*each) for each in kept.get("streams", ())])

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Where the block is stopped (Ctrl-C), what is there is kept; where it ends, nothing needs to be."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self._write()
            raise
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        explained = {label: (_kept(found), asdict(tally)) for label, (found, tally) in self.explained.items()}
        streams = [(list(each.counts), each.table, each.done) for each in self.journal.known()]
        buffer = io.BytesIO()
        torch.save({"identity": self._identity, "explained": explained, "streams": streams}, buffer)
        own_folder(self._path.parent)
        write_whole(self._path, hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())

    def _read(self) -> dict[str, Any]:
        """What was kept; nothing where it is of something else, or damaged."""
        with suppress(OSError):
            content = self._path.read_bytes()
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                found: dict[str, Any] = torch.load(io.BytesIO(content[32:]), weights_only=True)
                if found["identity"] == self._identity:
                    return found
        return {}


def _kept(found: Explanations) -> dict[str, Any]:
    """What a file holds of the maps: tensors and plain values."""
    spent = {row: asdict(each) for row, each in found.spent.items()}
    return {**vars(found), "spent": spent, "warnings": dict(found.warnings)}


def _told(found: dict[str, Any]) -> Explanations:
    """The maps as they were kept."""
    spent = {row: Spent(**each) for row, each in found["spent"].items()}
    return Explanations(**{**found, "spent": spent, "warnings": Counter(found["warnings"])})
