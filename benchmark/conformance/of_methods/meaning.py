"""What maps must show when the right answer is known. Each check raises `Broken` if a method fails it, and
`NotApplicable` if the check makes no sense for it."""

from __future__ import annotations

import torch
from torch import Tensor

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.networks import CLASSES, GROUNDS, cancelling, checkers, colour_reader
from camfaith.benchmark.conformance.of_methods.candidate import Candidate, differ, must_agree, shown
from camfaith.benchmark.conformance.of_methods.contract import EQUAL
from camfaith.benchmark.conformance.trials import Trial
from camfaith.models import maps
from camfaith.models.errors import NotApplicable

Pixel = tuple[int, int]
WEAK = 0.35
"""The brightness of a pixel that speaks for the class less than the planted one."""


def class_dependence(candidate: Candidate, trial: Trial) -> None:
    """Another class has another map."""
    _of_a_class(candidate)
    bound, images = candidate.on_ground(trial), trial.images()
    every = [bound.maps(images, [target] * trial.batch) for target in range(CLASSES)]
    if all(differ(one, every[0]) < EQUAL for one in every[1:]):
        raise Broken(f"the maps of all {CLASSES} classes are the same")


def zero_activations(candidate: Candidate, trial: Trial) -> None:
    """If every activation of the layer is zero, so is the map, with logits from biases alone and with zero logits."""
    _reads_a_layer(candidate)
    for bias in (torch.tensor([1.0, -1.0, 0.5]), torch.zeros(CLASSES)):
        bound = candidate.on(colour_reader(threshold=10, bias=bias), "relu")
        found = bound.maps(trial.images(), trial.targets)
        if not bool(found.isfinite().all()):
            raise Broken("the map holds NaN or infinite values")
        if (most := float(found.abs().max())) > 1e-9:
            raise Broken(f"the map has values up to {most:.2g}")


def constant_evidence(candidate: Candidate, trial: Trial) -> None:
    """If every pixel speaks for the class equally, every value of the map is above zero."""
    _of_a_class(candidate)
    images = torch.zeros_like(trial.images())
    images[:, 0] = 0.6
    found = candidate.on(colour_reader(), "relu").maps(images, [0] * trial.batch)
    if not float(found.min()) > 0:
        raise Broken(f"the lowest value is {float(found.min()):.2g}, the highest {float(found.max()):.2g}")


def planted_patch(candidate: Candidate, trial: Trial) -> None:
    """The map is highest at the one bright pixel that speaks for the class, wherever it is."""
    _looks(candidate)
    bound = candidate.on(colour_reader(), "relu")
    for pixel in _pixels(trial):
        images = _planted(trial, pixel)
        images[:, 1:] = 0.2 * trial.images()[:, 1:]  # what speaks for other classes
        _must_point(bound.maps(images, [0]), trial, pixel)


def negative_logit(candidate: Candidate, trial: Trial) -> None:
    """The same holds if the class's logit is negative."""
    _looks(candidate)
    bound = candidate.on(colour_reader(bias=-1000.0), "relu")
    pixel = _pixels(trial)[-1]
    _must_point(bound.maps(_planted(trial, pixel), [0]), trial, pixel)


def evidence_against(candidate: Candidate, trial: Trial) -> None:
    """If one pixel speaks for the class and another, nearly as bright, against it, the rectified map is highest at the
    first and shows hardly anything at the second."""
    _of_a_class(candidate)
    _looks(candidate)
    bound = candidate.on(colour_reader(against=100), "relu")
    if bound.unsigned:
        raise NotApplicable("it says that its maps have no sign")
    for pixel in _pixels(trial):
        images = _planted(trial, pixel)
        weak = images[0, 0] == WEAK
        images[0, :, weak] = torch.tensor([0, 0, 0.9], dtype=torch.float64)[:, None]
        raw = bound.maps(images, [0])
        _must_point(raw, trial, pixel)
        if (seen := float(_heat(raw, trial)[0, weak])) > 0.05:
            raise Broken(f"where a pixel speaks against the class the map is {seen:.2g} of its highest value")


