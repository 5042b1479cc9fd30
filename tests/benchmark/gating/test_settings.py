"""`[tool.camfaith.gate]`."""

from __future__ import annotations

import pytest

from camfaith.benchmark.gating.settings import declared
from camfaith.benchmark.suite.mistakes import SuiteError


@pytest.fixture
def file(tmp_path):
    return tmp_path / "pyproject.toml"


def test_names_and_tables_are_entries(file):
    file.write_text(
        '[tool.camfaith.gate]\nmethod = "mycam.py:MyCAM"\nlike = { name = "gradcam++", variant = "pgc" }\n'
        'metrics = ["road", { name = "deletion", steps = 4 }]\nmargin = { deletion = 0.02 }\n'
        "[tool.ruff]\nline-length = 99\n"
    )
    found = declared(file)
    assert found.method.name == "mycam.py:MyCAM"
    assert found.like.settings == {"variant": "pgc"}
    assert [metric.settings for metric in found.metrics] == [{}, {"steps": 4}]
    assert found.margin == {"deletion": 0.02}


def test_no_file_and_no_table_declare_nothing(file):
    assert declared(file).model_fields_set == set()
    file.write_text("[project]\nname = 'mine'\n")
    assert declared(file).model_fields_set == set()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('metod = "a.py:B"', "unknown key in [tool.camfaith.gate] 'metod': did you mean 'method'"),
        ("limit = 0", "key 'tool.camfaith.gate.limit' must be a whole number, 1 or more; got 0"),
        ("metrics = []", "key 'tool.camfaith.gate.metrics' must be"),
        ("method = 3", "key 'tool.camfaith.gate.method' must be"),
        ("limit", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_line(file, line, told):
    file.write_text(f"[tool.camfaith.gate]\n{line}\n")
    with pytest.raises(SuiteError) as raised:
        declared(file)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
