"""Checks whether a method keeps its contract: `check_method(MyCAM)`, or as tests `method_checks(MyCAM)`."""

from camfaith.benchmark.conformance.of_methods.checks import CHECKS, check_method, method_checks

__all__ = ["CHECKS", "check_method", "method_checks"]
