"""What a terminal of 80 columns shows of a table."""

import io

import pytest
from rich.console import Console

from camfaith.benchmark.cli.terminal import folded
from camfaith.reports.markup import Row, Table, Value

LONG = "gradcam(layer=features.denseblock4.denselayer16.conv2)"


@pytest.mark.parametrize("interval", ["[0.206, 0.465]", ""])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_marks_and_intervals_are_whole_at_every_width(width, interval):
    value = Value("0.313", interval, best=False, doubtful=True)
    heads = ["n", *(f"conservation-{i} auc ↓" for i in range(6)), f"{LONG}-{LONG} auc"]
    rows = [
        Row(name, name == "random", [Value("25–32"), *[value] * 7]) for name in (LONG, "[/red]", "[bold]x", "random")
    ]
    written = io.StringIO()
    for part in folded(Table("stem", "title", heads, rows), width):
        Console(file=written, width=width).print(part)
    seen = written.getvalue()
    assert max(map(len, seen.splitlines())) <= width
    assert seen.count(value.text) == 4 * 7
    assert [f"conservation-{i}" in seen for i in range(6)] == [True] * 6
    assert ("[/red]" in seen, "[bold]x" in seen, "…" in seen) == (True, True, False)
    assert LONG in "".join(line[: width // 3 + 1].strip() for line in seen.splitlines())
