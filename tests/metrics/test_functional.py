"""The formulas of the metrics, called on their own."""

import doctest
import importlib
import pkgutil

import pytest
import torch

from camfaith import metrics
from camfaith.metrics import functional

FORMULAS = {name: one for name, one in vars(functional).items() if callable(one)}
MODULES = [found.name for found in pkgutil.iter_modules(metrics.__path__, "camfaith.metrics.") if not found.ispkg]


@pytest.mark.parametrize("name", MODULES)
def test_what_a_docstring_shows_is_what_comes_out(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0


@pytest.mark.parametrize("name", FORMULAS)
def test_every_formula_shows_an_example(name):
    assert ">>> " in FORMULAS[name].__doc__
    assert f"{name}(" in FORMULAS[name].__doc__
