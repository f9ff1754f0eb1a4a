"""Every detector passes the common checks."""

import pytest
from checks import DETECTOR_CHECKS

from bedkd.detectors import DETECTORS


@pytest.mark.parametrize("name", [*DETECTORS, "given"])
@pytest.mark.parametrize("check", DETECTOR_CHECKS, ids=lambda check: check.__name__)
def test_detector(lab, check, name):
    check(lab, name)
