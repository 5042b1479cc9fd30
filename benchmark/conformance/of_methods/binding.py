"""What a method owes the classifier that it is bound to. Each check raises `Broken` if the method fails it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from camfaith.benchmark.conformance.examination import Broken
from camfaith.benchmark.conformance.of_methods.candidate import Candidate, differ, must_agree
from camfaith.benchmark.conformance.of_methods.contract import EQUAL
from camfaith.benchmark.conformance.trials import Trial
from camfaith.methods.adapters import LIBRARIES
from camfaith.models import Classifier
from camfaith.models.errors import NotApplicable

_MEAN, _STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def layer(candidate: Candidate, trial: Trial) -> None:
    """The method explains the layer that is named: two layers have different maps."""
    if not candidate.needs_layer:
        raise NotApplicable("it reads no layer")
    ground, images = candidate.ground, trial.images()
    expected = candidate.on_ground(trial).maps(images, trial.targets)
    try:
        found = candidate.on(ground.build(trial.seed), ground.earlier).maps(images, trial.targets)
    except Exception as error:  # a layer that it cannot explain is not its fault
        raise NotApplicable(f"at {ground.earlier!r} it raises {type(error).__name__}: {error}") from error
    if bool(expected.any()) and differ(found, expected) < EQUAL:
        raise Broken(f"{ground.earlier!r} and {ground.layer!r} get the same map")


def preprocessing(candidate: Candidate, trial: Trial) -> None:
    """The classifier's preprocessing is explained too: a network that preprocesses images itself gets the same map."""
    if candidate.name.partition(":")[0] in LIBRARIES:
        raise NotApplicable("its library is given normalised images, as its users do")
    ground, images = candidate.ground, trial.images()
    outside = Classifier(ground.build(trial.seed), mean=_MEAN, std=_STD)
    expected = candidate.on(_Normalising(ground.build(trial.seed)), f"network.{ground.layer}").maps(
        images, trial.targets
    )
    must_agree(candidate.on(outside, ground.layer).maps(images, trial.targets), expected, EQUAL, "normalised by either")


class _Normalising(nn.Module):
    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for name, colour in (("mean", _MEAN), ("std", _STD)):
            self.register_buffer(name, torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def one_logit(candidate: Candidate, trial: Trial) -> None:
    """A network of one logit z (head "binary") is explained as one that gives −z and z as two labels' logits."""
    ground, images = candidate.ground, trial.images()
    found = Classifier(_FirstLogit(ground.build(trial.seed)), head="binary")
    expected = Classifier(_BothLogits(ground.build(trial.seed)), head="sigmoid")
    targets = [target % 2 for target in trial.targets]
    one, two = (candidate.on(each, f"network.{ground.layer}").maps(images, targets) for each in (found, expected))
    must_agree(one, two, EQUAL, "as one logit, and as two")


class _FirstLogit(nn.Module):
    """A network's first logit, B×1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        z: Tensor = self.network(images)[:, :1]
        return z


class _BothLogits(_FirstLogit):
    def forward(self, images: Tensor) -> Tensor:
        z = super().forward(images)
        return torch.cat([-z, z], 1)


def present_weights(candidate: Candidate, trial: Trial) -> None:
    """The network is explained as it is now, not as it was when the method was bound."""
    bound = candidate.on_ground(trial)
    network, images = bound.classifier.network, trial.images()
    bound.maps(images, trial.targets)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(-0.8)
    expected = candidate.on(network, candidate.ground.layer).maps(images, trial.targets)
    must_agree(bound.maps(images, trial.targets), expected, EQUAL, "bound before its weights changed, and after")
