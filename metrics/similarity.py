"""How alike two maps of the same image are.

Each function takes two stacks of B maps of the same size (B×H×W) and gives B values in float64; those in the plural
take any number of stacks, and `pearson` any two series. A constant map, or one with NaN, is like nothing: the value is
NaN. None of them changes where a map is multiplied by a positive number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor

from camfaith.models.maps import is_constant, normalise

WINDOW = 11
"""The side of the window of `ssim`, in pixels."""
_SIGMA = 1.5
_C1, _C2 = 0.01**2, 0.03**2


def pearson(a: Tensor, b: Tensor, noise: Tensor | float = 0.0) -> Tensor:
    """Pearson's correlation of the numbers along the last axis, in [−1, 1]; 1 where both rise alike (Pearson 1895).

    r = Σ (a − ā)(b − b̄) / √(Σ (a − ā)² Σ (b − b̄)²). NaN where either does not vary beyond the rounding of double
    precision, or b not beyond `noise`, a standard deviation.

    >>> pearson(torch.tensor([0, 1, 2]), torch.tensor([0, 20, 10]))
    tensor(0.5000, dtype=torch.float64)
    """
    (a, scale_a), (b, scale_b) = ((x.double(), x.double().abs().amax(-1)) for x in (a, b))
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    size_a, size_b = a.norm(dim=-1), b.norm(dim=-1)
    flat = (size_a <= 1e-9 * scale_a) | (size_b <= 1e-9 * scale_b) | (size_b <= noise * b.shape[-1] ** 0.5)
    return torch.where(flat, torch.nan, (a * b).sum(-1) / (size_a * size_b).clamp(min=torch.finfo(a.dtype).tiny))


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation over the pixels, in [−1, 1]; 1 where both order them alike.

    It is `pearson` of the pixels' ranks in a and b; equal values share the mean of their ranks (Spearman 1904). Raises
    `ValueError` for stacks of different shapes.

    >>> spearman(torch.tensor([[[0, 1], [2, 3]]]), torch.tensor([[[0, 10], [200, 100]]]))
    tensor([0.8000], dtype=torch.float64)
    """
    _require_alike(a, b)
    return spearmans(torch.stack([a, b]))[0, 1]


def spearmans(maps: Tensor) -> Tensor:
    """`spearman` of every two of M stacks of B maps (M×B×H×W): M×M×B. Each map is ranked once."""
    stacks, count = maps.shape[:2]
    ranks = mean_ranks(maps.flatten(0, 1)).view(stacks, count, -1)
    ranks -= ranks.mean(2, keepdim=True)
    length, undefined = ranks.norm(dim=2), _says_nothing(maps)
    rho = torch.einsum("mbn,kbn->mkb", ranks, ranks) / (length[:, None] * length)
    return torch.where(undefined[:, None] | undefined, torch.nan, rho)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """The mean structural similarity of two maps as they are displayed, each stretched to [0, 1]; in [−1, 1], 1 where
    they are equal (Wang et al. 2004).

    SSIM = (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂)), with C₁ = 0.01², C₂ = 0.03², means,
    variances and covariance by a Gaussian window of 11×11 pixels (σ = 1.5); the mean is over all windows that lie
    within the maps. NaN for maps smaller than the window. Raises `ValueError` for stacks of different shapes.

    >>> ramp = torch.arange(121).view(1, 11, 11)
    >>> ssim(ramp, 2 * ramp), ssim(ramp, ramp.flip(1)) < 0
    (tensor([1.], dtype=torch.float64), tensor([True]))
    """
    _require_alike(a, b)
    return ssims(torch.stack([a, b]))[0, 1]


def ssims(maps: Tensor) -> Tensor:
    """`ssim` of every two of M stacks of B maps (M×B×H×W): M×M×B. Each map's means and variances are taken once."""
    if min(maps.shape[2:]) < WINDOW:
        return maps.new_full((len(maps), *maps.shape[:2]), torch.nan, dtype=torch.float64)
    shown = normalise(maps.to(torch.float64))
    means = [_smooth(each) for each in shown]
    variances = [_smooth(each * each) - mean**2 for each, mean in zip(shown, means, strict=True)]

    def of(m: int, k: int) -> Tensor:
        covariance = _smooth(shown[m] * shown[k]) - means[m] * means[k]
        light = (2 * means[m] * means[k] + _C1) / (means[m] ** 2 + means[k] ** 2 + _C1)
        structure = (2 * covariance + _C2) / (variances[m] + variances[k] + _C2)
        return (light * structure).mean((1, 2))

    return _every_two(maps, of)


def top_k(a: Tensor, b: Tensor, share: float = 0.1) -> Tensor:
    """Intersection over union of the k highest pixels of both maps, in [0, 1]; 1 where these are the same, k is `share`
    of the pixels, at least 1 (Jaccard 1912).

    IoU = Σ_i min(p_i, q_i) / Σ_i max(p_i, q_i), with p_i = 1 for pixels of a above the k-th highest value, 0 for
    those below; pixels that tie for the last places share them, so that Σ p = k; q is the same of b. Raises
    `ValueError` for stacks of different shapes, and a `share` outside (0, 1).

    >>> top_k(torch.tensor([[[4, 3], [2, 1]]]), torch.tensor([[[4, 2], [3, 1]]]), share=0.5)
    tensor([0.3333], dtype=torch.float64)
    """
    _require_alike(a, b)
    return top_ks(torch.stack([a, b]), share)[0, 1]


