"""What a run holds of every sample, against values worked out by hand and by peers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from skimage.transform import resize

from camfaith.benchmark.claims.declaration import Quantity, Scope
from camfaith.benchmark.claims.quantities import NotMeasured, Quantities

N = 12
DRAWN = np.random.default_rng(0)
SCORES = {
    (model, method, metric, column): DRAWN.normal(size=N)
    for model in ("net", "vgg")
    for method in ("a", "b", "c")
    for metric, column in (("mass", "share"), ("mass", "peak"), ("lesions", "objects"), ("diagnostics", "eps"))
}
MAPS = {(model, method): DRAWN.normal(size=(N, 6, 6)) for model in ("net", "vgg") for method in ("a", "b", "c")}


def of(result, model="net", **keys):
    return Quantities(result).values(Quantity(**keys), model, "skin").to_numpy()


def test_a_metric_is_its_column_of_a_method_or_the_mean_over_methods_of_a_model(plant):
    run = plant(SCORES)
    np.testing.assert_equal(of(run, metric="mass", method="b"), SCORES["net", "b", "mass", "share"])
    np.testing.assert_equal(
        of(run, metric="mass", column="peak", method="b", model="vgg"), SCORES["vgg", "b", "mass", "peak"]
    )
    np.testing.assert_equal(
        of(run, metric="diagnostics", column="eps", method="a"), SCORES["net", "a", "diagnostics", "eps"]
    )
    mean = np.mean([SCORES["net", m, "mass", "share"] for m in "abc"], axis=0)
    np.testing.assert_allclose(of(run, metric="mass", methods=("a", "b", "c")), mean, rtol=1e-15)


def test_similarity_is_the_mean_over_pairs_of_maps_as_they_are_meant_at_the_images_size(plant):
    def grown(model, method, i):
        raw = MAPS[model, method][i].astype("f4")
        raw = np.maximum(raw, 0) if method == "b" else raw
        return resize(raw.astype(float), (24, 24), order=1, mode="edge", anti_aliasing=False)

    run = plant(SCORES, maps=MAPS, rectified=["b"])
    for keys, pairs in (({"methods": ("a", "b")}, ["ab"]), ({"methods": ("a", "b", "c")}, ["ab", "ac", "bc"])):
        expected = [
            np.mean([spearmanr(grown("net", p, i).ravel(), grown("net", q, i).ravel())[0] for p, q in pairs])
            for i in range(N)
        ]
        np.testing.assert_allclose(of(run, similarity="spearman", **keys), expected, atol=2e-3)
    for which in ("ssim", "top-k"):
        alike = of(run, similarity=which, methods=("a", "c"))
        np.testing.assert_allclose(alike, of(run, similarity=which, methods=("c", "a")))
        assert (alike < 0.9).all()


def test_costs_and_predictions(plant):
    right, confidence = np.arange(N) % 3 > 0, np.linspace(0.5, 0.9, N)
    costs = {("net", "a"): np.full(N, 2.0), ("net", "b"): np.arange(N)}
    run = plant(SCORES, costs=costs, right=right, confidence=confidence)
    np.testing.assert_equal(of(run, cost="forwards", method="a"), 2)
    np.testing.assert_equal(of(run, cost="forwards", methods=("a", "b")), (2 + np.arange(N)) / 2)
    np.testing.assert_equal(of(run, prediction="correct"), right)
    np.testing.assert_allclose(of(run, prediction="confidence"), confidence)


def test_a_scope_is_a_class_and_a_range_of_another_quantity(plant):
    target = np.arange(N) % 3
    found = Quantities(plant(SCORES, target=target))
    where = {"metric": "lesions", "column": "objects", "method": "a", "at_least": -0.5, "at_most": 0.5}
    both = found.within(Scope(target="mel", where=where), "net", "skin")
    objects = SCORES["net", "a", "lesions", "objects"]
    kept = np.flatnonzero((target == 1) & (objects >= -0.5) & (objects <= 0.5))
    assert list(both.index) == [f"s{i:03d}" for i in kept]
    assert len(found.within(Scope(target=2), "net", "skin")) == (target == 2).sum()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"metric": "mas", "method": "a"}, "unknown metric 'mas': did you mean 'mass'"),
        ({"metric": "mass", "method": "aa"}, "unknown method 'aa'"),
        ({"metric": "mass", "method": "a", "column": "top"}, "metric 'mass' has no column 'top'; it has share, peak"),
        ({"metric": "mass", "method": "a", "model": "vgg1"}, "unknown model 'vgg1': did you mean 'vgg'"),
        ({"prediction": "correct"}, "the labels of skin are not the classes that net predicts"),
    ],
)
def test_what_the_run_lacks_is_said(plant, keys, text):
    run = plant(SCORES, engine=[{"model": "net", "dataset": "skin", "labels_fit": False}])
    with pytest.raises(NotMeasured, match=text):
        of(run, **keys)
    with pytest.raises(NotMeasured, match="unknown class of net 'melanoma'"):
        Quantities(run).within(Scope(target="melanoma"), "net", "skin")
