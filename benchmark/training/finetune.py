"""A network of somebody's choice learns a data set's classes, and is judged by pictures that it has not seen."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel, ValidationError

from camfaith.benchmark import datasets
from camfaith.benchmark.datasets import Dataset
from camfaith.benchmark.datasets.subset import known_clusters, known_labels
from camfaith.benchmark.results.evaluation import Evaluation, evaluate
from camfaith.benchmark.results.files import write_whole
from camfaith.benchmark.running.runner import Progress
from camfaith.benchmark.suite.declaration import DatasetEntry, ModelEntry
from camfaith.benchmark.suite.mistakes import SuiteError, explained
from camfaith.benchmark.suite.opening import whole_dataset
from camfaith.benchmark.suite.settings import parameters_of
from camfaith.benchmark.training.keeping import (
    BEST,
    EVALUATION,
    HISTORY,
    PICTURES,
    held,
    keep,
    require_same,
    whole_files,
)
from camfaith.benchmark.training.parting import Rows, parts_of
from camfaith.benchmark.training.pictures import Pictures, forget_pictures, read_pictures
from camfaith.benchmark.training.randomness import Balance
from camfaith.benchmark.training.recipe import Recipe, best_epoch, is_over, recipe_for
from camfaith.benchmark.training.starting import starting_classifier, starting_weights
from camfaith.models import Classifier
from camfaith.models.card import CARD, Card, read_card, weights_of, write_card
from camfaith.models.checkpoint import read_state
from camfaith.models.lookup import UnknownName

E = TypeVar("E", bound=BaseModel)


@dataclass(frozen=True)
class Finetuned:
    """A trained network: `path`, its folder, is the name of a model; `history` has a row for each epoch, `evaluation`
    what the best of them does on the parts "val" and "test"."""

    path: Path
    history: pd.DataFrame
    evaluation: Mapping[str, Evaluation]


def finetune(
    model: str | Mapping[str, Any],
    dataset: str | Mapping[str, Any],
    *,
    root: str | Path | None = None,
    out: str | Path | None = None,
    weights: str | Path | None = None,
    head: str = "softmax",
    size: int | None = None,
    split: str | Path | None = None,
    limit: int | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    batch: int | None = None,
    rate: float | None = None,
    balance: Balance | None = None,
    seed: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Finetuned:
    """Train a network for the classes of a data set: all its layers, from the weights it has, but a new last one.

    `model` and `dataset` are names as in a suite, or tables of a name and its settings: of a model `mean` and `std`.
    `root` is the data set's setting of that name. `weights` are those to start from (`build_for`): left out, those that
    ship, else torchvision's where they are on this disk, else none, which is told. `head` is "softmax", or "ordinal"
    for classes in an order.

    Pictures are squeezed to `size` × `size` pixels. They are split by class, and whole by cluster, in 70 % to learn
    from (train), 15 % to choose the epoch by (val) and 15 % that are held back (test). The file `split`, which is
    `split.csv` beside `out`, says which is which, and holds where it is there. The rest is the `Recipe`'s.

    In the end `out`, `networks/DATASET/MODEL` unless given, has the weights of the best epoch with their `Card`, so
    that it is a model's name, the history and the evaluation. A training that was stopped, or killed, goes on after its
    last whole epoch, to the weights that it would have had; one that is done is read back. More `epochs` or `patience`
    than before go on, too. Pictures are read once: where files have changed meanwhile, `overwrite`.

    Raises `UnknownName`, `SuiteError` and `ValueError` for what cannot be, or where `out` holds another training.
    """
    if find_spec("pytorch_lightning") is None or find_spec("torchmetrics") is None:
        raise ValueError("training needs Lightning and torchmetrics: pip install 'camfaith[train]'")
    entry = _entry(ModelEntry, "model", _named(model), ("name", "mean", "std"))
    data = _entry(DatasetEntry, "dataset", _named(dataset) | ({} if root is None else {"root": str(root)}))
    limit = limit or data.limit
    whole = whole_dataset(data)
    taken, names = whole if limit is None else datasets.subset(whole, limit, seed or 0), _class_names(whole)
    said = {"epochs": epochs, "patience": patience, "batch": batch, "rate": rate, "balance": balance, "seed": seed}
    recipe = recipe_for(data.name, **said)
    start = starting_weights(entry.name, None if weights is None else str(weights))
    folder = Path(out).expanduser() if out is not None else Path("networks", _slug(whole.name), _slug(entry.name))
    file = folder.parent / "split.csv" if split is None else Path(split).expanduser()
    tell, chosen = progress or _silent, _device(device)
    classifier = starting_classifier(entry, start, names, head, size)
    asked = _asked(classifier, entry.name, whole.name, start, limit, recipe) | {"settings": _settings(data)}
    known = _known(taken)
    with held(folder, overwrite):
        require_same(folder, asked, known)
        if (done := _done(folder, recipe)) is not None:
            return done
        pictures = read_pictures(taken, classifier, folder / PICTURES, lambda n, of: tell(n, of, "reading pictures"))
        try:
            parts = parts_of(pictures, file, names, recipe.seed)
            keep(folder, asked, known, _digest(pictures, parts), chosen)
        except ValueError:
            forget_pictures(folder / PICTURES)  # so that what is restored is read
            raise
        from camfaith.benchmark.training.learning import Part, learn

        for name in (CARD, EVALUATION):  # of fewer epochs
            (folder / name).unlink(missing_ok=True)
        train, val = (Part(pictures, parts[name]) for name in ("train", "val"))
        history = learn(classifier, train, val, recipe, folder, chosen, tell)
        facts: dict[str, Any] = {"pictures": {name: len(rows) for name, rows in parts.items()}}
        facts |= {"left_out": len(taken) - sum(map(len, parts.values())), "patience": recipe.patience}
        facts |= {"epochs": len(history), "best_epoch": best_epoch(history) + 1, "device": chosen}
        _write_card(folder, classifier, asked | facts)
        evaluation = _judge(folder, classifier.to(chosen), pictures, parts, recipe.batch)
        forget_pictures(folder / PICTURES)
        return Finetuned(folder, pd.DataFrame(history), evaluation)


def _silent(done: int, total: int, what: str) -> None:
    pass


def _named(thing: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"name": thing} if isinstance(thing, str) else dict(thing)


def _entry(kind: type[E], what: str, told: Mapping[str, Any], known: Sequence[str] = ()) -> E:
    """A suite's entry; of keys that are not `known`, where some are, a training has no use."""
    if strange := [key for key in told if known and key not in known]:
        raise UnknownName(f"setting of a {what} to train", strange[0], known)
    try:
        return kind(**told)
    except ValidationError as error:
        raise SuiteError(explained(error, what, kind)) from None


