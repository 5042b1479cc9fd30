"""Maps from the scores of masked images: Score-CAM and its kin mask by a layer's channels, RISE by random grids.

x is the image as the classifier takes it, RGB in [0, 1], and f the score of the explained class. Masks multiply x, so
that what they cover turns black. The authors' programs mask after normalisation, where zero is the mean colour; a plain
network that takes normalised images is masked in this way too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from camfaith.methods.base import Calls, Method, TargetLayer
from camfaith.models import maps
from camfaith.models.capture import Evidence, inferring, single
from camfaith.models.classifier import Classifier, ScoreKind
from camfaith.models.inside.ablation import tail
from camfaith.models.settings import Count, Few, NotNegative
from camfaith.models.speed.batches import halving
from camfaith.models.speed.setup import laid_out, scoring_batch


class ScoreCAM(Method):
    """Σ_k w_k A^k, w = softmax_k(C_k), C_k = f(x ⊙ H_k) − f(x_b), H_k = s(up(A^k)) (Wang et al. 2020, algorithm 1).

    up is to the image's size, s stretches to [0, 1]. f(x_b) is one number for all channels, which the softmax cancels,
    so it is not computed. Flat channels mask nothing: their weight is 0, and the softmax leaves them out, as the
    authors' program does; if all are flat, the map is zero. f is the probability (section 3.2 of the paper), or the
    logit with `score="logit"`. Probabilities differ by 1 at most, so no weight is over e times another.

    `variant="authors"`: w_k = f(x ⊙ H_k) without a softmax, which is what haofanwang/Score-CAM computes. `"pgc"` and
    `"torchcam"`: softmax_k f of pytorch-grad-cam 1.5, which upsamples with align_corners, and of torchcam 0.5, which
    stretches before it upsamples; both add 1e-8 to the range, weigh flat channels too, and use the logit unless
    `score` says otherwise.
    """

    name = "scorecam"
    needs_gradients: ClassVar[bool] = False
    rectified: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = {
        "constant-evidence": "a channel that is flat masks nothing, by definition",
        "evidence-against": "no channel's weight is below zero: it is a softmax, or a probability",
    }
    rounds = 1
    """How often each channel's mask is scored; C_k is the mean."""

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        score: ScoreKind | None = None,
        variant: Literal["paper", "authors", "pgc", "torchcam"] = "paper",
    ) -> None:
        super().__init__(model, target_layer)
        self.score: ScoreKind = score or ("logit" if variant in ("pgc", "torchcam") else "probability")
        self.variant = variant

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=self.rounds * tail(self.classifier, self.named_layer, image).channels)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        activations = evidence.activations[self.named_layer]
        flat = activations.amax((2, 3)) <= activations.amin((2, 3))
        weights = self.weights(self._scores(evidence, activations, classifier), flat)
        return torch.einsum("bk,bkhw->bhw", weights, activations)

    def _scores(self, evidence: Evidence, activations: Tensor, classifier: Classifier) -> Tensor:
        """f of the masked images, B×K, the mean over the rounds."""
        found = []
        rows = zip(evidence.images, activations, evidence.targets.tolist(), evidence.seeds.tolist(), strict=True)
        with inferring(classifier.network):
            space = _space(classifier, evidence.images)
            for image, channels, target, seed in rows:
                source, asked = torch.Generator().manual_seed(seed), []
                for step in range(self.rounds):
                    for part in torch.split(channels, len(space)):
                        masks, out = self.masks(part, image.shape[1:])[:, None], space[: len(part)]
                        self.fill(out, image, masks, step, source)
                        asked.append(_score(classifier, out, target, self.score))
                found.append(torch.cat(asked).view(self.rounds, -1).mean(0))
        return torch.stack(found)

    def masks(self, channels: Tensor, size: torch.Size) -> Tensor:
        """H, n×H×W in [0, 1], of n channels (n×h×w)."""
        height, width = size
        if self.variant == "pgc":
            return _stretched(F.interpolate(channels[:, None], size, mode="bilinear", align_corners=True)[:, 0])
        if self.variant == "torchcam":
            return F.interpolate(_stretched(channels)[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        return maps.normalise(maps.upsample(channels, (height, width)))

    def fill(self, out: Tensor, image: Tensor, masks: Tensor, step: int, source: torch.Generator) -> None:
        """In one of the rounds, write the image (3×H×W) under n masks (n×1×H×W) into `out` (n×3×H×W)."""
        torch.mul(image, masks, out=out)

    def weights(self, scores: Tensor, flat: Tensor) -> Tensor:
        """w (B×K) from f (B×K) and from which channels are flat."""
        if self.variant in ("pgc", "torchcam"):
            return scores.softmax(1)
        if self.variant == "authors":
            return scores.masked_fill(flat, 0)
        return scores.masked_fill(flat, -torch.inf).softmax(1).masked_fill(flat, 0)


class SSCAM(ScoreCAM):
    """Score-CAM with C_k the mean over `n_samples` draws of f((H_k + δ) ⊙ x), δ ~ N(0, `sigma`²) for each pixel, or
    with `noise="input"` of f(H_k ⊙ x + δ), δ for each colour of it (Wang, Naidu et al. 2020).

    Nothing is clipped; `sigma` is in the units of the masks and of the image. The noise is drawn from the image's own
    seed. `variant="torchcam"` makes masks and weights as Score-CAM's does.
    """

    name = "ss-cam"
    exempt: ClassVar[Mapping[str, str]] = {
        **ScoreCAM.exempt,
        "mosaic": "its noise, of deviation 2 on masks in [0, 1], outweighs a mask of few pixels",
    }

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        n_samples: Count = 35,
        sigma: NotNegative = 2.0,
        noise: Literal["mask", "input"] = "mask",
        score: ScoreKind | None = None,
        variant: Literal["paper", "torchcam"] = "paper",
    ) -> None:
        super().__init__(model, target_layer, score=score, variant=variant)
        self.rounds, self.sigma, self.noise = n_samples, sigma, noise

    def fill(self, out: Tensor, image: Tensor, masks: Tensor, step: int, source: torch.Generator) -> None:
        noisy = masks if self.noise == "mask" else out
        drawn = torch.stack([torch.randn(one.shape, generator=source) for one in noisy])
        delta = self.sigma * drawn.to(image)
        if self.noise == "mask":
            torch.mul(image, masks + delta, out=out)
        else:
            torch.mul(image, masks, out=out).add_(delta)


class ISCAM(ScoreCAM):
    """Score-CAM with C_k the mean of f(i/N · H_k ⊙ x) over i = 1 … N, N = `n_steps` (Naidu et al. 2020).

    `variant="torchcam"` takes the running sums of i/N, which pass 1, and masks and weights as Score-CAM's does.
    `"authors"` weighs by C_k without a softmax: `ISS_CAM2` of the authors' notebook (r0cketr1kky/ISS-CAM_resources,
    2020, N = 10). Their later `algo.py` does not run: it adds the images up in a variable that it never sets.
    """

    name = "is-cam"

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        n_steps: Count = 10,
        score: ScoreKind | None = None,
        variant: Literal["paper", "authors", "torchcam"] = "paper",
    ) -> None:
        super().__init__(model, target_layer, score=score, variant=variant)
        self.rounds = n_steps

    def fill(self, out: Tensor, image: Tensor, masks: Tensor, step: int, source: torch.Generator) -> None:
        i = step + 1
        share = i * (i + 1) / 2 if self.variant == "torchcam" else i
        torch.mul(image, masks * (share / self.rounds), out=out)