def mosaic(candidate: Candidate, trial: Trial) -> None:
    """If two classes have half of the image each, each class's map lies mostly on its own half."""
    _of_a_class(candidate)
    half = trial.width // 2
    images = torch.zeros(2, 3, trial.height, trial.width, dtype=torch.float64)
    images[:, 0, 1:, :half] = 1  # the first row stays black, so that maps stretched from their minimum lose nothing
    images[:, 2, 1:, half:] = 0.8
    heat = _heat(candidate.on(colour_reader(), "relu").maps(images, [0, 2]), trial)
    for row, side, own in ((0, "left", heat[0, :, :half]), (1, "right", heat[1, :, half:])):
        share = float(own.sum() / heat[row].sum().clamp(min=1e-12))
        if share < 0.6:
            raise Broken(f"the class of the {side} half has {share:.0%} of its map there")


def known_map(candidate: Candidate, trial: Trial) -> None:
    """The map of a class that reads one channel behind global pooling is that channel (as in CAM)."""
    _of_a_class(candidate)
    channels = candidate.needs_layer and (candidate.needs_gradients or hasattr(candidate.kind, "contributions"))
    if not channels:
        raise NotApplicable("it does not say that it weighs a layer by the class's gradient")
    images = torch.zeros(CLASSES, 3, trial.height, trial.width, dtype=torch.float64)
    cells = torch.arange(trial.height * trial.width).view(trial.height, trial.width)[1:-1, 1:-1]
    for colour in range(CLASSES):
        images[:, colour, 1:-1, 1:-1] = torch.where(cells % CLASSES == colour, 0.2 + 0.7 * cells / cells.max(), 0)
    size = (trial.height, trial.width)
    found = shown(candidate.on(colour_reader(), "relu").maps(images, list(range(CLASSES))), size)
    expected = shown((images[0] - 0.1).clamp(min=0), size)
    must_agree(found, expected, 0.02, "the map and the channel")


def completeness(candidate: Candidate, trial: Trial) -> None:
    """The map sums to the class's logit if the network has ReLUs and no biases."""
    if not candidate.complete:
        raise NotApplicable("it does not say that it is complete")
    bound = candidate.on_ground(trial, bias=False)
    evidence = bound.evidence(trial.images(), trial.targets)
    score = evidence.logits.gather(1, evidence.targets[:, None])[:, 0]
    total = bound.explain(evidence).sum((1, 2))
    must_agree(total, score, 1e-4, f"the sum {float(total[0]):.3g} and the logit {float(score[0]):.3g}")


def logit_scale(candidate: Candidate, trial: Trial) -> None:
    """If small logits become a hundred or ten thousand times smaller, the map still shows the same."""
    size, images = (trial.height, trial.width), trial.images()
    found = []
    for scale in (1.0, 1e-2, 1e-4):
        network = candidate.ground.build(trial.seed, faint=1e-4)
        with torch.no_grad():
            for name in ("head.weight", "head.bias"):
                network.get_parameter(name).mul_(scale)
        found.append(shown(candidate.on(network, candidate.ground.layer).maps(images, trial.targets), size))
    for told, other in zip(("100", "10,000"), found[1:], strict=True):
        must_agree(other, found[0], 0.02, f"as they are and {told} times smaller")


def flip(candidate: Candidate, trial: Trial) -> None:
    """In a network that cannot tell left from right or top from bottom, a flipped image has the flipped map."""
    if candidate.control:
        raise NotApplicable("a control need not follow the image")
    network = candidate.ground.build(trial.seed, stride=1, symmetric=True)
    bound, images = candidate.on(network, candidate.ground.layer), trial.images()
    if bound.draws(images, trial.targets):
        raise NotApplicable("chance makes its maps, and does not flip")
    plain = bound.maps(images, trial.targets)
    for axis, name in ((2, "left to right"), (1, "top to bottom")):
        found = bound.maps(images.flip(axis + 1), trial.targets)
        must_agree(found, plain.flip(axis), EQUAL, f"flipped {name} before and after")


def cancelling_channel(candidate: Candidate, trial: Trial) -> None:
    """A channel whose activations cancel out, or that cancel another term of a denominator, and that hardly speaks for
    the class, does not dominate the map."""
    _of_a_class(candidate)
    _reads_a_layer(candidate)
    pixel = _pixels(trial)[-1]
    images = _planted(trial, pixel)
    signed = 0.25 - 0.5 * checkers(trial.height, trial.width)
    for total in (1e-6, -0.2001):  # ΣA = 0 but for rounding, and 2 + ΣA·g = 0 for g = 10, as nearly
        images[:, 1] = 0.5 + signed - signed.mean() + total / signed.numel()
        found = candidate.on(cancelling(trial.height, trial.width), "conv").maps(images, [0])
        _must_point(found, trial, pixel, ahead=2)


