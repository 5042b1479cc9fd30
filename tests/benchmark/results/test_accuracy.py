"""A run tells how well its networks know the classes, and where they only guess."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from camfaith.benchmark.results.accuracy import accuracies, doubts


def pictures(labels, predictions, classes=3, scale=2.0):
    logits = [list(scale * np.eye(classes)[prediction]) for prediction in predictions]
    return pd.DataFrame({"model": "net", "dataset": "data", "label": labels, "logits": logits})


@pytest.mark.parametrize(
    ("labels", "predictions", "accuracy", "balanced", "at_chance"),
    [
        ([0] * 9 + [1, None], [0] * 11, 0.9, 0.5, False),
        ([0, 1, 2] * 4, [0, 1, 2] * 4, 1.0, 1.0, False),
        ([0, 1, 2] * 4, [1, 2, 0] * 4, 0.0, 0.0, True),
        ([0, 1, 2] * 4, [0] * 12, 1 / 3, 1 / 3, True),
        ([0, 1, 2], [1, 2, 0], 0.0, 0.0, False),
    ],
    ids=["balance", "all right", "all wrong", "one class", "too few to tell"],
)
def test_accuracy_is_that_of_the_labelled_images(labels, predictions, accuracy, balanced, at_chance):
    (row,) = accuracies(pictures(labels, predictions), {}).to_dict("records")
    assert row["n"] == len([label for label in labels if label is not None])
    assert row["accuracy"] == pytest.approx(accuracy)
    assert row["balanced_accuracy"] == pytest.approx(balanced)
    assert row["confidence"] == pytest.approx(np.exp(2) / (np.exp(2) + 2))
    assert row["at_chance"] == at_chance


def test_a_network_that_guesses_is_doubted_with_the_usual_cause():
    info = {"models": [{"name": "net", "mean": None}]}
    found = accuracies(pictures([0, 1, 2] * 4, [0] * 12), info)
    assert doubts(found, info)[0].startswith(
        "net on data: accuracy 0.333 over 12 images is not shown to be better than guessing among 3 classes; the"
    )
    (other,) = doubts(found, {"models": [{"name": "net", "mean": [0.5] * 3}]})
    assert "order of its classes" in other


def test_labels_that_mean_nothing_to_the_model_are_no_accuracy():
    strange = {"engine": [{"model": "net", "dataset": "data", "labels_fit": False}]}
    assert accuracies(pictures([0] * 9, [0] * 9), strange).empty
