"""Checks whether a method keeps its contract: `check_method(MyCAM)`, or as tests `method_checks(MyCAM)`."""

from camfaith.benchmark.conformance.checks import CHECKS, Check, Examination, Finding, method_checks
from camfaith.benchmark.conformance.report import Report, check_method

__all__ = ["CHECKS", "Check", "Examination", "Finding", "Report", "check_method", "method_checks"]