def top_ks(maps: Tensor, share: float = 0.1) -> Tensor:
    """`top_k` of every two of M stacks of B maps (M×B×H×W): M×M×B. Each map's highest pixels are looked up once."""
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    p = [top(each, share) for each in maps]
    return _every_two(maps, lambda m, k: torch.minimum(p[m], p[k]).sum((1, 2)) / torch.maximum(p[m], p[k]).sum((1, 2)))


def mass_moved(a: Tensor, b: Tensor) -> Tensor:
    """The share of a map's mass that lies elsewhere in the other, ½ Σ_i |a_i/Σ|a| − b_i/Σ|b||, in [0, 1]; 0 where both
    are the same but for a positive factor (of masses: the total variation distance). NaN only where a map is zero, or
    holds NaN: a constant map has its mass everywhere. Raises `ValueError` for stacks of different shapes.

    >>> mass_moved(torch.tensor([[[3, 1], [0, 0]]]), torch.tensor([[[2, 1], [1, 0]]]))
    tensor([0.2500], dtype=torch.float64)
    """
    _require_alike(a, b)
    a, b = (maps.double() / maps.double().abs().sum((1, 2), keepdim=True) for maps in (a, b))  # 0/0 is NaN
    return (a - b).abs().sum((1, 2)) / 2


def top(maps: Tensor, share: float) -> Tensor:
    """How far each pixel is among the k highest of its map (B×H×W, float64, in [0, 1]): they add up to k."""
    flat = maps.flatten(1)
    k = max(1, round(share * flat.shape[1]))
    return _above(flat, flat.topk(k, dim=1).values[:, -1:], k).view(maps.shape)


def leading(maps: Tensor, counts: Tensor) -> Tensor:
    """The same as `top`, with a k of its own for each map (`counts`: B, each at least 1)."""
    flat, k = maps.flatten(1), counts[:, None]
    return _above(flat, flat.sort(1, descending=True).values.gather(1, k - 1), k).view(maps.shape)


def _above(flat: Tensor, last: Tensor, k: Tensor | int) -> Tensor:
    """Pixels above the k-th highest value `last` (B×1) count 1, those that tie for the last places share them."""
    above, tied = (flat > last).to(torch.float64), (flat == last).to(torch.float64)
    places = (k - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True)
    return above + tied * places


def _every_two(maps: Tensor, of: Callable[[int, int], Tensor]) -> Tensor:
    """`of(m, k)` for every two of M stacks, the same both ways, and 1 of one with itself (M×M×B); NaN where a map is
    like nothing."""
    found = torch.ones(len(maps), *maps.shape[:2], dtype=torch.float64, device=maps.device)
    for m, k in combinations(range(len(maps)), 2):
        found[m, k] = found[k, m] = of(m, k)
    undefined = _says_nothing(maps)
    return torch.where(undefined[:, None] | undefined, torch.nan, found)


def _require_alike(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape or a.ndim != 3:
        shapes = " and ".join("×".join(map(str, maps.shape)) for maps in (a, b))
        raise ValueError(f"expected two stacks of maps of the same shape B×H×W, got {shapes}")


def _says_nothing(maps: Tensor) -> Tensor:
    """Which of M×B maps are constant, or not finite (M×B, bool)."""
    return is_constant(maps) | ~maps.flatten(2).isfinite().all(2)


def mean_ranks(maps: Tensor) -> Tensor:
    """Each pixel's rank in its map, 0 for the lowest, equal ones at the mean of their ranks (B×N, float64)."""
    values, order = maps.flatten(1).sort(1)
    group = torch.zeros_like(order)
    group[:, 1:] = (values[:, 1:] != values[:, :-1]).cumsum(1)
    none = torch.zeros_like(values, dtype=torch.float64)
    places = torch.arange(values.shape[1], dtype=torch.float64, device=maps.device).expand_as(order)
    mean = none.scatter_add(1, group, places) / none.scatter_add(1, group, torch.ones_like(none))
    return none.scatter(1, order, mean.gather(1, group))


def _smooth(maps: Tensor) -> Tensor:
    """The weighted mean in every window that lies within the maps (B×(H−10)×(W−10))."""
    weights = [math.exp(-((step - WINDOW // 2) ** 2) / (2 * _SIGMA**2)) for step in range(WINDOW)]
    for side in (1, 2):
        size = maps.shape[side] - WINDOW + 1
        smooth = torch.zeros_like(maps.narrow(side, 0, size))
        for step, weight in enumerate(weights):  # in double precision ten times as fast as a convolution
            smooth.add_(maps.narrow(side, step, size), alpha=weight / sum(weights))
        maps = smooth
    return maps