def _slug(name: str) -> str:
    """A folder's name for a network or data set: of `timm:NAME` and `file.py:function` the last part."""
    return re.sub(r"[^\w.+-]", "-", name.rpartition(":")[2]).strip(".") or "unnamed"


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not there: take cpu, or auto")
    return "cuda" if torch.cuda.is_available() and name != "cpu" else "cpu"


def _class_names(dataset: Dataset) -> tuple[str, ...]:
    """The data set's, or numbers up to the greatest label."""
    if dataset.class_names is not None:
        return _several(dataset, tuple(dataset.class_names))
    labels = [label for label in known_labels(dataset) if isinstance(label, int)]
    if not labels:
        raise ValueError(f"data set {dataset.name!r} tells no class before it is read: give classes = [...]")
    return _several(dataset, tuple(map(str, range(max(labels) + 1))))


def _several(dataset: Dataset, names: tuple[str, ...]) -> tuple[str, ...]:
    if len(names) < 2:
        raise ValueError(f"data set {dataset.name!r} has one class alone; a network learns to tell two or more apart")
    return names


def _settings(data: DatasetEntry) -> dict[str, Any]:
    """What a data set is told, beside texts: these say where it lies, which may change, and what it holds is known."""
    told = parameters_of(datasets.find(data.name), data.settings)
    return {name: value for name, value in told.items() if not isinstance(value, str | None)}


def _known(dataset: Dataset) -> str:
    """A hash of what a data set says of its samples before any is read."""
    about = [list(dataset.ids), list(known_labels(dataset)), list(known_clusters(dataset))]
    return hashlib.sha256(json.dumps(about, default=str).encode()).hexdigest()


def _asked(
    classifier: Classifier, model: str, dataset: str, start: str | None, limit: int | None, recipe: Recipe
) -> dict[str, Any]:
    """All that makes other weights, beside the pictures."""
    found: dict[str, Any] = {
        "model": model,
        "dataset": dataset,
        "weights": start or "none",
        "head": classifier.head.name,
    }
    found |= {"class_names": classifier.class_names, "size": classifier.resize, "limit": limit}
    found |= {"mean": classifier.mean, "std": classifier.std}
    return found | {name: value for name, value in asdict(recipe).items() if name not in ("epochs", "patience")}


def _digest(pictures: Pictures, parts: Mapping[str, Rows]) -> str:
    placed = {name: rows.tolist() for name, rows in parts.items()}
    return hashlib.sha256((pictures.digest() + json.dumps(placed)).encode()).hexdigest()


def _done(folder: Path, recipe: Recipe) -> Finetuned | None:
    """What the folder holds of a training that is over and judged."""
    if not all((folder / name).is_file() for name in (BEST, CARD, HISTORY, EVALUATION)):
        return None
    with whole_files(folder):
        history = pd.read_csv(folder / HISTORY)
        if not len(history):
            raise ValueError(f"{HISTORY} has no epoch")
        if not is_over(history.to_dict("records"), recipe):
            return None
        weights_of(folder, read_card(folder))
        told = json.loads((folder / EVALUATION).read_text("utf-8"))
        if not told:
            raise ValueError(f"{EVALUATION} has no part")
        return Finetuned(folder, history, {part: Evaluation.of_json(each) for part, each in told.items()})


def _write_card(folder: Path, classifier: Classifier, facts: Mapping[str, Any]) -> None:
    said = {
        "architecture": classifier.name,
        "dataset": facts["dataset"],
        "class_names": classifier.class_names or (),
        "head": classifier.head.name,
        "mean": classifier.mean,
        "std": classifier.std,
        "resize": classifier.resize,
    }
    rest = {name: value for name, value in facts.items() if name not in (*said, "model", "size")}
    write_card(folder, Card(**said, interpolation=classifier.interpolation, training=json.loads(json.dumps(rest))))


def _judge(
    folder: Path, classifier: Classifier, pictures: Pictures, parts: Mapping[str, Rows], batch: int
) -> dict[str, Evaluation]:
    """What the best weights do on what they have not learned from, written down."""
    classifier.network.load_state_dict(read_state(folder / BEST))
    found = {}
    for part in ("val", "test"):
        rows = parts[part]
        if not len(rows):
            continue
        cuts = np.array_split(rows, np.arange(batch, len(rows), batch))
        scores = torch.cat([classifier.scores(torch.from_numpy(pictures.pixels[cut]) / 255) for cut in cuts])
        found[part] = evaluate(
            classifier.head.probabilities(scores.double()).cpu().numpy(),
            pictures.labels[rows],
            classifier.class_names or (),
            [pictures.clusters[row] for row in rows],
        )
    content = {part: each.to_json() for part, each in found.items()}
    write_whole(folder / EVALUATION, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return found
