"""Checks whether a metric keeps its contract: `check_metric(MyMetric)`, or as tests `metric_checks(MyMetric)`."""

from camfaith.benchmark.conformance.of_metrics.checks import CHECKS, check_metric, metric_checks

__all__ = ["CHECKS", "check_metric", "metric_checks"]
