"""Do methods say the same of an image? Not whether they are right: methods may agree on what no network looks at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.metrics.similarity import WINDOW, spearmans, ssims, top_ks


def agreement(
    maps: Tensor, others: Sequence[bool], alike: Callable[[Tensor], Tensor] = spearmans, name: str = "spearman"
) -> dict[str, Tensor]:
    """How alike the map of each of M methods is to those of the others (disagreement of explanations: Krishna et al.
    2022; own definition). `maps` are M×B×H×W, and `others` (M) says whom one is compared with. `alike` says how alike
    every two of M stacks of maps are (M×M×B): `spearmans`, `ssims` or `top_ks`. With s_mk of methods m and k, and K the
    methods k ≠ m of `others` for which it is defined, columns (M×B) that describe:

    - `name`: Σ_{k ∈ K} s_mk / |K|, NaN where K is empty
    - `nearest`: max_{k ∈ K} s_mk, NaN where K is empty
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
    s = torch.cat([alike(image) for image in torch.split(maps, 1, dim=1)], dim=2)
    compared = torch.tensor(others, device=maps.device) & ~torch.eye(len(maps), dtype=torch.bool, device=maps.device)
    s[~compared] = torch.nan
    count = (~s.isnan()).sum(1).double()
    nearest = s.nan_to_num(-torch.inf).amax(1)
    return {
        name: s.nansum(1) / count,  # 0/0 is NaN
        "nearest": torch.where(count > 0, nearest, torch.nan),
        "others": count,
    }


class _Agreement(Metric):
    """What the metrics of agreement share: each compares maps in its own way, and names its main column after it."""

    better = {}
    undefined = "the map is constant, or no other method has a map that varies"

    def alike(self, maps: Tensor) -> Tensor:
        """How alike every two of M stacks of B maps are: M×M×B."""
        raise NotImplementedError

    def judge_all(
        self, case: Case, maps: Mapping[str, Maps], answers: Mapping[str, Answers]
    ) -> dict[str, dict[str, Tensor]]:
        stacks, others = torch.stack([of.saliency for of in maps.values()]), [not of.control for of in maps.values()]
        columns = agreement(stacks, others, self.alike, self.main)
        return {method: {name: values[at] for name, values in columns.items()} for at, method in enumerate(maps)}


@dataclass(frozen=True, kw_only=True)
class SpearmanAgreement(_Agreement):
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
    range = {"spearman": (-1, 1), "nearest": (-1, 1), "others": (0, inf)}

    def alike(self, maps: Tensor) -> Tensor:
        return spearmans(maps)


@dataclass(frozen=True, kw_only=True)
class SSIMAgreement(_Agreement):
    """How alike a method's map is to those of the other methods that are judged with it, but for controls, by the
    structural similarity of the saliency maps, stretched to [0, 1] each, at the image's size (own definition; Wang et
    al. 2004 on the similarity):

    - `ssim`: the mean similarity, in [−1, 1]
    - `nearest`: the highest similarity to any of them, in [−1, 1]; 1 where another method's map looks the same
    - `others`: how many they are

    They describe, as `spearman-agreement` does, with the same rules for controls and missing maps. Two maps that are
    flat in the same places are alike there: a few sharp peaks elsewhere count little. Needs no model.
    """

    name = "ssim-agreement"
    main = "ssim"
    range = {"ssim": (-1, 1), "nearest": (-1, 1), "others": (0, inf)}
    undefined = f"{_Agreement.undefined}; or the image is smaller than {WINDOW}×{WINDOW} pixels"

    def alike(self, maps: Tensor) -> Tensor:
        return ssims(maps)


@dataclass(frozen=True, kw_only=True)
class TopKAgreement(_Agreement):
    """How alike a method's map is to those of the other methods that are judged with it, but for controls, by the
    intersection over union of their highest pixels, a `share` of the image's (own definition; Krishna et al. 2022
    count the features that the top k of two explanations have in common):

    - `top_k`: the mean intersection over union, in [0, 1]
    - `nearest`: the highest with any of them, in [0, 1]; 1 where another method's highest pixels are the same
    - `others`: how many they are

    They describe, as `spearman-agreement` does, with the same rules for controls and missing maps. What lies below the
    highest pixels counts nothing. Needs no model.
    """

    share: Annotated[float, Gt(0), Lt(1)] = 0.1
    name = "top-k-agreement"
    main = "top_k"
    range = {"top_k": (0, 1), "nearest": (0, 1), "others": (0, inf)}

    def alike(self, maps: Tensor) -> Tensor:
        return top_ks(maps, self.share)
