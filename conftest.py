"""Settings that the unit tests and nbval share.

It stands at the root because pytest reads it from there for ``pytest --nbval notebooks`` too.
"""

import os

from chapters import notebook_environment


def pytest_configure():
    os.environ["BEDKD_PROFILE"] = "quick"  # the profile of the stored outputs
    for name, value in notebook_environment().items():
        os.environ.setdefault(name, value)


def pytest_collectstart(collector):
    # A message on stderr differs between machines; check_chapters keeps stored outputs free of it.
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr",)
