"""How well a run's networks tell the classes of its labelled samples: whether there is anything to explain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, softmax
from scipy.stats import binom

from camfaith.benchmark.results.intervals import FEWEST

COLUMNS = ("model", "dataset", "n", "classes", "accuracy", "balanced_accuracy", "confidence", "at_chance")


def accuracies(pictures: pd.DataFrame, info: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each model × data set that has labels: accuracy, the mean over classes of the accuracy within each
    (balanced), and the mean confidence. `at_chance`: a guess among all classes is right as often, or more often, with
    a probability above 0.05 (one-sided binomial test; False below `FEWEST` samples).

    `pictures` has each sample's label and logits. Where the names of a data set's classes are not the model's, its
    labels mean nothing to the model, and there is no row.
    """
    heads = {model["name"]: model.get("head", "softmax") for model in info.get("models", ())}
    strange = strangers(info)
    rows = []
    groups: Any = pictures[pictures["label"].notna()].groupby(["model", "dataset"], sort=False)
    for place, found in groups:
        if place in strange:
            continue
        logits, label = np.stack(found["logits"].to_list()), found["label"].to_numpy(int)
        prediction, confidence = predicted(logits, heads.get(place[0], "softmax"))
        right, classes = prediction == label, logits.shape[1]
        balanced = np.mean([right[label == one].mean() for one in np.unique(label)])
        chance = len(right) >= FEWEST and binom.sf(right.sum() - 1, len(right), 1 / classes) > 0.05
        rows.append((*place, len(right), classes, right.mean(), balanced, confidence.mean(), bool(chance)))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def strangers(info: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Models with the data sets whose classes are not theirs."""
    return {(e["model"], e["dataset"]) for e in info.get("engine", ()) if not e.get("labels_fit", True)}


def predicted(logits: NDArray[np.floating], head: str) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """The class that a network takes each image (B×C) for, and the probability that its head gives it; NaN for a head
    of somebody's own."""
    chosen: NDArray[np.int64] = logits.argmax(1)
    if head in ("softmax", "ordinal"):
        return chosen, softmax(logits, 1).max(1)
    return chosen, expit(logits.max(1)) if head in ("sigmoid", "binary") else np.full(len(logits), np.nan)


def in_words(row: Mapping[Any, Any]) -> str:
    """A row of `accuracies` in one line."""
    shares = f"accuracy {row['accuracy']:.3f} (balanced {row['balanced_accuracy']:.3f})"
    if row["confidence"] == row["confidence"]:
        shares += f", mean confidence {row['confidence']:.3f}"
    return f"{row['model']} on {row['dataset']}: {shares}, over {row['n']} labelled images"


def doubts(accuracy: pd.DataFrame, info: Mapping[str, Any]) -> list[str]:
    """What to look at where a network is not shown to do better than chance."""
    bare = {model["name"] for model in info.get("models", ()) if model.get("mean") is None}
    found = []
    for row in accuracy[accuracy["at_chance"]].to_dict("records"):
        text = f"{row['model']} on {row['dataset']}: accuracy {row['accuracy']:.3f} over {row['n']} images is "
        text += f"not shown to be better than guessing among {row['classes']} classes; "
        if row["model"] in bare:
            text += "the model has no mean and std, the usual cause: give those that it was trained with"
        else:
            text += "look at the order of its classes, its weights, and its mean and std"
        found.append(f"{text}. What follows may explain guesses")
    return found
