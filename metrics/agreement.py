"""Do methods say the same of an image? Not whether they are right: methods may agree on what no network looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.metrics.similarity import spearmans


def agreement(maps: Tensor, others: Sequence[bool]) -> dict[str, Tensor]:
    """How alike the map of each of M methods is to those of the others (disagreement of explanations: Krishna et al.
    2022; own definition). `maps` are M×B×H×W, and `others` (M) says whom one is compared with. With ρ_mk Spearman's
    rank correlation of the maps of methods m and k, and K the methods k ≠ m of `others` for which it is defined,
    columns (M×B) that describe:

    - `spearman`: Σ_{k ∈ K} ρ_mk / |K|, in [−1, 1], NaN where K is empty
    - `nearest`: max_{k ∈ K} ρ_mk, in [−1, 1], NaN where K is empty
    - `others`: |K|, which is 0 for a map that is constant or holds NaN

    >>> maps = torch.tensor([[[[1.0, 2], [3, 4]]], [[[1.0, 2], [4, 3]]], [[[4.0, 3], [2, 1]]]])  # of one image
    >>> found = agreement(maps, [True, True, False])
    >>> found["spearman"].flatten()
    tensor([ 0.8000,  0.8000, -0.9000], dtype=torch.float64)
    >>> found["nearest"].flatten()
    tensor([ 0.8000,  0.8000, -0.8000], dtype=torch.float64)
    >>> found["others"].flatten()
    tensor([1., 1., 2.], dtype=torch.float64)
    """
    # Image by image: ranks take ten times the memory of the maps.
    rho = torch.cat([spearmans(image) for image in torch.split(maps, 1, dim=1)], dim=2)
    compared = torch.tensor(others, device=maps.device) & ~torch.eye(len(maps), dtype=torch.bool, device=maps.device)
    rho[~compared] = torch.nan
    count = (~rho.isnan()).sum(1).double()
    nearest = rho.nan_to_num(-torch.inf).amax(1)
    return {
        "spearman": rho.nansum(1) / count,  # 0/0 is NaN
        "nearest": torch.where(count > 0, nearest, torch.nan),
        "others": count,
    }


@dataclass(frozen=True, kw_only=True)
class SpearmanAgreement(Metric):
    """How alike a method's map is to those of the other methods that are judged with it, but for controls, by
    Spearman's rank correlation of the saliency maps at the image's size (own definition; Krishna et al. 2022 on
    disagreement):

    - `spearman`: the mean correlation, in [−1, 1]
    - `nearest`: the highest correlation with any of them, in [−1, 1]; 1 where another method orders the pixels alike
    - `others`: how many they are

    They describe: methods that agree may all be wrong, and the one that disagrees may be right, so no direction is
    better. A control is compared with the methods, and none with it. Another method whose map of the image is constant,
    or is missing, is left out. Needs no model.
    """

    name = "spearman-agreement"
    main = "spearman"
    better = {}
    range = {"spearman": (-1, 1), "nearest": (-1, 1), "others": (0, torch.inf)}
    undefined = "the map is constant, or no other method has a map that varies"

    def judge_all(
        self, case: Case, maps: Mapping[str, Maps], answers: Mapping[str, Answers]
    ) -> dict[str, dict[str, Tensor]]:
        columns = agreement(
            torch.stack([of.saliency for of in maps.values()]), [not of.control for of in maps.values()]
        )
        return {method: {name: values[at] for name, values in columns.items()} for at, method in enumerate(maps)}
