"""One model on one data set, as a suite declares them: what its cells are known by, before any network is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from camfaith import methods
from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.results.folder import block_name
from camfaith.benchmark.suite.arms import Judge
from camfaith.benchmark.suite.declaration import MethodEntry, ModelEntry, Suite, SuiteError
from camfaith.benchmark.suite.identity import context_key, declared_model, method_key, model_key
from camfaith.benchmark.suite.labels import labels
from camfaith.benchmark.suite.opening import Bench, open_bench, open_dataset, open_judges, open_model
from camfaith.benchmark.suite.pooling import PoolOf
from camfaith.benchmark.suite.settings import checked_settings
from camfaith.models import Classifier
from camfaith.models.speed.setup import Setup
from camfaith.models.speed.tuning_cache import from_json


@dataclass(frozen=True)
class Named:
    """A method under the label that stands in the tables, bound to no model yet."""

    label: str
    entry: MethodEntry
    kind: Any
    key: str


class Model:
    """A model of a suite, loaded when it is first asked for. `known` is what a folder says of the model that it was
    made with, whose key holds as long as the suite and the files that it names say the same."""

    def __init__(self, entry: ModelEntry, device: str, given: Classifier | None, known: Mapping[str, Any]) -> None:
        self.entry, self._device, self._given, self._known = entry, device, given, known
        self.label = entry.label or entry.name

    @cached_property
    def classifier(self) -> Classifier:
        return self._given or open_model(self.entry, self._device)

    @cached_property
    def declared(self) -> str | None:
        """A hash of what the suite says of it; None for a network in memory."""
        return None if self._given is not None else declared_model(self.entry)

    @cached_property
    def key(self) -> str:
        if self.declared is not None and self.declared == self._known.get("declared"):
            return str(self._known["key"])
        return model_key(self.classifier, None if self._given is not None else self.entry)


@dataclass(frozen=True)
class Block:
    """One model on one data set."""

    suite: Suite
    model: Model
    data: str
    dataset: Dataset
    methods: Sequence[Named]
    asked: Sequence[Judge]
    begun: Mapping[str, Any] | None = None
    """How its images were sent through the network when its first results were made, and on which `device`."""

    @cached_property
    def context(self) -> str:
        """The key of what all its cells share."""
        layer = self.model.entry.layer or getattr(self.model._given, "layer", None)
        names = self.dataset.class_names
        return context_key(self.suite.suite, self.model.key, layer, None if names is None else tuple(names))

    @property
    def name(self) -> str:
        """The name of its folder."""
        return block_name(self.model.label, self.data)

    @property
    def title(self) -> str:
        return f"{self.model.label} on {self.data}"

    @cached_property
    def spans(self) -> list[range]:
        """The places of the samples that are judged and stored together."""
        samples, chunk = len(self.dataset), self.suite.suite.chunk
        return [range(start, min(start + chunk, samples)) for start in range(0, samples, chunk)]

    @cached_property
    def bench(self) -> Bench:
        """Its things, tried on one image: from here on the network is there."""
        model = self.model
        return open_bench(
            self.suite, model.entry, model.classifier, self.data, self.dataset, self.asked, self._begun_with()
        )

    def _begun_with(self) -> Setup | None:
        """The setup of its first results, if that can be had again; None where there is none: one is measured."""
        if self.begun is None or self.begun["device"] != self.model.classifier.device.type:
            return None
        setup = from_json(self.begun["setup"])
        return setup if self.suite.suite.batch_size in (None, setup.batch_size) else None

    @property
    def judges(self) -> Sequence[Judge]:
        """The metrics that are asked for; where the network is there, those without meaning for it are unfit."""
        return self.bench.judges if self.is_open else self.asked

    @property
    def is_open(self) -> bool:
        return "bench" in vars(self)


def open_blocks(
    suite: Suite, given: Mapping[str, Classifier] | None = None, known: Mapping[str, Any] | None = None
) -> list[Block]:
    """Every model × data set of the suite. `given` holds models that are there already, by name; `known` what a folder
    says of its `models`, by label, and of the `setups` that its blocks were begun with, by name.

    Raises `SuiteError`, `UnknownName`, `FileNotFoundError`, and what loading a model that is not known raises.
    """
    named = _named(suite)
    judges = open_judges(suite.suite.metrics, [method.key for method in named])
    _require_different([(m.label, m.key) for m in named], "method")
    _require_different([(j.label, j.key) for j in judges], "metric")
    data = {entry.label or entry.name: (entry, open_dataset(entry, suite.suite)) for entry in suite.dataset}
    found = []
    for entry in suite.model:
        told = (known or {}).get("models", {}).get(entry.label or entry.name, {})
        model = Model(entry, suite.suite.device, (given or {}).get(entry.name), told)
        for label, (told_of, dataset) in data.items():
            begun = (known or {}).get("setups", {}).get(block_name(model.label, label))
            pools = PoolOf(told_of, suite.suite, partial(getattr, model, "classifier"))
            own = [judge.with_pool(pools) for judge in judges]
            found.append(Block(suite, model, label, dataset, named, own, begun))
    return found


def _named(suite: Suite) -> list[Named]:
    entries = suite.suite.methods
    kinds = [methods.find(entry.name) for entry in entries]
    for entry, kind in zip(entries, kinds, strict=True):  # before any network is loaded
        checked_settings(f"method {entry.name!r}", kind, entry.settings)
    found = zip(labels(entries, methods.find), entries, kinds, strict=True)
    return [Named(label, entry, kind, method_key(entry, kind)) for label, entry, kind in found]


def _require_different(things: Sequence[tuple[str, str]], what: str) -> None:
    twice = [key for key, count in Counter(key for _, key in things).items() if count > 1]
    if twice:
        first, second = [label for label, key in things if key == twice[0]][:2]
        raise SuiteError(f"{what}s {first!r} and {second!r} are the same, with the same settings: remove one")
