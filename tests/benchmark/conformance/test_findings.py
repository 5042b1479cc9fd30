"""Checks watch what a method does inside, and ask for nothing that it cannot give."""

from __future__ import annotations

import torch

from camfaith.benchmark.conformance.of_methods import CHECKS
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.methods import GradCAM, Method
from camfaith.models.errors import NotApplicable

BY_NAME = {check.name: check for check in CHECKS}


class TooMuchInside(GradCAM):
    """The images are its own; what a layer passes on is not."""

    def explain(self, evidence, classifier):
        layer = classifier.network.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda _m, _i, output: output - 1e7)
        try:
            classifier.scores(evidence.images)
        finally:
            handle.remove()
        return super().explain(evidence, classifier)


def test_what_a_layer_inside_is_given_is_watched_too():
    assert (
        BY_NAME["in-range"]
        .of(Candidate(TooMuchInside))
        .seen.startswith("layer 'conv3' is given values up to 1e+07, where")
    )


class MappedCAM(Method):
    name = "mapped"

    def explain(self, evidence, classifier):
        def score(image, target):
            return classifier(image[None])[0].gather(0, target[None])[0]

        return torch.func.vmap(torch.func.grad(score))(evidence.images, evidence.targets).sum(1)


def test_a_method_that_maps_the_network_over_images_is_not_told_that_it_leaves_their_range():
    found = BY_NAME["in-range"].of(Candidate(MappedCAM))
    assert (found.outcome, found.seen) == (
        "does not apply",
        "it asks the network inside torch.func.vmap, where no value can be read",
    )


class RefusingHalf(GradCAM):
    def explain(self, evidence, classifier):
        if evidence.images.dtype == torch.float16:
            raise NotApplicable("no float16")
        return super().explain(evidence, classifier)


def test_a_precision_that_is_refused_in_words_is_not_asked_for():
    assert BY_NAME["low-precision"].of(Candidate(RefusingHalf)).outcome == "passed"


class RefusingTraining(GradCAM):
    def explain(self, evidence, classifier):
        if classifier.network.training:
            raise RuntimeError("call eval first")
        return super().explain(evidence, classifier)


def test_an_error_means_that_there_is_no_map_and_not_what_the_check_is_about():
    found = BY_NAME["training-mode"].of(Candidate(RefusingTraining))
    assert (found.seen, found.means) == ("RuntimeError: call eval first", "it gives no map there")
    assert BY_NAME["training-mode"].means != found.means
