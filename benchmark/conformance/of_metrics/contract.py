"""What every metric owes its caller, whatever it measures. Each check raises `Broken` if a metric fails it, and
`NotApplicable` if the check makes no sense for it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from camfaith.benchmark.conformance.examination import Broken, Malformed
from camfaith.benchmark.conformance.networks import small
from camfaith.benchmark.conformance.of_metrics.candidate import OTHER, OWN, Candidate, must_equal
from camfaith.benchmark.conformance.of_metrics.scenes import Scene, brightness, noise
from camfaith.benchmark.conformance.trials import Trial, set_generators
from camfaith.metrics import Channels, ImageProbe, Metric
from camfaith.models import Classifier
from camfaith.models.inside.ablation import TAIL_BATCH, tail
from camfaith.models.speed.counting import counting


def per_image(candidate: Candidate, trial: Trial) -> None:
    """judge gives one real number per image for each column, `main` and those of `better` among them, and the same
    columns for every input."""
    scene, zero = noise(trial), noise(replace(trial, batch=1))
    try:
        found = candidate.judged(scene)
        other = candidate.judged(replace(zero, maps=torch.zeros_like(zero.maps)))
    except Malformed as reason:
        raise Broken(str(reason)) from None
    if found.keys() != other.keys():
        raise Broken(f"a zero map gets the columns {', '.join(other)}, and others {', '.join(found)}")


def batch(candidate: Candidate, trial: Trial) -> None:
    """A batch of N images, in whatever order, gets the values of N batches of one, also beside a map of zeros."""
    scene = noise(trial)
    if trial.seed % 2:
        scene.maps[-1] = 0
    alone = [candidate.judged(scene.select([row])) for row in range(len(scene))]
    for rows in (list(range(len(scene))), list(reversed(range(len(scene))))):
        expected = {name: torch.cat([alone[row][name] for row in rows]) for name in alone[0]}
        must_equal(candidate.judged(scene.select(rows)), expected, "together and one by one")


def grey(candidate: Candidate, trial: Trial) -> None:
    """Colours and pixels are not mixed up: a grey image gets the same value whichever of its colours the network reads.
    A metric whose noise differs from colour to colour passes, too, if an image keeps its value where its colours change
    places, before a network that reads their mean."""
    scene = noise(trial)
    images = scene.images.mean(1, keepdim=True).expand_as(scene.images).contiguous()
    try:
        _same_for_all(
            candidate,
            [_shown(scene, images, torch.eye(3)[colour]) for colour in range(3)],
            "a network that reads one colour, and another",
        )
    except Broken:
        places = [scene.images[:, list(colours)] for colours in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
        _same_for_all(
            candidate,
            [_shown(scene, images, torch.full((3,), 1 / 3)) for images in places],
            "colours in their places, and in others",
        )


def _same_for_all(candidate: Candidate, scenes: list[Scene], what: str) -> None:
    first, *others = [candidate.judged(scene) for scene in scenes]
    for found in others:
        must_equal(found, first, what)


def _shown(scene: Scene, images: torch.Tensor, reads: torch.Tensor) -> Scene:
    """The scene with other images, of whose colours the network reads a sum."""
    method = replace(scene.method, shows=brightness)
    layer = None if scene.layer is None else f"network.{scene.layer}"
    return replace(scene, images=images, network=_Reading(scene.network, reads), method=method, layer=layer)


class _Reading(nn.Module):
    """Shows a network the sum of the images' colours, each with a weight, as grey."""

    colours: torch.Tensor

    def __init__(self, network: nn.Module, colours: torch.Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("colours", colours.double()[:, None, None])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network((images * self.colours).sum(1, keepdim=True).expand_as(images))
        return logits


def size(candidate: Candidate, trial: Trial) -> None:
    """Images of any size and maps on any grid are judged."""
    high, wide = trial.height, trial.width
    for grid in ((high, wide), (-(-high // 2), -(-wide // 3)), (2, wide)):
        found = candidate.judged(noise(trial, grid=grid))
        if bool(found[candidate.main].isnan().all()):
            raise Broken(f"maps of {grid[0]}×{grid[1]} get no value")


def repeatable(candidate: Candidate, trial: Trial) -> None:
    """The same images, maps and seeds get the same values, whatever state the global generators have."""
    found = []
    for chance in (0, 1):
        set_generators(chance)
        found.append(candidate.judged(noise(trial)))
    must_equal(found[1], found[0], "asked twice", 1e-12)


def state(candidate: Candidate, trial: Trial) -> None:
    """What a metric says does not depend on what it was asked before; metrics with equal settings are equal, and ask
    equal probes."""
    one, other = candidate.make(), candidate.make()
    scene = noise(trial)
    before = candidate.judged(scene, one)
    candidate.judged(noise(replace(trial, height=trial.height + 1, width=trial.width + 1, seed=trial.seed + 2)), one)
    must_equal(candidate.judged(scene, one), before, "after another question and before")
    asked = [tuple(each.probes(scene.layer, scene.images[0, 0].numel())) for each in (one, other)]
    if asked[0] != asked[1] or hash(asked[0]) != hash(asked[1]):
        raise Broken("two of the same settings ask probes that are not equal: make them frozen dataclasses")
    if isinstance(one, Metric) and (one != other or hash(one) != hash(other)):
        raise Broken("two of the same settings are not equal: make it a frozen dataclass")


def cost(candidate: Candidate, trial: Trial) -> None:
    """The network is asked once for each image as it is, and as often as the probes' `count` says, or less where a
    probe's answers decide."""
    scene = noise(trial)
    pixels, asked = trial.height * trial.width, candidate.asked(scene)
    classifier = Classifier.of(scene.network)
    declared = 1
    for probe in asked:
        if isinstance(probe, Channels):
            declared += tail(classifier, probe.layer, scene.images[:1]).forwards(TAIL_BATCH)
        else:
            declared += probe.count(pixels)
    with counting(scene.network) as tally:
        candidate.judged(scene)
    most, made = declared * len(scene), tally.forwards
    adaptive = any(isinstance(probe, ImageProbe) and type(probe).rounds is not ImageProbe.rounds for probe in asked)
    if made > most or (made < most and not adaptive) or tally.backwards:
        raise Broken(
            f"{made} forwards and {tally.backwards} backwards for {len(scene)} images; declared: {most} forwards"
        )


def dtype(candidate: Candidate, trial: Trial) -> None:
    """A network in single precision gets the values of one in double precision, to 10⁻⁴, and one in half precision is
    judged, too."""
    expected, single = candidate.judged(noise(trial)), noise(trial, network=small(trial.seed, dtype=torch.float32))
    must_equal(candidate.judged(single), expected, "in single and in double precision", 1e-4)
    candidate.judged(noise(trial, network=small(trial.seed, dtype=torch.bfloat16)))


def no_grad(candidate: Candidate, trial: Trial) -> None:
    """Values are the same where gradients are switched off, and hold none where maps have them."""
    scene = noise(trial)
    expected = candidate.judged(scene)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            found = candidate.judged(scene)
        must_equal(found, expected, f"inside torch.{mode.__name__}() and outside")
    must_equal(candidate.judged(replace(scene, maps=scene.maps.requires_grad_())), expected, "maps with gradients")


def several(candidate: Candidate, trial: Trial) -> None:
    """Maps of several methods, given by name, each get the values that they get alone; a metric that compares methods
    says the same in whatever order they come."""
    scene = noise(trial)
    both = candidate.of_both(scene)
    turned = replace(scene, maps=scene.other, other=scene.maps)
    if candidate.compares:
        swapped = candidate.of_both(turned)
        must_equal(swapped[OTHER], both[OWN], "named second and first")
        must_equal(swapped[OWN], both[OTHER], "named first and second")
    else:
        must_equal(both[OWN], candidate.judged(scene), "beside another method's maps and alone")
        must_equal(both[OTHER], candidate.judged(turned), "beside another method's maps and alone")
