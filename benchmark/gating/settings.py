"""The gate of a project, as its `pyproject.toml` declares it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from camfaith.benchmark.suite.declaration import MethodEntry, MetricEntry, ModelEntry
from camfaith.benchmark.suite.mistakes import SuiteError, explained, read_toml
from camfaith.models.settings import Count, Text

FILE = Path("pyproject.toml")


class GateSettings(BaseModel):
    """The table `[tool.camfaith.gate]`: what `camfaith gate` is not told otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    method: MethodEntry | None = None
    """The method: a name, or a table of its name and settings."""
    baseline: Text | None = None
    """The file of its earlier values (Parquet)."""
    like: MethodEntry | None = None
    """The method behind which it must not fall."""
    suite: Text | None = None
    """The name of a shipped suite, or a TOML file."""
    data: Text | None = None
    """The folder that `${data}` stands for in the suite."""
    metrics: Annotated[tuple[MetricEntry, ...], Field(min_length=1, strict=False)] | None = None
    """Metrics instead of the suite's."""
    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1, strict=False)] | None = None
    """Models instead of the suite's."""
    margin: Text | float | list[Text] | dict[str, Text | float] | None = None
    """What it may lose: 0.02 or "5%"; a table has one for each metric, a list the words of the command line."""
    limit: Count | None = None
    """At most so many samples of each data set."""

    @field_validator("method", "like", mode="before")
    @classmethod
    def _a_name_is_an_entry(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("metrics", "models", mode="before")
    @classmethod
    def _names_are_entries(cls, value: Any) -> Any:
        listed = [value] if isinstance(value, str) else value
        return [{"name": v} if isinstance(v, str) else v for v in listed] if isinstance(listed, list) else listed

    def given(self) -> dict[str, Any]:
        """What is said, as `gate` takes it."""
        return self.model_dump(exclude_none=True, exclude_unset=True)


class _Camfaith(BaseModel):
    gate: GateSettings = GateSettings()


class _Tool(BaseModel):
    camfaith: _Camfaith = _Camfaith()


class _Project(BaseModel):
    tool: _Tool = _Tool()


def declared(file: Path = FILE) -> GateSettings:
    """The gate that the file declares; an empty one where there is no file, or no gate in it. `SuiteError` for a key
    that no gate has, and for a value that cannot be."""
    if not file.is_file():
        return GateSettings()
    try:
        return _Project.model_validate(read_toml(file, "the project's settings")).tool.camfaith.gate
    except ValidationError as error:
        raise SuiteError(explained(error, str(file), _Project)) from None
