"""What a metric makes of maps that are unlike others: tied, constant, signed, in other units, or none at all. Each
check raises `Broken` if a metric fails it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.networks import colour_reader
from camfaith.benchmark.conformance.of_metrics.candidate import EQUAL, Candidate, Columns, must_equal
from camfaith.benchmark.conformance.of_metrics.scenes import DARK, Scene, noise, truth
from camfaith.benchmark.conformance.trials import Trial
from camfaith.models.errors import NotApplicable

_TINY = 2.0**-20
"""A factor that rounds nothing."""


def ties(candidate: Candidate, trial: Trial) -> None:
    """Where pixels tie, no side is favoured: over many seeds the values are those of the scene turned upside down, or
    those of maps whose ties are broken by noise."""
    even = (torch.arange(trial.width) % 2).double().expand(trial.batch, trial.height, -1)
    source = torch.Generator().manual_seed(trial.seed)
    for maps in (1 + even, torch.ones_like(even)):
        scene = replace(_two_halves(trial), maps=maps)
        tied, turned = candidate.judged(scene), candidate.judged(scene.turned())
        noisy = maps + 1e-7 * torch.rand(maps.shape, generator=source, dtype=torch.float64)
        broken = candidate.judged(replace(scene, maps=noisy))
        for column in candidate.columns:
            found = [values[column] for values in (tied, turned, broken)]
            if bool(found[0].isnan().any()):
                continue  # it has no value for such a map, and says so
            if all(_apart(found[0], other) for other in found[1:]):
                means = [float(values.mean()) for values in found]
                raise Broken("{!r} is {:.3g} on average, {:.3g} turned, {:.3g} by noise".format(column, *means))


def _two_halves(trial: Trial) -> Scene:
    """One image, once for each of many seeds: its upper left half speaks for the class, its lower right against it."""
    high, wide = trial.height, trial.width
    upper = (torch.arange(high) / high)[:, None] + torch.arange(wide) / wide < 1
    images = torch.zeros(trial.batch, 3, high, wide, dtype=torch.float64)
    images[:, 0], images[:, 2] = torch.where(upper, 1.0, 0), torch.where(upper, 0, 0.9)
    return replace(
        truth(replace(trial, batch=1)).select([0] * trial.batch),
        network=colour_reader(threshold=DARK, weight=20, against=20),
        images=images,
        targets=torch.zeros(trial.batch, dtype=torch.long),
        seeds=torch.arange(trial.batch),
    )


def _apart(a: Tensor, b: Tensor) -> bool:
    """Whether the means differ by far more than chance."""
    chance = ((a.var() + b.var()) / len(a)).sqrt()
    gap, scale = (a.mean() - b.mean()).abs(), a.mean().abs().clamp(min=1)
    return bool(gap > 5 * chance + 1e-3 * scale)


def zero_map(candidate: Candidate, trial: Trial) -> None:
    """A zero map gets a number that is no better than both the true map's and its opposite's, or NaN."""
    _degenerate(candidate, trial, 0)


def constant_map(candidate: Candidate, trial: Trial) -> None:
    """The same holds for a map that is constant and above zero."""
    _degenerate(candidate, trial, 1)


def _degenerate(candidate: Candidate, trial: Trial, value: float) -> None:
    scene = truth(trial)
    maps = (torch.full_like(scene.maps, value), scene.maps, -scene.maps)
    found, true, opposite = (candidate.judged(replace(scene, maps=each)) for each in maps)
    if infinite := [column for column, values in found.items() if bool(values.isinf().any())]:
        raise Broken(f"{infinite[0]!r} is infinite")
    for column, way in candidate.better.items():
        sign = 1 if way == "higher" else -1
        most = torch.fmax(sign * true[column], sign * opposite[column])
        if bool((sign * found[column] > most + 1e-6).any()):
            told = [f"{float(each[column][0]):.3g}" for each in (found, true, opposite)]
            raise Broken("{!r} is {}, and {} for the true map, {} for its opposite".format(column, *told))


def signed_map(candidate: Candidate, trial: Trial) -> None:
    """A map with values below zero, even one that adds up to zero, gets a value like another one's: nothing is divided
    by what may cancel out."""
    scene = noise(trial)
    maps = scene.maps - scene.maps.mean((1, 2), keepdim=True)
    usual: list[Columns] = [
        candidate.judged(replace(scene, maps=each)) for each in (maps.abs(), maps + 0.3, maps - 0.3)
    ]
    for near in (0, 1e-4):
        found = candidate.judged(replace(scene, maps=maps + near))
        for column, values in found.items():
            most = torch.stack([each[column].nan_to_num().abs() for each in usual]).amax(0).clamp(min=1)
            if bool((values.abs() > 100 * most).any()):
                raise Broken(f"{column!r} is {float(values.abs().nan_to_num().max()):.3g} where a map's mean is {near}")


def nan_map(candidate: Candidate, trial: Trial) -> None:
    """A map that holds NaN or an infinity is refused, in words, and gets no number."""
    for bad in (float("nan"), float("inf")):
        scene = noise(trial)
        scene.maps[-1, 0, 0] = bad
        try:
            candidate.judged(scene)
        except ValueError as error:
            if "NaN" not in str(error):
                raise Broken(f"the error does not say what is wrong: {error}") from None
        else:
            raise Broken(f"a map that holds {bad} is judged")


def scale(candidate: Candidate, trial: Trial) -> None:
    """A map in other units, four times as large or a millionth, gets the same values."""
    scene = noise(trial)
    expected = candidate.judged(scene)
    for factor in (4, _TINY):
        method = replace(scene.method, times=factor)
        added = None if scene.contributions is None else factor * scene.contributions
        found = candidate.judged(replace(scene, maps=factor * scene.maps, method=method, contributions=added))
        must_equal(found, expected, f"the map times {factor:.2g}, and the map")


def range(candidate: Candidate, trial: Trial) -> None:
    """Every column has a declared range, and its values lie there, whatever the map."""
    if not candidate.range:
        raise NotApplicable("it declares no range")
    if "score" in candidate.settings:
        raise NotApplicable("the range that it declares is that of its usual score")
    scene, true = noise(trial), truth(trial)
    maps = {"noise": scene.maps, "positive": scene.maps.abs(), "zero": 0 * scene.maps, "constant": 0 * scene.maps + 1}
    shown = {name: replace(scene, maps=each) for name, each in maps.items()}
    shown |= {"true": true, "inverted": replace(true, maps=-true.maps)}
    for name, each in shown.items():
        found = candidate.judged(each)
        for column, values in found.items():
            if column not in candidate.range:
                raise Broken(f"no range is declared for {column!r}")
            least, most = candidate.range[column]
            outside = (values < least - EQUAL) | (values > most + EQUAL)
            if bool(outside.any()):
                worst = values[outside][0]
                raise Broken(f"{column!r} of a map ({name}) is {float(worst):.6g}, outside of [{least}, {most}]")
