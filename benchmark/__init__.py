"""What runs: suites, data sets, the plan, the runner, and what it stored."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camfaith.benchmark.claims.checking import check_claims
    from camfaith.benchmark.conformance import check_method, check_metric, method_checks, metric_checks
    from camfaith.benchmark.gating.loop import gate
    from camfaith.benchmark.picture.side_by_side import explain
    from camfaith.benchmark.results.baseline import read_baseline, write_baseline
    from camfaith.benchmark.results.checked import Checked
    from camfaith.benchmark.results.comparison import Comparison, compare
    from camfaith.benchmark.results.exact import exact
    from camfaith.benchmark.results.explanation import Explanation
    from camfaith.benchmark.results.store import Result, load
    from camfaith.benchmark.running.adding import add
    from camfaith.benchmark.running.planning import plan
    from camfaith.benchmark.running.runner import run
    from camfaith.benchmark.suite.declaration import Suite
    from camfaith.benchmark.training.finetune import finetune
    from camfaith.models.pictures import load_picture

# Torch takes seconds to import; `camfaith --help` must not wait for it.
_WHERE = {
    "Checked": "results.checked",
    "Comparison": "results.comparison",
    "Explanation": "results.explanation",
    "Result": "results.store",
    "Suite": "suite.declaration",
    "add": "running.adding",
    "check_claims": "claims.checking",
    "check_method": "conformance",
    "check_metric": "conformance",
    "compare": "results.comparison",
    "exact": "results.exact",
    "explain": "picture.side_by_side",
    "finetune": "training.finetune",
    "gate": "gating.loop",
    "load": "results.store",
    "load_picture": "datasets.pictures",
    "method_checks": "conformance",
    "metric_checks": "conformance",
    "plan": "running.planning",
    "read_baseline": "results.baseline",
    "run": "running.runner",
    "write_baseline": "results.baseline",
}

__all__ = [
    "Checked",
    "Comparison",
    "Explanation",
    "Result",
    "Suite",
    "add",
    "check_claims",
    "check_method",
    "check_metric",
    "compare",
    "exact",
    "explain",
    "finetune",
    "gate",
    "load",
    "load_picture",
    "method_checks",
    "metric_checks",
    "plan",
    "read_baseline",
    "run",
    "write_baseline",
]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(f"camfaith.benchmark.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
