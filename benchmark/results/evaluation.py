"""How well probabilities of classes fit labels: shares, agreement, calibration, and how firm they are."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from camfaith.benchmark.results.intervals import APART, FEWEST, Floats
from camfaith.benchmark.results.resampling import resamples

BINS = 15
HEADLINES = ("accuracy", "balanced_accuracy", "kappa", "macro_f1")


@dataclass(frozen=True)
class Bin:
    """The samples whose confidence lies in (low, high]: their number, mean confidence and accuracy (NaN for none)."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Evaluation:
    """A classifier's predictions, argmax p, against labels. Everything is in [0, 1], κ in [−1, 1]; higher is better,
    but for `ece`. What is 0/0 is NaN and left out of means over classes."""

    n: int
    units: int
    """The clusters, where there are some, that resamples draw; else the samples."""
    class_names: tuple[str, ...]
    accuracy: float
    balanced_accuracy: float
    """The mean recall of the classes."""
    kappa: float
    """Cohen's κ = 1 − Σ w O / Σ w E with w_ij = (i − j)² (Cohen 1968): it has a meaning where classes have an order."""
    macro_f1: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    """2TP/(2TP + FP + FN) of each class."""
    support: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts: a row for each label, a column for each prediction."""
    ece: float
    """Σ n_b/n |accuracy_b − confidence_b| over bins of equal width (Guo et al. 2017)."""
    reliability: tuple[Bin, ...]
    intervals: Mapping[str, tuple[float, float]]
    """95 % limits of the accuracies, κ and macro-F1: percentiles of a bootstrap of units, which held the truth in 91 to
    95 % of simulations with 60 to 550 images of five grades. NaN for less than `FEWEST` units, or where less than
    `APART` of them are wrong, or right."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON knows it; NaN becomes null."""
        found: dict[str, Any] = _with(asdict(self), _null)
        return found

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Self:
        """Raises `ValueError` for what `to_json` does not give."""
        try:
            told = {name: _with(content[name], _number) for name in cls.__dataclass_fields__}
            bins = tuple(Bin(**b) for b in told["reliability"])
            return cls(**told | {"reliability": bins, "class_names": tuple(map(str, told["class_names"]))})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no evaluation: {type(error).__name__}: {error}") from error


def evaluate(
    probabilities: ArrayLike,
    labels: ArrayLike,
    class_names: Sequence[str],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> Evaluation:
    """Judge probabilities (N×C, rows that sum to 1) by labels (N, from 0). `clusters` names what belongs together, an
    entry per sample, None for a sample of its own.

    Raises `ValueError` for what does not fit.
    """
    p, y = _checked(probabilities, labels, class_names)
    predicted = p.argmax(1)
    classes, units = p.shape[1], _units(clusters, len(y))
    confusion = _confusion(y, predicted, classes)
    right = predicted == y
    true, chosen, given = np.diag(confusion), confusion.sum(0), confusion.sum(1)
    ece, reliability = _calibration(p.max(1), right)
    headlines = _headlines(confusion)
    return Evaluation(
        n=len(y),
        units=int(units.max()) + 1,
        class_names=tuple(map(str, class_names)),
        **dict(zip(HEADLINES, headlines, strict=True)),
        precision=_floats(_share(true, chosen)),
        recall=_floats(_share(true, given)),
        f1=_floats(_share(2 * true, chosen + given)),
        support=tuple(map(int, given)),
        confusion=tuple(tuple(map(int, row)) for row in confusion),
        ece=ece,
        reliability=reliability,
        intervals=_intervals(y, predicted, units, classes, seed),
    )


def _checked(probabilities: ArrayLike, labels: ArrayLike, names: Sequence[str]) -> tuple[Floats, NDArray[np.int64]]:
    p, y = np.asarray(probabilities, float), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] != len(names) or len(names) < 2:
        raise ValueError(f"expected probabilities N×C for {len(names)} class names, got shape {p.shape}")
    if y.shape != (len(p),) or not len(p) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"expected a whole number for each of {len(p)} samples as labels, got {y.dtype} {y.shape}")
    if y.min() < 0 or y.max() >= len(names):
        raise ValueError(f"labels are from 0 to {len(names) - 1}, got {y.min()} to {y.max()}")
    if not (np.isfinite(p).all() and (p >= 0).all() and np.allclose(p.sum(1), 1, atol=1e-3)):
        raise ValueError("expected probabilities, rows that are not negative and sum to 1")
    return p, y.astype(np.int64)


def _units(clusters: Sequence[Hashable] | None, n: int) -> NDArray[np.int64]:
    """The number of each sample's unit."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"expected a cluster for each of {n} samples, got {len(clusters)}")
    known: dict[Hashable, int] = {}
    own = ((index,) if cluster is None else cluster for index, cluster in enumerate(clusters))
    return np.array([known.setdefault(unit, len(known)) for unit in own])


def _confusion(y: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Any = None) -> NDArray[Any]:
    return np.bincount(y * classes + predicted, weights, classes**2).reshape(classes, classes)


def _headlines(confusion: NDArray[Any]) -> tuple[float, float, float, float]:
    """Accuracy, balanced accuracy, quadratic κ and macro-F1."""
    n, true, chosen, given = confusion.sum(), np.diag(confusion), confusion.sum(0), confusion.sum(1)
    place = np.arange(len(confusion))
    apart = (place[:, None] - place) ** 2
    by_chance = given @ apart @ chosen / n
    kappa = 1 - (apart * confusion).sum() / by_chance if by_chance else np.nan
    recall, f1 = _share(true, given), _share(2 * true, chosen + given)
    return float(true.sum() / n), float(np.nanmean(recall)), float(kappa), float(np.nanmean(f1))


def _share(part: NDArray[Any], whole: NDArray[Any]) -> Floats:
    found: Floats = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return found


def _calibration(confidence: Floats, right: NDArray[np.bool_]) -> tuple[float, tuple[Bin, ...]]:
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence) - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sure, correct = (_share(np.bincount(places, values, BINS), counts) for values in (confidence, right))
    ece = np.nansum(counts * np.abs(correct - sure)) / len(right)
    return float(ece), tuple(
        map(Bin, *map(_floats, (edges[:-1], edges[1:])), map(int, counts), *map(_floats, (sure, correct)))
    )


def _intervals(
    y: NDArray[np.int64], predicted: NDArray[np.int64], units: NDArray[np.int64], classes: int, seed: int
) -> dict[str, tuple[float, float]]:
    size = int(units.max()) + 1
    right = predicted == y
    held = [len(np.unique(units[which])) for which in (right, ~right)]
    if size < FEWEST or min(held) < APART:
        return dict.fromkeys(HEADLINES, (np.nan, np.nan))
    drawn = [_headlines(_confusion(y, predicted, classes, times[units])) for times in resamples(size, seed).T]
    limits = np.nanquantile(drawn, [0.025, 0.975], axis=0).T
    return {name: (float(low), float(high)) for name, (low, high) in zip(HEADLINES, limits, strict=True)}


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(map(float, values))


def _with(value: Any, change: Any) -> Any:
    """A value of mappings and sequences with every number in it changed."""
    if isinstance(value, Mapping):
        return {str(key): _with(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_with(each, change) for each in value)
    return change(value)


def _null(value: Any) -> Any:
    return None if isinstance(value, float) and np.isnan(value) else value


def _number(value: Any) -> Any:
    return np.nan if value is None else value
