"""The text of source that keys are made of."""

from __future__ import annotations

import ast

from camfaith.benchmark.suite.sources import _said


def test_a_source_is_told_without_the_empty_fields_in_which_versions_of_python_differ():
    tree = ast.parse("def f(x, *, y=None) -> int:\n    return x[1:], lambda: ()")
    told = "arguments(args=[arg(arg='x')], kwonlyargs=[arg(arg='y')], kw_defaults=[Constant()])"
    assert told in _said(tree)
    for field in ("type_params", "decorator_list", "type_ignores", "None", "posonlyargs"):
        assert field not in _said(tree)
    assert _said(ast.parse("f(0)")) != _said(ast.parse("f(0.0)")) != _said(ast.parse("f(-0.0)"))
