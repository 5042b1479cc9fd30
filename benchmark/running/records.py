"""The rows of one part, gathered as they come and turned into tables at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from camfaith.benchmark.results.pictures import lossless, png
from camfaith.benchmark.results.tables import SCHEMAS
from camfaith.benchmark.running.explaining import Explanations
from camfaith.benchmark.running.reading import Complaint, Ready
from camfaith.benchmark.suite.arms import Judge
from camfaith.metrics import Case, Line
from camfaith.models.maps import image_of, picture_of


@dataclass(frozen=True)
class Place:
    """Which sample of which data set under which model, and the class that is explained."""

    context: str
    model: str
    dataset: str
    sample: str
    cluster: str | None = None
    label: int | None = None
    target: int | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """What stands in every table."""
        return {"context": self.context, "model": self.model, "dataset": self.dataset, "sample": self.sample}


@dataclass
class Records:
    """The tables of one part of a run."""

    run: str
    policy: str
    rows: Mapping[str, list[dict[str, Any]]] = field(default_factory=lambda: {name: [] for name in SCHEMAS})
    traces: dict[str, str] = field(default_factory=dict)
    """The first error of each method and metric that failed, with the way that led there."""

    def add(self, other: Records) -> None:
        """Take over all rows of another."""
        for name, rows in other.rows.items():
            self.rows[name].extend(rows)
        self.traces = other.traces | self.traces

    def score(
        self,
        place: Place,
        arm: Any,
        judge: Judge | None,
        column: str,
        value: float,
        status: str = "ok",
        error: str = "",
        seconds: float = 0.0,
        forwards: int = 0,
    ) -> None:
        """One value; without a metric it is the method's own diagnostic, without a method it is about the sample."""
        about = {"cluster": place.cluster, "label": place.label, "target": place.target, "policy": self.policy}
        metric = (judge.label, judge.key) if judge else ("diagnostics" if arm else "", "")
        found = {"column": column, "value": value, "status": status, "error": error}
        found["preset"] = judge.preset if judge else ""
        self.rows["scores"].append(
            {"run": self.run, **place.columns, **about, **_method(arm), **_metric(*metric), **found}
            | {"seconds": seconds, "forwards": forwards}
        )

    def complaint(self, place: Place, complaint: Complaint) -> None:
        """What is wrong with a sample, or with its label alone."""
        status = "warning" if complaint.used else "error"
        self.score(place, None, None, "", float("nan"), status, complaint.error)

    def warn(self, place: Place, said: Mapping[str, int], arm: Any = None, judge: Judge | None = None) -> None:
        """What a method or metric, else the model or a reader, warned of, and how often; `place` is where first."""
        of = {**_method(arm), **_metric(*((judge.label, judge.key) if judge else ("", "")))}
        for text, count in said.items():
            self.rows["warnings"].append({**place.columns, **of, "text": text, "count": count})

    def line(self, places: Sequence[Place], arm: Any, judge: Judge, line: Line) -> None:
        x, names = line.x.tolist(), {"x_label": line.x_label, "y_label": line.y_label}
        for place, y in zip(places, line.y.tolist(), strict=True):
            of = {**_method(arm), **_metric(judge.label, judge.key)}
            self.rows["lines"].append({**place.columns, **of, **names, "x": x, "y": y})

    def maps(self, places: Sequence[Place], arm: Any, found: Explanations) -> None:
        """A method's maps as it gave them, single precision or double, and why there is none where there is none."""
        said = {"rectified": bool(arm.rectified), "control": bool(arm.control)}
        of = {**_method(arm), **said}
        added = [None] * len(found.rows) if found.contributions is None else list(found.contributions)
        for row, raw, each in zip(found.rows, found.raw, added, strict=True):
            values = _array(raw)
            told = {"height": values.shape[0], "width": values.shape[1], "precision": values.dtype.str}
            held = {"values": values.tobytes(), "contributions": None}
            if each is not None:
                held["contributions"] = _array(each).astype(values.dtype).tobytes()
            about = {**places[row].columns, **of, **asdict(found.spent[row])}
            self.rows["maps"].append({**about, **told, **held, "status": "ok", "error": ""})
        for row, (status, error) in found.failures.items():
            about = {**places[row].columns, **of, **asdict(found.spent[row])}
            self.rows["maps"].append({**about, "status": status, "error": error})

    def answer(self, place: Place, probe: str, scores: Tensor) -> None:
        """What a probe was told of one image (`answers.table_of`)."""
        names = ("logit", "log_probability", "confidence", "distance")
        told = dict(zip(names, scores[:, [0, 1, -2, -1]].T.tolist(), strict=True))
        logits = scores[:, 2:-2].flatten().tolist() or None
        self.rows["answers"].append({**place.columns, "probe": probe, **told, "logits": logits})

    def pictures(self, places: Sequence[Place], samples: Sequence[Ready], case: Case, *, images: bool) -> None:
        """The images as the model saw them, with their masks (`images`), and the logits and features that they got."""
        precision = str(case.images.dtype).removeprefix("torch.")
        features = torch.empty(len(case), 0) if case.features is None else case.features
        scores = zip(case.logits.tolist(), case.of_target.tolist(), features, strict=True)
        for place, sample, (logits, (logit, log_probability), own) in zip(places, samples, scores, strict=True):
            about = {"cluster": place.cluster, "label": place.label, "target": place.target}
            told = {"precision": precision, "logits": logits, "digest": sample.digest}
            told |= {"logit": logit, "log_probability": log_probability, "features": _array(own).tobytes()}
            kept = kept_of(sample.image) if images else {}
            for name, plane in (("mask", sample.mask), ("content", sample.content)):
                kept[name] = None if plane is None or not images else png(_grey(plane))
            self.rows["pictures"].append({**place.columns, **about, **told, **kept})

    def tables(self) -> dict[str, pa.Table]:
        return {name: pa.Table.from_pylist(rows, schema=SCHEMAS[name]) for name, rows in self.rows.items()}


def _method(arm: Any) -> dict[str, str]:
    return {"method": arm.label, "method_key": arm.key} if arm else {"method": "", "method_key": ""}


def _metric(label: str, key: str) -> dict[str, str]:
    return {"metric": label, "metric_key": key}


def _array(values: Tensor) -> np.ndarray[Any, Any]:
    """As numpy has it, contiguous and little-endian; half precision as single."""
    found = values.detach().cpu()
    array = (found if found.element_size() >= 4 else found.float()).numpy()
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def kept_of(image: Tensor) -> dict[str, bytes | None]:
    """An image as a picture of 8 bits, and its own values beside where these are finer."""
    picture = picture_of(image)
    exact = None if torch.equal(image_of(picture), image) else _array(image).tobytes()
    return {"image": lossless(picture), "exact": exact}


def _grey(plane: Tensor) -> Image.Image:
    return Image.fromarray(plane.numpy().astype(np.uint8) * 255)
