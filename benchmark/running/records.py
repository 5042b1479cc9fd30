"""The rows of one part, gathered as they come and turned into tables at the end."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from camfaith.benchmark.results.store import LINE_COLUMNS, MAP_COLUMNS, PICTURE_COLUMNS, SCORE_COLUMNS
from camfaith.benchmark.running.reading import Complaint, Ready
from camfaith.benchmark.suite.opening import Arm, Judge
from camfaith.metrics import Line
from camfaith.models.maps import picture_of

_LOSSLESS_SIDE = 128  # larger pictures are kept as JPEG


@dataclass(frozen=True)
class Cell:
    """Which sample of which data set under which model, and the class that is explained."""

    model: str
    dataset: str
    sample: str
    cluster: str | None
    label: int | None
    target: int | None


@dataclass
class Records:
    """The tables of one part of a run."""

    run: str
    policy: str
    _scores: list[tuple[Any, ...]] = field(default_factory=list)
    _lines: list[tuple[Any, ...]] = field(default_factory=list)
    _maps: list[tuple[Any, ...]] = field(default_factory=list)
    _pictures: list[tuple[Any, ...]] = field(default_factory=list)

    def score(
        self,
        cell: Cell,
        arm: Arm | None,
        judge: Judge | None,
        column: str,
        value: float,
        status: str,
        error: str,
        seconds: float,
        forwards: int,
    ) -> None:
        """One value; without a metric it is the method's own diagnostic, without a method it is about the sample."""
        method, method_key = (arm.label, arm.key) if arm else ("", "")
        metric, metric_key = (judge.label, judge.key) if judge else ("diagnostics" if arm else "", "")
        preset = ""
        row = (cell.model, cell.dataset, cell.sample, cell.cluster, cell.label, cell.target, self.policy)
        keys = (method, method_key, metric, metric_key, preset, column)
        self._scores.append((self.run, *row, *keys, value, status, error, seconds, forwards))

    def complaint(self, model: str, dataset: str, complaint: Complaint) -> None:
        """What is wrong with a sample, or with its label alone."""
        cell = Cell(model, dataset, complaint.sample, None, None, None)
        status = "warning" if complaint.used else "error"
        self.score(cell, None, None, "", float("nan"), status, complaint.error, 0.0, 0)

    def add(self, other: Records) -> None:
        """Take over all rows of another."""
        self._scores += other._scores
        self._lines += other._lines
        self._maps += other._maps
        self._pictures += other._pictures

    def line(self, cells: Sequence[Cell], arm: Arm, judge: Judge, line: Line) -> None:
        x = line.x.numpy()
        for cell, y in zip(cells, line.y, strict=True):
            place = (cell.model, cell.dataset, cell.sample, arm.label, judge.label)
            self._lines.append((*place, line.x_label, line.y_label, x, y.numpy()))

    def maps(self, cells: Sequence[Cell], arm: Arm, raw: Tensor) -> None:
        for cell, values in zip(cells, raw.cpu().float(), strict=True):
            data = np.ascontiguousarray(values.numpy(), dtype="<f4").tobytes()
            place = (cell.model, cell.dataset, cell.sample, arm.label, arm.rectified)
            self._maps.append((*place, *values.shape, data))

    def pictures(self, cells: Sequence[Cell], samples: Sequence[Ready]) -> None:
        for cell, sample in zip(cells, samples, strict=True):
            mask = None
            if sample.mask is not None:
                mask = _encoded(Image.fromarray(sample.mask.numpy().astype(np.uint8) * 255), lossless=True)
            image = _encoded(picture_of(sample.image), lossless=max(sample.image.shape) <= _LOSSLESS_SIDE)
            place = (cell.model, cell.dataset, cell.sample)
            self._pictures.append((*place, cell.label, cell.target, image, mask, sample.digest))

    def tables(self) -> dict[str, pd.DataFrame]:
        scores = pd.DataFrame(self._scores, columns=list(SCORE_COLUMNS))
        pictures = pd.DataFrame(self._pictures, columns=[*PICTURE_COLUMNS])
        for table in (scores, pictures):
            for column in ("label", "target"):
                table[column] = table[column].astype("Int64")
        return {
            "scores": scores,
            "lines": pd.DataFrame(self._lines, columns=list(LINE_COLUMNS)),
            "maps": pd.DataFrame(self._maps, columns=list(MAP_COLUMNS)),
            "pictures": pictures,
        }


def _encoded(picture: Image.Image, *, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG") if lossless else picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
