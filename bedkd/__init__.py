"""BeDKD: find and remove backdoors in text classifiers.

A thin library behind an executable book: poison a training set (:mod:`bedkd.attacks`), train the
victim (:mod:`bedkd.training`), find the poisoned rows by directional mapping
(:mod:`bedkd.mapping`), distil the backdoor out (:mod:`bedkd.distillation`), measure
(:mod:`bedkd.metrics`). :func:`bedkd.defence.purify` does the defence in one call.
"""

from importlib.metadata import version

__version__ = version("bedkd")
