"""Checks whether methods and metrics keep their contracts: `check_method(MyCAM)`, `check_metric(MyMetric)`, or as tests
`method_checks(MyCAM)` and `metric_checks(MyMetric)`."""

from camfaith.benchmark.conformance.examination import Check, Examination, Finding
from camfaith.benchmark.conformance.of_methods import check_method, method_checks
from camfaith.benchmark.conformance.of_metrics import check_metric, metric_checks
from camfaith.benchmark.conformance.report import Report

__all__ = [
    "Check",
    "Examination",
    "Finding",
    "Report",
    "check_method",
    "check_metric",
    "method_checks",
    "metric_checks",
]
