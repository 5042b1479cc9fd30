"""Samples are read ahead in order, beside an accelerator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from camfaith.benchmark.running import read_ahead


@pytest.fixture
def reading(monkeypatch):
    """Five works of three samples, what has been read, and a reader of them; the third cannot be read."""
    begun = []
    works = [SimpleNamespace(samples=tuple(range(start, start + 3))) for start in range(0, 15, 3)]

    def read(work):
        begun.append(work.samples)
        if 6 in work.samples:
            raise OSError("the disk is gone")
        return work.samples

    class Prompt(ThreadPoolExecutor):
        """Reads at once, so that what has begun depends on no clock."""

        def submit(self, *args, **kwargs):
            future = super().submit(*args, **kwargs)
            future.exception()
            return future

    monkeypatch.setattr(read_ahead, "ThreadPoolExecutor", Prompt)
    return works, begun, lambda device: read_ahead.ReadAhead(read, device=device)


@pytest.mark.parametrize(("device", "begun_by_then"), [("cpu", [0, 1, 2, 3, 4]), ("cuda", [2, 3, 4, 5, 5])])
def test_the_next_samples_are_read_while_these_are_judged_and_all_come_in_order(reading, device, begun_by_then):
    works, begun, of = reading
    ahead = of(device)
    for place, work in enumerate(works):
        take = ahead.take(work, works[place + 1 : place + 2])
        assert len(begun) == begun_by_then[place]
        if 6 in work.samples:
            with pytest.raises(OSError, match="the disk is gone"):
                take()
        else:
            assert take() == work.samples
    assert begun == [work.samples for work in works], "each once"
    ahead.close()
