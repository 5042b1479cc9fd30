"""The pytest plug-in: the fixture `faithfulness`, and the option that writes its baselines.

Torch, pandas and numpy are not loaded before a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from camfaith.benchmark.gating.faithfulness import Faithfulness

WRITTEN = "faithfulness baseline"
"""The property of a test's report that names a baseline it wrote; so a worker of pytest-xdist tells it too."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faithfulness", "gates for class activation maps (camfaith)")
    group.addoption(
        "--faithfulness-update",
        action="store_true",
        help="write the baselines that faithfulness.check names, instead of comparing with them",
    )


@pytest.fixture
def faithfulness(request: pytest.FixtureRequest) -> Faithfulness:
    """Gates for a class activation map: `check` fails where it lost faithfulness, `speed` measures it beside a peer."""
    from camfaith.benchmark.gating.faithfulness import Faithfulness

    return Faithfulness(request)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    for path in dict.fromkeys(path for report in reports for name, path in report.user_properties if name == WRITTEN):
        terminalreporter.write_line(f"{WRITTEN} written: {path}; commit it")
