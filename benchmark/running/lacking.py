"""What a folder lacks of every block of a suite, and what it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from camfaith.benchmark.results.folder import Part, RunFolder, RunFolderError
from camfaith.benchmark.running.block import Block, open_blocks
from camfaith.benchmark.running.missing import Settled, Work, contents, missing_in, require_same
from camfaith.benchmark.suite.declaration import Suite
from camfaith.benchmark.suite.identity import model_facts
from camfaith.models import Classifier


class Holdings:
    """What a folder holds of a block, span by span. `now`: what the data set's samples hold, for spans whose samples
    were read already: blocks of one data set share it."""

    def __init__(self, folder: RunFolder | None, block: Block, now: dict[int, dict[str, str]]) -> None:
        self.folder, self.block = folder, block
        self._elsewhere: dict[str, list[Part]] = defaultdict(list)
        self._now = now
        for part in [] if folder is None else folder.parts(block.name):
            for sample in {**part.note.samples, **part.note.unusable}:
                self._elsewhere[sample].append(part)

    def parts(self, span: range, *, again: bool = False) -> list[Part]:
        """The parts that hold samples of a span; `again` looks for what came since."""
        found = {part.path: part for index in span for part in self._elsewhere.get(self.block.dataset.ids[index], ())}
        if again and self.folder is not None:
            found |= {part.path: part for part in self.folder.parts(self.block.name, f"{span.start:07d}")}
        return list(found.values())

    def lacking(self, span: range, settled: Settled = (), *, again: bool = False) -> list[Work]:
        """What is missing of a span. Raises `RunFolderError` where its samples are not those that the folder knows."""
        notes = [part.note for part in self.parts(span, again=again)]
        if notes:
            if span.start not in self._now:
                self._now[span.start] = contents(self.block, span)
            require_same(self.block, notes, self._now[span.start])
        return missing_in(self.block, span, notes, self._now.get(span.start, {}), settled)


def holdings_of(
    suite: Suite, folder: RunFolder | None = None, given: Mapping[str, Classifier] | None = None
) -> list[Holdings]:
    """Every block of a suite with what the folder holds of it. Raises `RunFolderError` where the folder holds results
    of another model under the same label."""
    known = folder.info.get("known", {}) if folder is not None and folder.exists() else {}
    models = known.get("models", {})
    blocks = open_blocks(suite, given, known)
    for block in blocks:
        before = models.get(block.model.label)
        if before is not None and before["key"] != block.model.key:
            facts = model_facts(block.model.classifier)
            other = [name.removesuffix("_sha256") for name, value in facts.items() if before.get(name) != value]
            raise RunFolderError(
                f"model {block.model.label!r} is not the one that this folder's results were made with (another "
                f"{', '.join(other) or 'make-up, source or class names'}); give it another label, or another folder, "
                "or overwrite this one"
            )
    now: dict[str, dict[int, dict[str, str]]] = {block.data: {} for block in blocks}
    return [Holdings(folder, block, now[block.data]) for block in blocks]
