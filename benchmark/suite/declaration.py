"""A suite: which methods are judged by which metrics, on which models and data sets, as one TOML file."""

from __future__ import annotations

import hashlib
import json
import os
import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from camfaith.benchmark.datasets.sample import Part
from camfaith.benchmark.suite.mistakes import SuiteError as SuiteError
from camfaith.benchmark.suite.mistakes import explained, read_named, read_text
from camfaith.benchmark.suite.panel import each_baseline
from camfaith.models.card import has_card
from camfaith.models.geometry import interpolation, length
from camfaith.models.settings import Count, Positive, Seed, Text
from camfaith.models.speed.shortcuts import Shortcut

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Entry(BaseModel):
    """A name with its settings; a name that stands twice with different settings gets two labels."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    name: Text
    """A name that `camfaith list` shows, or one's own as `file.py:Name` or `package.module:Name`."""
    label: Text | None = None
    """What stands in tables instead of the name."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings for the thing that the name stands for."""
        return dict(self.model_extra or {})


class MethodEntry(Entry):
    layer: Text | None = None
    """The target layer; None takes the model's."""


class ModelEntry(BaseModel):
    model_config = _STRICT
    name: Text
    """A name that `camfaith list` shows, `timm:NAME`, `hf:NAME`, `hf:FOLDER`, one's own as `file.py:function`, or the
    folder of a trained network with its `model.json`, which says all that follows."""
    label: Text | None = None
    """What stands in tables instead of the name; of a folder, its last name unless it is said."""
    weights: Text | None = None
    """A file (.safetensors, .pth, .pt), a name of the library's weights (DEFAULT), or none."""
    layer: Text | None = None
    """The target layer, with `#1` for a module's first call; None finds the last with a spatial output."""
    mean: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    """Subtracted from each colour in [0, 1]; None takes what the weights come with."""
    std: Annotated[tuple[Positive, ...], Field(strict=False)] | None = None
    """What each colour is divided by then."""
    resize: int | tuple[int, int] | None = None
    """The pixels of the short side, or [height, width], which squeezes."""
    crop: int | tuple[int, int] | None = None
    """The pixels of both sides, or [height, width], cut from the middle."""
    interpolation: Text | None = None
    """What lies between two pixels when resizing: bilinear, bicubic, nearest, lanczos, box, hamming."""
    pad: bool | None = None
    """Whether a picture is put into the middle of a black square before it is resized."""
    output: str | int | None = None
    """Where the logits are in what the network returns, if that is no tensor."""
    head: Text | None = None
    """What the outputs mean: softmax (the default), sigmoid, binary, ordinal, regression, or `module:function`."""
    classes: Annotated[tuple[str, ...], Field(strict=False)] | Text | None = None
    """Class names, or a text file with one per line."""

    @model_validator(mode="before")
    @classmethod
    def _a_folder_goes_by_its_last_name(cls, value: Any) -> Any:
        name = value.get("name") if isinstance(value, Mapping) else None
        return {"label": Path(name).resolve().name, **value} if isinstance(name, str) and has_card(name) else value

    @field_validator("resize", "crop", mode="before")
    @classmethod
    def _lengths_are_pixels(cls, value: Any, info: ValidationInfo) -> Any:
        return length(str(info.field_name), value)

    @field_validator("interpolation", mode="before")
    @classmethod
    def _interpolation_is_known(cls, value: Any) -> Any:
        return None if value is None else interpolation(value)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        if isinstance(self.classes, str):
            lines = read_text(Path(self.classes), f"model {self.name!r}: the class names").splitlines()
            return tuple(line.strip() for line in lines if line.strip())
        return self.classes


class DatasetEntry(Entry):
    limit: Count | None = None
    """How many samples are taken, the first in the order that the seed gives; None takes all."""
    part: Part | None = None
    """Only the samples of this part of the file `split = "..."`, which `camfaith finetune` writes; None takes all."""


