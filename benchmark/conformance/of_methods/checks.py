"""The checks by name, the inputs that they try, small to large, and what a failure means for a reader of the maps."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from camfaith.benchmark.conformance.examination import Check, Examination, require_known
from camfaith.benchmark.conformance.of_methods import binding, contract, leaks, meaning
from camfaith.benchmark.conformance.of_methods.candidate import Candidate
from camfaith.benchmark.conformance.report import Report
from camfaith.benchmark.conformance.trials import Trial
from camfaith.models.errors import NotApplicable

_TINY = Trial(1, 2, 2)
_SINGLE_CELL = (_TINY, Trial(2, 2, 2), Trial(1, 4, 4), Trial(2, 4, 4, 1), Trial(3, 9, 12, 2))
_ORDINARY = (Trial(1, 4, 4), Trial(2, 4, 4, 1), Trial(2, 8, 8, 2))
_BATCHES = (Trial(2, 4, 4), Trial(2, 8, 8, 1), Trial(3, 9, 12, 2))
_SEEDS = tuple(Trial(1, side, side, seed) for side, seed in ((4, 0), (4, 1), (4, 2), (4, 3), (8, 4), (8, 5)))
_LARGE = tuple(Trial(1, 8, 8, seed) for seed in range(4))
_CROWDS = (Trial(4, 4, 4), Trial(4, 8, 8, 1))
_SCENES = (Trial(1, 4, 4), Trial(1, 8, 8), Trial(1, 8, 12))
_SQUARES = (Trial(1, 4, 4), Trial(1, 6, 6, 1), Trial(1, 8, 6, 2))


CHECKS: tuple[Check[Candidate], ...] = (
    Check(contract.shape, _SINGLE_CELL, "no suite can use its maps"),
    Check(contract.dtype, _ORDINARY, "precision is lost, or half of a machine's memory"),
    Check(contract.device, _ORDINARY, "maps have to be moved before they can be compared or shown"),
    Check(contract.finite, _SINGLE_CELL, "some images get no map, and averages over images turn NaN"),
    Check(contract.repeatable, _ORDINARY, "a result cannot be reproduced, and a run that resumes ends elsewhere"),
    Check(
        contract.batch,
        _BATCHES,
        "an image's map depends on which images happen to stand beside it",
        least=Trial(2, 2, 2),
    ),
    Check(leaks.images_untouched, _ORDINARY, "the methods that come after it explain something else"),
    Check(leaks.network_untouched, _ORDINARY, "explaining changes the model, or what its optimiser does next"),
    Check(
        leaks.training_mode,
        _BATCHES,
        "called during training, it explains another network or changes this one",
        least=Trial(2, 2, 2),
    ),
    Check(leaks.hooks, _ORDINARY, "later calls of the model are slower, hold memory, or compute something else"),
    Check(leaks.random_state, _ORDINARY, "explaining changes the random numbers of whatever runs after it"),
    Check(leaks.process_untouched, _ORDINARY, "code that has nothing to do with it computes otherwise from then on"),
    Check(binding.layer, _LARGE, "whichever layer is named, the same one is explained", least=Trial(1, 8, 8)),
    Check(binding.preprocessing, _SEEDS, "with a model's normalisation it explains images that the model never sees"),
    Check(
        binding.one_logit, _ORDINARY, "networks of one logit, or of independent labels, get the map of another score"
    ),
    Check(binding.present_weights, _ORDINARY, "a model that is trained on, or altered by a metric, gets an old map"),
    Check(
        contract.frozen, _ORDINARY, "it cannot explain a model whose weights are fixed, as in deployment", by_error=True
    ),
    Check(
        contract.no_grad, _ORDINARY, "it fails in code that switches gradients off, as inference does", by_error=True
    ),
    Check(contract.low_precision, _SEEDS[4:], "models in half precision cannot be explained", least=Trial(1, 8, 8, 4)),
    Check(contract.in_place, _SEEDS, "in networks with in-place ReLUs (torchvision's) it mixes two layers"),
    Check(
        contract.reused_layer, _SEEDS, "in networks that share a module it explains another call than it is thought to"
    ),
    Check(contract.in_range, _ORDINARY, "the network is judged on images unlike any that it was trained on"),
    Check(contract.cost, _BATCHES, "a plan of a run tells the wrong number of network calls"),
    Check(leaks.memory, _ORDINARY[:1], "a long run ends for want of memory", least=Trial(1, 4, 4)),
    Check(
        meaning.class_dependence,
        _CROWDS,
        "the map says nothing of the class; if it is meant so: class_dependent = False",
        least=Trial(1, 3, 3),
    ),
    Check(meaning.zero_activations, _ORDINARY, "a layer that shows nothing gets a picture"),
    Check(meaning.constant_evidence, _SCENES, "evidence everywhere looks like evidence nowhere"),
    Check(meaning.planted_patch, _SCENES, "the map's highest point is not where the evidence is", least=Trial(1, 4, 4)),
    Check(
        meaning.negative_logit,
        _SCENES,
        "for a class that the model holds unlikely the map is reversed or empty",
        least=Trial(1, 4, 4),
    ),
    Check(
        meaning.evidence_against,
        _SCENES,
        "what speaks against the class looks as if it spoke for it",
        least=Trial(1, 4, 4),
    ),
    Check(meaning.mosaic, _SCENES, "the map of one class shows what speaks for another"),
    Check(meaning.known_map, _SCENES, "it is no weighting of channels by the class's gradient", least=Trial(1, 3, 3)),
    Check(meaning.completeness, _SEEDS, "the map's values are no shares of the logit"),
    Check(meaning.logit_scale, _SEEDS, "a model with the same decisions and flatter logits gets another map"),
    Check(meaning.flip, _SQUARES, "maps lean to one side, whatever the image", least=Trial(1, 4, 4)),
    Check(
        meaning.cancelling_channel,
        _SCENES,
        "with signed activations (SiLU, GELU) one channel may rule the map",
        least=Trial(1, 4, 4),
    ),
    Check(meaning.silent_cells, _SCENES, "the map lights up where the layer has nothing to show"),
    Check(meaning.like, _SEEDS, "numbers published with it are not those of the method whose name it bears"),
)


def check_method(method: Any, /, *, like: Any = None, **settings: Any) -> Report:
    """All checks of a method: a class, or a name (shipped, `package.module:Class`, `pgc:Class`, `zennit:Composite`).

    `like` is the method whose maps it must equal, by name or as a table of a suite, {"name": "gradcam++", "variant":
    "pgc"}; another library's method is compared with the shipped one of its name. `settings` go to its constructor;
    `SuiteError` names those that exist.
    """
    candidate = examined(method, like=like, **settings)
    findings, ground = tuple(check.of(candidate) for check in CHECKS), ""
    with suppress(NotApplicable):
        ground = candidate.ground.name
    return Report(candidate.name, findings, ground)


def method_checks(method: Any, /, *, like: Any = None, **settings: Any) -> list[Examination[Candidate]]:
    """Every check of a method for `pytest.mark.parametrize`:

    @pytest.mark.parametrize("check", method_checks(MyCAM), ids=str)
    def test_my_cam(check):
        check()
    """
    candidate = examined(method, like=like, **settings)
    return [Examination(check, candidate) for check in CHECKS]


def examined(method: Any, /, *, like: Any = None, **settings: Any) -> Candidate:
    """The method to check; `SuiteError` if it is exempt from a check that does not exist."""
    candidate = Candidate(method, like=like, **settings)
    require_known(candidate, CHECKS)
    return candidate
