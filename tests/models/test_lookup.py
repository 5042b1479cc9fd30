"""Finding things by name."""

from importlib.metadata import EntryPoint

import pytest

from camfaith import methods


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "not_there:CAM",
            "'not_there:CAM', the method 'theirs' of an installed package: No module named 'not_there'$",
        ),
        ("broken_package:CAM", r"cannot import 'broken_package:CAM', .*: KeyError: 3 \(broken_package.py, line 2\)"),
        ("broken_package", "KeyError"),
        ("os:getcwd", "'theirs' is no method: expected a class with explain"),
    ],
)
def test_an_entry_point_that_leads_to_no_method_is_refused(monkeypatch, tmp_path, value, message):
    (tmp_path / "broken_package.py").write_text("import torch\n{}[3]\n")
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint("theirs", value, "camfaith.methods")
    monkeypatch.setattr("camfaith.models.lookup.entry_points", lambda group: [point])
    with pytest.raises(ValueError, match=message):
        methods.find("theirs")
