"""The checks of metrics by name, the inputs that they try, small to large, and what a failure means for a reader of the
values."""

from __future__ import annotations

from typing import Any

from camfaith.benchmark.conformance.examination import Check, Examination, require_known
from camfaith.benchmark.conformance.of_metrics import contract, documentation, leaks, maps, meaning
from camfaith.benchmark.conformance.of_metrics.candidate import Candidate
from camfaith.benchmark.conformance.report import Report
from camfaith.benchmark.conformance.trials import Trial

_LEAST, _PAIR, _CROWD = Trial(1, 6, 6), Trial(2, 6, 6), Trial(16, 6, 6)
_LARGE, _SCENE = Trial(1, 11, 11), Trial(4, 32, 32)
_ORDINARY = (Trial(1, 6, 6), Trial(2, 7, 9, 1), Trial(3, 12, 9, 2))
_BATCHES = (Trial(2, 6, 6), Trial(3, 7, 9, 1), Trial(3, 12, 9, 2))
_SIZES = (Trial(1, 11, 11), Trial(2, 12, 15, 1), Trial(2, 17, 13, 2))
_CROWDS = (Trial(16, 8, 8), Trial(16, 7, 9, 1))
_SCENES = (Trial(4, 40, 40), Trial(4, 36, 33, 1))


CHECKS: tuple[Check[Candidate], ...] = (
    Check(contract.per_image, _ORDINARY, "no table can hold its values", _LEAST),
    Check(contract.batch, _BATCHES, "an image's value depends on which images happen to stand beside it", _PAIR),
    Check(contract.grey, _ORDINARY, "other numbers are altered than the pixels that the map means", _LEAST),
    Check(contract.size, _SIZES, "some images and maps cannot be judged", _LARGE),
    Check(maps.ties, _CROWDS, "maps with ties, as all with a ReLU have, are judged by where these lie", _CROWD),
    Check(maps.zero_map, _ORDINARY, "a map that shows nothing looks good", _LEAST),
    Check(maps.constant_map, _ORDINARY, "a map that shows everything alike looks good", _LEAST),
    Check(maps.signed_map, _ORDINARY, "maps that say what speaks against the class get values of any size", _LEAST),
    Check(maps.nan_map, _ORDINARY, "a method that failed gets a number, as if it had not", _LEAST),
    Check(meaning.nan_answer, _BATCHES, "a network that failed gives a number, as if it had not", _PAIR),
    Check(meaning.direction, _SCENES, "the worse map looks better", _SCENE),
    Check(meaning.opposite_map, _SCENES, "what speaks against the class passes for what speaks for it", _SCENE),
    Check(maps.scale, _ORDINARY, "it compares methods by the units of their maps", _LEAST),
    Check(maps.range, _BATCHES, "values cannot be read as they are meant", _LEAST),
    Check(
        contract.repeatable, _ORDINARY, "a result cannot be reproduced, and a run that resumes ends elsewhere", _LEAST
    ),
    Check(contract.state, _ORDINARY, "a value depends on what was judged before", _LEAST),
    Check(
        leaks.inputs_untouched, _ORDINARY, "its own curve, and whatever comes next, sees other maps or images", _LEAST
    ),
    Check(leaks.network_untouched, _ORDINARY, "whatever comes after it sees another network", _LEAST),
    Check(leaks.random_state, _ORDINARY, "it changes the random numbers of whatever runs after it", _LEAST),
    Check(contract.cost, _BATCHES, "a plan of a run tells the wrong number of network calls", _LEAST),
    Check(meaning.steps, _ORDINARY, "its area is that of another curve than it is said to be", _LEAST),
    Check(
        contract.dtype, _ORDINARY, "a network's precision decides, or networks in half precision get no values", _LEAST
    ),
    Check(contract.no_grad, _ORDINARY, "it fails in code that switches gradients off, as inference does", _LEAST),
    Check(contract.several, _ORDINARY, "a method's value depends on which others are asked about", _LEAST),
    Check(documentation.documentation, _ORDINARY[:1], "nobody can read its values", _LEAST),
)


def check_metric(metric: Any, /, **settings: Any) -> Report:
    """All checks of a metric: a class, or a name (shipped, or `package.module:Class`). `settings` go to its
    constructor; `SuiteError` names those that exist."""
    candidate = examined(metric, **settings)
    return Report(candidate.name, tuple(check.of(candidate) for check in CHECKS))


def metric_checks(metric: Any, /, **settings: Any) -> list[Examination[Candidate]]:
    """Every check of a metric for `pytest.mark.parametrize`:

    @pytest.mark.parametrize("check", metric_checks(MyMetric), ids=str)
    def test_my_metric(check):
        check()
    """
    candidate = examined(metric, **settings)
    return [Examination(check, candidate) for check in CHECKS]


def examined(metric: Any, /, **settings: Any) -> Candidate:
    """The metric to check; `SuiteError` if it is exempt from a check that does not exist."""
    candidate = Candidate(metric, **settings)
    require_known(candidate, CHECKS)
    return candidate