class RISE(Method):
    """1/(pN) Σ_i f(x ⊙ M_i) M_i over N = `n_masks` random masks (Petsiuk et al. 2018), one value per pixel.

    M is a grid of `grid`×`grid` cells, each 1 with probability `p` and else 0, upsampled to (grid + 1)² times a cell of
    ⌈H/grid⌉×⌈W/grid⌉ pixels, and cut to H×W at a random shift of less than a cell. Its mean is p at every pixel. Each
    image's masks are drawn from its own seed, so that chance does not favour the same pixels in all images. f is the
    probability, or the logit with `score="logit"`. The error from few masks falls as 1/√N.
    """

    name = "rise"
    needs_layer: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False
    of_pixels: ClassVar[bool] = True
    unsigned: ClassVar[bool] = True
    exempt: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("planted-patch", "negative-logit", "mosaic"), "it is exact only as the number of its random masks grows"
    )

    def __init__(
        self,
        model: nn.Module,
        target_layer: TargetLayer = None,
        *,
        n_masks: Count = 4000,
        grid: Few = 7,
        p: Annotated[float, Gt(0), Le(1)] = 0.5,
        score: ScoreKind = "probability",
    ) -> None:
        super().__init__(model, target_layer)
        self.n_masks, self.grid, self.p, self.score = n_masks, grid, p, score

    def cost(self, image: Tensor) -> Calls:
        return Calls(forwards=self.n_masks)

    def explain(self, evidence: Evidence, classifier: Classifier) -> Tensor:
        found = []
        rows = zip(evidence.images, evidence.targets.tolist(), evidence.seeds.tolist(), strict=True)
        with inferring(classifier.network):
            space = _space(classifier, evidence.images)
            for image, target, seed in rows:
                total = single(torch.zeros_like(image[0]))
                for masks in self.masks(image, seed):
                    out = torch.mul(image, masks[:, None], out=space[: len(masks)])
                    total += torch.einsum("n,nhw->hw", _score(classifier, out, target, self.score), single(masks))
                found.append(total)
        return torch.stack(found) / (self.p * self.n_masks)

    def masks(self, image: Tensor, seed: int) -> Iterator[Tensor]:
        """M for one image (3×H×W), n×H×W at a time."""
        source = torch.Generator().manual_seed(seed)
        (height, width), (high, wide) = image.shape[1:], (-(-side // self.grid) for side in image.shape[1:])
        cells = torch.rand(self.n_masks, 1, self.grid, self.grid, generator=source) < self.p
        shifts = [torch.randint(cell, (self.n_masks,), generator=source).tolist() for cell in (high, wide)]
        size = ((self.grid + 1) * high, (self.grid + 1) * wide)
        at = list(zip(*shifts, strict=True))
        batch = scoring_batch(image)
        for start in range(0, self.n_masks, batch):
            some = cells[start : start + batch].to(image)
            grown = F.interpolate(some, size, mode="bilinear", align_corners=False)
            cut = zip(grown[:, 0], at[start : start + batch], strict=True)
            yield torch.stack([mask[y : y + height, x : x + width] for mask, (y, x) in cut])


def _stretched(channels: Tensor) -> Tensor:
    """Stretched to [0, 1] as the libraries do it: a flat channel becomes 0."""
    low, high = channels.amin((-2, -1), keepdim=True), channels.amax((-2, -1), keepdim=True)
    return (channels - low) / (high - low + 1e-8)


def _space(classifier: Classifier, images: Tensor) -> Tensor:
    """An empty batch for masked images, laid out as suits the network."""
    return laid_out(classifier.network, images.new_empty(scoring_batch(images), *images.shape[1:]))


def _score(classifier: Classifier, images: Tensor, target: int, score: ScoreKind) -> Tensor:
    """f of n images, while `inferring`; if memory runs out, of half as many at once."""
    if score == "probability":
        classifier.head.require_probabilities()

    def ask(batch: int) -> Tensor:
        logits = torch.cat([single(classifier.logits(part)) for part in torch.split(images, batch)])
        return (classifier.head.probabilities(logits) if score == "probability" else logits)[:, target]

    return halving(len(images), ask)
