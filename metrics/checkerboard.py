"""A checkerboard in a map: every other row, column or field of its own grid stands out."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps, Metric
from camfaith.models.maps import rectify


def checkerboard(maps: Tensor) -> dict[str, Tensor]:
    """How much of a map alternates from cell to cell (own definition; of gradients: Odena et al. 2016), for maps M
    (B×h×w) on their own grid. With m_ab the mean of |M| over the cells (i, j) with i mod 2 = a and j mod 2 = b, columns
    of B values, which describe; NaN where M is zero, and for a grid of a single row or column:

    - `rows`, `columns`, `both`: |Σ ε_ab m_ab| / Σ m_ab for ε = (−1)^a, (−1)^b, (−1)^(a + b), in [0, 1]: the spectrum of
      |M| at the lattice's frequency down, across and along the diagonal, relative to its mean
    - `energy`: (rows² + columns² + both²)/3, in [0, 1]: 1 where one cell of every 2×2 holds all
    - `excess`: `energy` minus what the same values would have at random places (nearly, where a side is odd), in
      [−1, 1]

    >>> comb, ramp = torch.tensor([[1, 0], [0, 0]]).repeat(4, 4), torch.arange(8).expand(8, 8)
    >>> found = checkerboard(torch.stack([comb, ramp]))
    >>> {name: [round(each, 3) for each in values.tolist()] for name, values in found.items()}["energy"]
    [1.0, 0.007]
    """
    mass = maps.double().abs()
    height, width = mass.shape[1:]
    if min(height, width) < 2:
        return dict.fromkeys(("rows", "columns", "both", "energy", "excess"), mass.sum((1, 2)) * torch.nan)
    phases = [mass[:, a::2, b::2].flatten(1) for a in (0, 1) for b in (0, 1)]
    m, n = torch.stack([phase.mean(1) for phase in phases]), [phase.shape[1] for phase in phases]
    signs = torch.tensor([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=m.dtype, device=m.device)
    found = (signs @ m).abs() / m.sum(0)  # 0/0 is NaN
    energy = found.square().mean(0)
    # At random places E[m_p²] = (v + (n_p − 1) g)/n_p and E[m_p m_q] = g, for v = E[M_i²] and g = E[M_i M_j], i ≠ j.
    N, squares = height * width, mass.square().sum((1, 2))
    v, g = squares / N, (mass.sum((1, 2)).square() - squares) / (N * (N - 1))
    alone = sum((v + (count - 1) * g) / count for count in n)
    chance = (4 * alone / (alone + 12 * g) - 1) / 3
    rows, columns, both = found
    return {"rows": rows, "columns": columns, "both": both, "energy": energy, "excess": energy - chance}


@dataclass(frozen=True, kw_only=True)
class Checkerboard(Metric):
    """How much of a map alternates from cell to cell of its own grid, before it is enlarged (own definition; Odena et
    al. 2016 on such patterns in gradients). A layer that is read at every other place alone, as by a shortcut of stride
    2, has gradients only there, and a map that weighs each cell by its own, as HiResCAM's, shows this lattice. Columns:

    - `rows`, `columns`, `both`: by how much the even rows, columns or fields of a chessboard hold more of the absolute
      values than the odd ones, or less, in [0, 1]; cells are counted by their means, so that odd sides are fair
    - `energy`: the mean of their squares, in [0, 1]: 1 where of every 2×2 cells one holds all, 1/3 where of every two
      rows one does
    - `excess`: `energy` minus what the same values would have at random places, in [−1, 1]. A map of a few hot cells
      has energy by chance, and no excess

    They describe: a network that reads every other cell is rightly shown so. Coarser lattices are not seen. Needs no
    model.
    """

    name = "checkerboard"
    main = "excess"
    better = {}
    range = {**dict.fromkeys(("rows", "columns", "both", "energy"), (0, 1)), "excess": (-1, 1)}
    undefined = "the map is zero, or its grid has a single row or column"

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        return checkerboard(rectify(maps.raw) if maps.rectified else maps.raw)
