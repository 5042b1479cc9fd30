"""Relative stability: how much a map changes for what the image, and what the network makes of it, changes."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from camfaith.metrics.base import Answers, Case, Maps
from camfaith.metrics.precision import quotient
from camfaith.metrics.stability import Distances, OfNeighbours, relative_moves, require_one_grid

Variant = Literal["whole", "elementwise"]
LEAST = 1e-6
"""The ε that the authors' denominators have."""


def relative_stability(
    moves: Tensor, inputs: Tensor, outputs: Tensor, features: Tensor, same: Tensor
) -> dict[str, Tensor]:
    """max_y D(y)/max(d(y), ε): the change of a map over that of what it explains (Agarwal et al. 2022), for the maps'
    changes D, those of the image, the logits and the network's features d, and whether it predicts the same class (B×n
    each; ε = 10⁻⁶). Columns of B values, over the neighbours y of the same class, NaN where there is none:

    - `ris`: d is the change of the image, `inputs`; in [0, ∞), lower is better
    - `ros`: d is the change of the logits, `outputs`; in [0, ∞), lower is better
    - `rrs`: d is the change of the `features`; in [0, ∞), lower is better
    - `same_class`: the share of the neighbours that keep the class, which describes

    >>> moves, same = torch.tensor([[0.5, 0.25, 9.0]]), torch.tensor([[True, True, False]])
    >>> inputs, outputs, features = torch.tensor([[[0.5, 0.5, 0.5]], [[2.0, 0.5, 1.0]], [[0.25, 1.0, 1.0]]])
    >>> found = relative_stability(moves, inputs, outputs, features, same)
    >>> {name: round(value.item(), 3) for name, value in found.items()}
    {'ris': 1.0, 'ros': 0.5, 'rrs': 2.0, 'same_class': 0.667}
    """

    def largest(changes: Tensor) -> Tensor:
        every = moves.double() / changes.double().clamp(min=LEAST)
        most = every.masked_fill(~same, -inf).amax(1)
        return most.masked_fill(~same.any(1), torch.nan)

    return {
        "ris": largest(inputs),
        "ros": largest(outputs),
        "rrs": largest(features),
        "same_class": same.double().mean(1),
    }


def elementwise_moves(before: Tensor, after: Tensor) -> Tensor:
    """‖(Φ(x) − Φ(y))/Φ(x)‖ (B×n), in [0, ∞), divided value by value for maps (B×h×w and B×n×h×w); zeros count as ε =
    10⁻⁶ (Agarwal et al. 2022).

    >>> elementwise_moves(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[[4.0, 10.0]]]])).item()
    5.0
    """
    require_one_grid(before, after)
    before, after = before.double().flatten(1)[:, None], after.double().flatten(2)
    found: Tensor = ((after - before) / before.where(before != 0, LEAST)).norm(dim=2)
    return found


@dataclass(frozen=True, kw_only=True)
class RelativeStability(OfNeighbours):
    """How much a map changes for what the image, and what the network makes of it, changes (Agarwal et al. 2022).

    The neighbours y are those of `max-sensitivity`: `samples` of them, within `radius` in every pixel and colour, drawn
    from the image's seed and `seed`; those that the network predicts another class for are left out (none where it
    predicts numbers). The map Φ is the raw one on its own grid, after the method's ReLU, where it has one. Columns:

    - `ris`: relative input stability, max_y [‖Φ(x) − Φ(y)‖/‖Φ(x)‖] / [‖x − y‖/‖x‖], in [0, ∞), lower is better
    - `ros`: relative output stability, max_y [‖Φ(x) − Φ(y)‖/‖Φ(x)‖] / ‖h(x) − h(y)‖ with the logits h, in [0, ∞), lower
      is better. Its unit is one over that of the logits: it compares methods on one network, not networks
    - `rrs`: relative representation stability, max_y [‖Φ(x) − Φ(y)‖/‖Φ(x)‖] / [‖φ(x) − φ(y)‖/‖φ(x)‖] with the features
      φ, the input of the network's last linear layer, in [0, ∞), lower is better; NaN where there is no such layer
    - `same_class`: the share of the neighbours that are not left out

    `variant = "elementwise"` divides value by value, ‖(Φ(x) − Φ(y))/Φ(x)‖ and ‖(x − y)/x‖ (not so the features), as the
    authors do, with 10⁻⁶ for a zero; then the cells that a ReLU left at zero decide, and the map's units count. It
    cannot tell a faithful map from one that ignores the image.
    """

    variant: Variant = "whole"
    name = "relative-stability"
    main = "ros"
    better = {"ris": "lower", "ros": "lower", "rrs": "lower"}
    range = {"ris": (0, inf), "ros": (0, inf), "rrs": (0, inf), "same_class": (0, 1)}
    exempt = {"dtype": "in single precision rounding decides where the logits hardly change, by which it divides"}
    undefined = (
        "the map is zero, or the network predicts another class for every neighbour; ris: the image is black; rrs: "
        "the network has no features"
    )

    def judge(self, case: Case, maps: Maps, answers: Answers) -> dict[str, Tensor]:
        answer = answers[self.neighbours]
        assert answer.logits is not None
        whole = self.variant == "whole"
        moves = (relative_moves if whole else elementwise_moves)(*self.maps_of(maps, answers))
        inputs = torch.stack(case.once(Distances(self.neighbours, None if whole else LEAST)))
        if whole:
            inputs = quotient(inputs, case.images.double().flatten(1).norm(dim=1, keepdim=True), least=0)
        outputs = (answer.logits - case.logits[:, None]).norm(dim=2)
        same = answer.logits.argmax(2) == case.logits.argmax(1, keepdim=True)
        same |= case.whole("probability").isnan()[:, None]  # a regression predicts no class
        return relative_stability(moves, inputs, outputs, answer.distance, same)
