"""The scores that an engine was told so far, so that a stopped one goes on with the batch at which it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass
class Stream:
    """The scores of images that were asked for together: of each job so many (`counts`), and the first `done` of all
    are known."""

    counts: Sequence[int]
    table: Tensor
    done: int = 0


@dataclass
class Journal:
    """The streams of one work, in the order in which they are asked. What is asked next must be what was asked then:
    from the first stream that differs, nothing is known."""

    before: Sequence[Stream] = ()
    streams: list[Stream] = field(default_factory=list)

    def begin(self, counts: Sequence[int], table: Tensor) -> Stream:
        """The next stream, whose scores come into `table`; those that are known stand there already."""
        place, found = len(self.streams), Stream(list(counts), table)
        if place < len(self.before) and self.before[place].counts == found.counts:
            found.done = self.before[place].done
            table[: found.done] = self.before[place].table.to(table.device)
        else:
            self.before = self.before[:place]
        self.streams.append(found)
        return found

    def known(self) -> list[Stream]:
        """The streams as far as they are known, those too that were known before and not asked for yet."""
        told = [Stream(each.counts, each.table[: each.done].cpu().clone(), each.done) for each in self.streams]
        if told and told[-1].done < sum(told[-1].counts):
            return told
        return [*told, *self.before[len(told) :]]