class General(BaseModel):
    """A suite's `[suite]` table: what holds for all its models and data sets."""

    model_config = _STRICT
    name: str = Field(pattern=r"^[\w.+-]+$", examples=["retina", "run-2.1"])
    """Names new run folders."""
    seed: Seed = 0
    """Draws the order of samples, noise and ties."""
    target: Text | int | Annotated[tuple[Text | int, ...], Field(strict=False, min_length=1)] = "predicted"
    """The class that is explained: predicted, second, label, an index or a name; or a list of indices and names, each
    explained on its own (of samples with several known labels, those that they have)."""
    methods: tuple[MethodEntry, ...] = Field(min_length=1, strict=False)
    """Names, or tables of a name and its settings."""
    metrics: tuple[Entry, ...] = Field(min_length=1, strict=False)
    """Names, or tables of a name and its settings. A list of baselines, or `baseline = "panel"` for those that ship,
    makes a metric of each."""
    batch_size: Count | None = None
    """Images in a batch; None measures which number is fastest."""
    allow: tuple[Shortcut, ...] = Field((), strict=False)
    """Shortcuts that may change numbers and are taken if they are faster; the run says how much they changed."""
    chunk: Count = 16
    """Samples that are judged together and stored in one part; a folder that is there keeps its own number."""
    until: Literal["all", "separated"] = "all"
    """`separated` stops judging a method by a metric once its place against every other is settled or hardly can be."""
    level: float = Field(0.05, gt=0, lt=1)
    """On average, at most this share of these decisions is wrong."""
    margin: float = Field(0.0, ge=0, lt=1)
    """Methods are equal if one leads on at most this share of the images; 0: never."""
    device: str = Field("auto", pattern=r"^[a-z]+(:\d+)?$", examples=["auto", "cpu", "cuda", "cuda:1", "mps"])
    """Where the networks run; auto is a GPU if there is one."""
    pictures: Literal["all", "none"] = "all"
    """`none` keeps no images: the folder is smaller, but a metric that is added later reads the data again."""

    @property
    def policy(self) -> str | int:
        """`target`, or "each" where it is a list: which class, each sample says."""
        return "each" if isinstance(self.target, tuple) else self.target

    @field_validator("methods", "metrics", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [_entry(each) for v in value for each in ([v] if info.field_name == "methods" else each_baseline(v))]


class Suite(BaseModel):
    """A validated suite; `Suite.of` reads one from a shipped name, a TOML file, a mapping, or another suite."""

    model_config = _STRICT
    suite: General
    model: tuple[ModelEntry, ...] = Field(min_length=1, strict=False)
    dataset: tuple[DatasetEntry, ...] = Field(min_length=1, strict=False)

    @field_validator("model", "dataset", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        """`[model]` is taken as `[[model]]`, and a name as an entry."""
        listed = [value] if isinstance(value, Mapping | BaseModel) else value
        return [_entry(each) for each in listed] if isinstance(listed, list | tuple) else listed

    @model_validator(mode="after")
    def _labels_are_unique(self) -> Self:
        for key, entries in (("model", self.model), ("dataset", self.dataset)):
            twice = [label for label, count in Counter(e.label or e.name for e in entries).items() if count > 1]
            if twice:
                raise ValueError(f"{key} {twice[0]!r} stands twice: give each a label of its own")
        return self

    @classmethod
    def of(cls, source: Suite | Mapping[str, Any] | str | Path, *, data: str | Path | None = None) -> Suite:
        """Raises `SuiteError` with the key and the allowed values, `UnknownName` for a suite that does not exist.

        `${data}` in a text of the suite stands for `data`.
        """
        if isinstance(source, Suite):
            return source
        if not isinstance(source, Mapping | str | os.PathLike):
            raise SuiteError(f"expected a suite's name, its TOML file or a mapping, got {reprlib.repr(source)}")
        where = "suite" if isinstance(source, Mapping) else str(source)
        content = source if isinstance(source, Mapping) else read_named(source, shipped_suites(), "suite")
        try:
            return cls.model_validate(_fill(content, data, where))
        except ValidationError as error:
            raise SuiteError(explained(error, where, cls)) from None

    def changed(
        self,
        *,
        methods: Sequence[Any] | None = None,
        metrics: Sequence[Any] | None = None,
        models: Sequence[Any] | None = None,
        datasets: Sequence[Any] | None = None,
        limit: int | None = None,
        **general: Any,
    ) -> Suite:
        """The suite with some of it replaced; None leaves a thing as it is."""
        content = self.model_dump(exclude_unset=True)
        content["suite"] |= {"methods": self.suite.methods, "metrics": self.suite.metrics}  # settings need not be JSON
        content["suite"] |= {key: value for key, value in general.items() if value is not None}
        for key, value in (("methods", methods), ("metrics", metrics)):
            if value is not None:
                content["suite"][key] = list(value)
        for key, value in (("model", models), ("dataset", datasets)):
            if value is not None:
                content[key] = [{"name": v} if isinstance(v, str) else v for v in value]
        if limit is not None:
            content["dataset"] = [entry | {"limit": limit} for entry in content["dataset"]]
        return Suite.of(content)

    def resolved(self) -> dict[str, Any]:
        """The suite with its defaults, as JSON knows it."""
        found: dict[str, Any] = json.loads(json.dumps(self.model_dump(), default=repr))
        return found


def _entry(value: Any) -> Any:
    """A name as a table; a baseline that is an image in memory as one that can be told from others by its pixels."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, Mapping):
        if not hasattr(value.get("baseline"), "dtype"):
            return value
        from camfaith.metrics.probing.baselines import baseline  # loads torch

        return {**value, "baseline": baseline(value["baseline"])}
    if isinstance(value, BaseModel):
        return value
    raise ValueError(f"expected a name or a table with a name, got {value!r}")


def digest(content: Any) -> str:
    """A short hash of JSON-like content, equal in every process."""
    text = json.dumps(content, sort_keys=True, default=repr, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shipped_suites() -> dict[str, Path]:
    """The suites that come with the package, by name."""
    folder = Path(str(files("camfaith.benchmark.suite") / "shipped"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def _fill(content: Any, data: str | Path | None, where: str) -> Any:
    if isinstance(content, Mapping):
        for key in content:
            if not isinstance(key, str):
                raise SuiteError(f"{where}: keys are texts, got {key!r}")
        return {key: _fill(value, data, where) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_fill(value, data, where) for value in content]
    if isinstance(content, str) and "${data}" in content:
        if data is None:
            raise SuiteError(f"{where} reads data from {content!r}: say where that is with --data FOLDER")
        return content.replace("${data}", str(data))
    return content
