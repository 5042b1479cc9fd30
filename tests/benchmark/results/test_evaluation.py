"""An evaluation's numbers against scikit-learn's and torchmetrics', by hand where those differ, and its intervals."""

import json
import math
from dataclasses import astuple

import numpy as np
import pytest
import torch
from sklearn import metrics
from torchmetrics.classification import MulticlassCalibrationError

from camfaith.benchmark.results.evaluation import Evaluation, evaluate

NAMES = tuple("abcde")


def drawn(n=400, seed=0, classes=5):
    """Probabilities that know something of the labels, of which the last class has few."""
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, n, p=[0.5, 0.2, 0.15, 0.1, 0.05])
    z = rng.normal(size=(n, classes)) + 2 * np.eye(classes)[np.where(rng.random(n) < 0.8, y, (y + 1) % classes)]
    return np.exp(z) / np.exp(z).sum(1, keepdims=True), y


def test_every_number_is_scikit_learns_and_the_calibration_error_torchmetrics():
    p, y = drawn()
    guess, found = p.argmax(1), evaluate(p, y, NAMES)
    assert found.n == found.units == 400
    assert found.accuracy == pytest.approx(metrics.accuracy_score(y, guess))
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(y, guess))
    assert found.kappa == pytest.approx(metrics.cohen_kappa_score(y, guess, weights="quadratic"))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(y, guess, average="macro"))
    theirs = metrics.precision_recall_fscore_support(y, guess)
    for ours, wanted in zip((found.precision, found.recall, found.f1, found.support), theirs, strict=True):
        np.testing.assert_allclose(ours, wanted)
    np.testing.assert_array_equal(found.confusion, metrics.confusion_matrix(y, guess))
    error = MulticlassCalibrationError(5, n_bins=15, norm="l1")(torch.from_numpy(p), torch.from_numpy(y))
    assert found.ece == pytest.approx(float(error), abs=1e-6)


def test_calibration_by_hand():
    """Of four samples in (0.6, 0.667] and one surest of all, half and all are right."""
    p = [[0.62, 0.38]] * 2 + [[0.38, 0.62]] * 2 + [[1.0, 0.0]]
    found = evaluate(p, [0, 1, 1, 0, 0], ("a", "b"))
    assert found.ece == pytest.approx(4 / 5 * 0.12)
    held = [bin for bin in found.reliability if bin.count]
    assert [astuple(bin) for bin in held] == [
        pytest.approx((9 / 15, 10 / 15, 4, 0.62, 0.5)),
        pytest.approx((14 / 15, 1, 1, 1, 1)),
    ]


def test_a_class_that_is_never_there_has_no_share_and_is_in_no_mean():
    """Nobody is, or is taken for, c; nobody is taken for b, whose precision is 0/0 and whose F1 is 0."""
    found = evaluate([[0.8, 0.1, 0.1]] * 4, [0, 0, 0, 1], NAMES[:3])
    nan = math.nan
    np.testing.assert_equal([found.precision, found.recall, found.f1], [(0.75, nan, nan), (1, 0, nan), (6 / 7, 0, nan)])
    assert found.balanced_accuracy == 0.5
    assert found.macro_f1 == pytest.approx(3 / 7)
    assert found.kappa == 0
    assert math.isnan(evaluate([[0.8, 0.2]] * 4, [0] * 4, NAMES[:2]).kappa)


def test_intervals_are_a_bootstrap_of_whole_clusters():
    """Against one written out: clusters drawn, their samples put together. Three alike in each cluster make intervals
    √3 as wide as those of samples each for itself."""
    p, y = (np.repeat(each, 3, 0) for each in drawn(60))
    guess, clusters = p.argmax(1), [f"eye {index // 3}" for index in range(180)]
    found = evaluate(p, y, NAMES, clusters, seed=3)
    rng, accuracy, kappa, f1 = np.random.default_rng(8), [], [], []
    for _ in range(400):
        own = np.concatenate([np.arange(3 * one, 3 * one + 3) for one in rng.integers(60, size=60)])
        accuracy.append((y[own] == guess[own]).mean())
        kappa.append(metrics.cohen_kappa_score(y[own], guess[own], weights="quadratic", labels=range(5)))
        f1.append(metrics.f1_score(y[own], guess[own], average="macro"))
    for name, values in {"accuracy": accuracy, "kappa": kappa, "macro_f1": f1}.items():
        np.testing.assert_allclose(found.intervals[name], np.quantile(values, [0.025, 0.975]), atol=0.05)
    alone = evaluate(p, y, NAMES, [None] * 180)
    wide, narrow = (np.diff(e.intervals["accuracy"])[0] for e in (found, alone))
    assert wide / narrow == pytest.approx(3**0.5, rel=0.15)
    assert (found.units, alone.units) == (60, 180)
    assert evaluate(p, y, NAMES, clusters, seed=3).intervals == found.intervals


@pytest.mark.parametrize(("n", "wrong", "known"), [(7, 3, False), (40, 2, False), (40, 38, False), (40, 3, True)])
def test_too_few_mistakes_leave_the_interval_open(n, wrong, known):
    y = np.arange(n) % 2
    guess = np.where(np.arange(n) < wrong, 1 - y, y)
    limits = evaluate(np.eye(2)[guess], y, NAMES[:2]).intervals
    assert [not math.isnan(limit) for pair in limits.values() for limit in pair] == [known] * 8


def test_an_evaluation_read_back_is_the_same():
    p, y = drawn(30)
    found = evaluate(p, y, NAMES, list(range(30)))
    text = json.dumps(found.to_json(), allow_nan=False)
    assert repr(Evaluation.of_json(json.loads(text))) == repr(found)
    with pytest.raises(ValueError, match="this is no evaluation: KeyError: 'units'"):
        Evaluation.of_json({"n": 3})


@pytest.mark.parametrize(
    ("p", "y", "names", "clusters", "words"),
    [
        ([[0.5, 0.5]], [0], NAMES[:3], None, r"N×C for 3 class names, got shape \(1, 2\)"),
        ([0.5, 0.5], [0, 1], NAMES[:2], None, r"got shape \(2,\)"),
        ([[0.5, 0.5]], [0, 1], NAMES[:2], None, "a whole number for each of 1 samples"),
        ([[0.5, 0.5]], [0.0], NAMES[:2], None, "a whole number for each of 1 samples as labels, got float64"),
        (np.empty((0, 2)), np.empty(0, int), NAMES[:2], None, "for each of 0 samples"),
        ([[0.5, 0.5]], [2], NAMES[:2], None, "labels are from 0 to 1, got 2 to 2"),
        ([[0.5, 0.5]], [-1], NAMES[:2], None, "labels are from 0 to 1, got -1"),
        ([[2.0, -1.0]], [0], NAMES[:2], None, "not negative and sum to 1"),
        ([[math.nan, 1.0]], [0], NAMES[:2], None, "not negative and sum to 1"),
        ([[0.9, 0.9]], [0], NAMES[:2], None, "not negative and sum to 1"),
        ([[0.5, 0.5]], [0], NAMES[:2], ["a", "b"], "a cluster for each of 1 samples, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(p, y, names, clusters, words):
    with pytest.raises(ValueError, match=words):
        evaluate(p, y, names, clusters)
