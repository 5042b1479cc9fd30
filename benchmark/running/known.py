"""What a folder holds of a span, as tensors: maps, answers and pictures, to judge without asking once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from camfaith.benchmark.results.folder import Part
from camfaith.benchmark.results.pictures import opened
from camfaith.benchmark.results.tables import map_of
from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.running.reading import Ready, planes, sample_seed
from camfaith.benchmark.suite.identity import probe_key
from camfaith.metrics import Case, Spent
from camfaith.metrics.probing.answers import Answer, Answers, stacked
from camfaith.metrics.probing.probes import Probe
from camfaith.models.maps import image_of


class Known:
    """The rows of a span's parts that belong to one context."""

    def __init__(self, parts: Sequence[Part] = (), context: str = "") -> None:
        self._parts = [part for part in parts if part.note.context == context]

    @cached_property
    def pictures(self) -> dict[str, dict[str, Any]]:
        return {row["sample"]: row for row in self._rows("pictures")}

    @cached_property
    def maps(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Rows of the maps table, by the method's key and the sample."""
        return {(row["method_key"], row["sample"]): row for row in self._rows("maps")}

    @cached_property
    def _answers(self) -> dict[tuple[str, str], Tensor]:
        return {(row["probe"], row["sample"]): _table(row) for row in self._rows("answers")}

    def _rows(self, table: str) -> list[dict[str, Any]]:
        paths = [path for part in self._parts if (path := part.file(table)) is not None]
        return [row for path in paths for row in pq.read_table(path).to_pylist()]

    def answer(self, key: str | None, sample: str) -> Tensor | None:
        """What a probe was told of a sample (`answers.table_of`); None where it was not asked."""
        return None if key is None else self._answers.get((key, sample))

    def ready(self, sample: str, seed: int) -> Ready:
        """A sample as the model took it, from its picture, which lost nothing."""
        row = self.pictures[sample]
        image = image_of(opened(row["image"]))
        if row.get("exact") is not None:
            image = torch.from_numpy(np.frombuffer(row["exact"], "<f4").copy()).view_as(image)
        mask, content = (None if row[k] is None else _plane(row[k]) for k in ("mask", "content"))
        about = (row["label"], row["target"], row["cluster"], mask, content)
        return Ready(sample, image, *about, sample_seed(seed, sample), row["digest"])

    def case(self, samples: Sequence[Ready], device: torch.device | str = "cpu") -> Case:
        """The samples' images with the targets and logits that they got."""
        rows = [self.pictures[sample.id] for sample in samples]
        precision = getattr(torch, rows[0]["precision"])
        images = torch.stack([sample.image for sample in samples]).to(device, precision)
        size = (images.shape[-2], images.shape[-1])
        masks = planes((sample.mask for sample in samples), size)
        return Case(
            images,
            torch.tensor([row["target"] for row in rows], device=device),
            torch.tensor([row["logits"] for row in rows], dtype=torch.promote_types(precision, torch.float32)).to(
                device
            ),
            torch.tensor([sample.seed for sample in samples]),
            None if masks is None else masks.to(device),
            planes((sample.content for sample in samples), size),
            torch.tensor([(row["logit"], row["log_probability"]) for row in rows], dtype=torch.float64, device=device),
            torch.stack([torch.from_numpy(np.frombuffer(row["features"], "<f4").copy()) for row in rows]).to(device),
        )

    def explanations(self, method: str, samples: Sequence[Ready], device: torch.device | str = "cpu") -> Explanations:
        """The maps of the method with that key, and why there is none where there is none."""
        found = Explanations()
        contributions = []
        for place, sample in enumerate(samples):
            row = self.maps[method, sample.id]
            found.spent[place] = Spent(*(row[name] for name in ("forwards", "backwards", "seconds", "memory")))
            if row["status"] != "ok":
                found.failures[place] = (row["status"], row["error"])
                continue
            found.rows.append(place)
            found.raw.append(torch.from_numpy(map_of(row).copy()).to(device))
            if row["contributions"] is not None:
                contributions.append(torch.from_numpy(np.frombuffer(row["contributions"], row["precision"]).copy()))
        if contributions:
            found.contributions = torch.stack(contributions).to(device)
        return found

    def scores(self, probes: Mapping[Probe, str | None], samples: Sequence[Ready]) -> dict[tuple[Probe, int], Tensor]:
        """What these probes were told of these samples, by probe and place."""
        found = {(p, i): self.answer(key, s.id) for p, key in probes.items() for i, s in enumerate(samples)}
        return {place: scores for place, scores in found.items() if scores is not None}

    def answers(self, probes: Sequence[Probe], rows: Sequence[int], samples: Sequence[Ready]) -> Answers:
        """The answers to probes that were all asked before; `KeyError` where one was not."""
        found: dict[Probe, Answer] = {}
        for probe in probes:
            key = str(probe_key(probe))
            found[probe] = stacked(self._answers[key, samples[row].id] for row in rows)
        return found


def _table(row: Mapping[str, Any]) -> Tensor:
    scores, drift = (
        torch.tensor([row[name] for name in names], dtype=torch.float64).T
        for names in (("logit", "log_probability"), ("confidence", "distance"))
    )
    if row.get("logits") is None:
        return torch.cat([scores, drift], 1)
    return torch.cat([scores, torch.tensor(row["logits"], dtype=torch.float64).view(len(scores), -1), drift], 1)


def _plane(data: bytes) -> Tensor:
    return image_of(opened(data).convert("L"))[0] > 0
