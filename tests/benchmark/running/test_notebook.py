"""A run in a notebook shows how far it is."""

import sys
from types import SimpleNamespace

from camfaith.benchmark.running.notebook import bar


def test_there_is_a_bar_in_a_notebook_and_none_elsewhere(monkeypatch, capsys):
    assert bar() is None
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    tell = bar()
    tell(3, 8, "net on data")
    tell(8, 8, "net on data")
    assert "net on data: 100%" in capsys.readouterr().err
