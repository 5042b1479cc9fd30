"""Segments of an image that leave one after another, in the order of what a map says of each."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from camfaith.metrics.probing.baselines import Baseline
from camfaith.metrics.probing.case import PerImage
from camfaith.metrics.probing.probes import ImageProbe, Rounds, Subject
from camfaith.metrics.probing.ranks import ranks_of, removed_at


def segment_ranks(saliency: Tensor, labels: Tensor, seed: int) -> Tensor:
    """The rank of each of L segments by the mean of a map over it, 0 for the highest (L). `saliency` and `labels`, the
    number of each pixel's segment, are H×W. Equal ones come in an order drawn from `seed`.

    >>> segment_ranks(torch.tensor([[0.0, 1.0, 5.0]]), torch.tensor([[0, 0, 1]]), seed=0)
    tensor([1, 0], dtype=torch.int32)
    """
    labels, values = labels.flatten(), saliency.flatten().double()
    empty = values.new_zeros(int(labels.max()) + 1)
    # Relative to the lowest value, so that segments of one value have equal means, whatever their size.
    lowest = empty.scatter_reduce(0, labels, values, "amin", include_self=False)
    mean = lowest + empty.scatter_reduce(0, labels, values - lowest[labels], "mean", include_self=False)
    return ranks_of(mean, seed)


@dataclass(frozen=True)
class WithoutSegments(ImageProbe):
    """The image as its segments leave, those with the highest mean of the map first, the baseline instead.

    `cut` gives the number of each pixel's segment (H×W). All segments leave, or the first `leaving` of them, in no more
    than `steps` steps; the answer's `at` is the share of all segments that are gone.
    """

    cut: PerImage
    steps: int
    baseline: Baseline
    leaving: int | None = None
    reads = "saliency"

    def count(self, pixels: int) -> int:
        return self.steps

    def rounds(self, subject: Subject) -> Rounds:
        labels = subject.once(self.cut)
        ranks = segment_ranks(subject.read("saliency"), labels, subject.seed)
        last = min(self.leaving or len(ranks), len(ranks))
        removed = removed_at(min(self.steps, last), last, ranks.device)[1:]
        order = ranks[labels].flatten()
        yield len(removed), subject.masked(self.baseline, lambda start, stop: order >= removed[start:stop, None])
        return removed.cpu().double() / len(ranks)
