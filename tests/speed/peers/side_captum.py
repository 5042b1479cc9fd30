"""captum's users: infidelity, with Gaussian noise as in its documentation, normalised by the best scale.

The noise is one value for a pixel's three colours, as camfaith's is, in units of an image in [0, 1].
"""

from __future__ import annotations

import torch
from captum.metrics import infidelity
from torch import Tensor
from work import NOISE, SAMPLES, STD, Side

BATCH = 16  # of 4, 8, 16, 32, 64 and 128; at least one of each image
UNIT = torch.tensor(STD).view(1, 3, 1, 1)


def perturb(images: Tensor) -> tuple[Tensor, Tensor]:
    noise = NOISE * torch.randn_like(images[:, :1]) / UNIT
    return noise, images - noise


if __name__ == "__main__":
    side = Side.of_command_line()
    work = side.start()
    torch.manual_seed(0)

    def infidelity_of(method: str) -> dict[str, list[float]]:
        maps = torch.from_numpy(work.maps[method])[:, None].expand_as(work.images)
        found = infidelity(
            work.network,
            perturb,
            work.images,
            maps,
            target=work.targets,
            n_perturb_samples=SAMPLES,
            max_examples_per_batch=max(BATCH, len(work.images)),
            normalize=True,
        )
        return {"infidelity": found.tolist()}

    side.judge("infidelity", infidelity_of)
    side.write()
