"""BeDKD: find and remove backdoors in text classifiers.

A thin library behind an executable book. What the defender holds is a :class:`~bedkd.case.Case`; a
detector (:mod:`bedkd.detectors`) finds poisoned rows, a repair (:mod:`bedkd.repairs`) takes the
backdoor out, :func:`~bedkd.purify.purify` does both. :mod:`bedkd.attacks` makes the attacks to
try it on, :mod:`bedkd.evaluation` measures.
"""

from importlib.metadata import version

from bedkd.case import Case, Parts
from bedkd.purify import Purified, purify
from bedkd.run import Run

__version__ = version("bedkd")
__all__ = ["Case", "Parts", "Purified", "Run", "purify"]
