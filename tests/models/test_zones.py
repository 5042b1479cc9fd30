"""Zones, cell by cell; tests/metrics/test_artifacts.py draws them pixel by pixel at every size."""

import pytest

from camfaith.models.zones import border, corners


@pytest.mark.parametrize(
    ("zone", "size", "drawn"),
    [
        (corners, (2, 3), ("#.#", "#.#")),  # a sixth of three cells is still a cell
        (corners, (3, 12), ("##........##", "............", "##........##")),
        (border, (4, 12), ("############", "#..........#", "#..........#", "############")),
        (border, (2, 2), ("##", "##")),
    ],
)
def test_a_zone_is_at_least_one_cell_wide(zone, size, drawn):
    assert zone(*size).tolist() == [[cell == "#" for cell in row] for row in drawn]
