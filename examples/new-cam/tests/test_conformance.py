"""What every class activation map owes its users: each check is a test."""

import pytest
from camfaith.benchmark import method_checks

from nearcam import NearCAM


@pytest.mark.parametrize("check", method_checks(NearCAM), ids=str)
def test_nearcam(check):
    check()