def silent_cells(candidate: Candidate, trial: Trial) -> None:
    """The map is zero at cells where no channel of the layer is active."""
    _reads_a_layer(candidate)
    images = _planted(trial, _pixels(trial)[-1])
    heat = _heat(candidate.on(colour_reader(), "relu").maps(images, [0]), trial)[0]
    if (most := float(heat[images[0, 0] == 0].max())) > EQUAL:
        raise Broken(f"up to {most:.2g} is shown there, where 1 is the most of all")


def like(candidate: Candidate, trial: Trial) -> None:
    """The maps equal those of the method that it is named after, or that `like` names."""
    if candidate.like is None:
        raise NotApplicable("no method is named that it must equal")
    ground = max(candidate.ground, candidate.like.ground, key=GROUNDS.index)
    images, size = trial.images(), (trial.height, trial.width)
    found = []
    for each in (candidate, candidate.like):
        bound = each.on(
            ground.build(trial.seed, stride=1),
            ground.before_relu if trial.seed % 2 and ground.before_relu else ground.layer,
        )
        if bound.draws(images, trial.targets):
            raise NotApplicable(f"chance makes the maps of {each.name}")
        raw = bound.maps(images, trial.targets)
        found.append(shown(raw, size) if candidate.displayed else raw)
    must_agree(
        found[0], found[1], 1e-3 if candidate.displayed else EQUAL, f"{candidate.name} and {candidate.like.name}"
    )


def _looks(candidate: Candidate) -> None:
    if candidate.control:
        raise NotApplicable("a control does not look at the network")


def _reads_a_layer(candidate: Candidate) -> None:
    _looks(candidate)
    if not candidate.needs_layer:
        raise NotApplicable("it reads no layer")


def _of_a_class(candidate: Candidate) -> None:
    if not candidate.class_dependent:
        raise NotApplicable("it says that its maps do not depend on the class")


def _pixels(trial: Trial) -> list[Pixel]:
    """Corners, and a pixel inside."""
    return [(0, 0), (0, trial.width - 1), (trial.height - 1, 0), (trial.height // 2, trial.width // 2)]


def _planted(trial: Trial, pixel: Pixel) -> Tensor:
    """One bright red pixel on black, and a weaker one half the image away."""
    images = torch.zeros(1, 3, trial.height, trial.width, dtype=torch.float64)
    images[0, 0, (pixel[0] + trial.height // 2) % trial.height, (pixel[1] + trial.width // 2) % trial.width] = WEAK
    images[0, 0, pixel[0], pixel[1]] = 1
    return images


def _heat(raw: Tensor, trial: Trial) -> Tensor:
    """Maps rectified, as large as the images, with 1 for their highest value; nothing is subtracted."""
    grown = maps.upsample(maps.rectify(raw.double()), (trial.height, trial.width))
    return grown / grown.amax((1, 2), keepdim=True).clamp(min=1e-300)


def _must_point(raw: Tensor, trial: Trial, pixel: Pixel, ahead: float = 1.0) -> None:
    """Raises `Broken` unless the map is highest at `pixel` or next to it, `ahead` times as high as elsewhere, and not
    constant."""
    heat = _heat(raw, trial)[0]
    near = torch.zeros_like(heat, dtype=torch.bool)
    near[max(0, pixel[0] - 1) : pixel[0] + 2, max(0, pixel[1] - 1) : pixel[1] + 2] = True
    inside, outside = float(heat[near].max()), heat[~near]
    if not (inside >= float(outside.max()) * (ahead - 1e-6) and inside > float(outside.mean()) + 1e-12):
        where = f"with the bright pixel at row {pixel[0]}, column {pixel[1]}"
        if not bool(heat.any()):
            raise Broken(f"{where} the map has no value above 0")
        row, column = divmod(int(torch.where(near, -1, heat).argmax()), trial.width)
        asked = f", where {1 / ahead:.2g} at most would do" if ahead > 1 else ""
        raise Broken(
            f"{where} the map is {inside:.2g} of its highest value there and {float(outside.max()):.2g} at row {row}, "
            f"column {column}{asked}"
        )
