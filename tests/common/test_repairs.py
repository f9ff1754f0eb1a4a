"""Every repair passes the common checks."""

import pytest
from checks import REPAIR_CHECKS

from bedkd.repairs import REPAIRS


@pytest.mark.parametrize("name", REPAIRS)
@pytest.mark.parametrize("check", REPAIR_CHECKS, ids=lambda check: check.__name__)
def test_repair(lab, check, name):
    check(lab, name)
