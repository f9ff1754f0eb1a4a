"""The examples in docstrings run, and everything on the README's path has one."""

import doctest
import importlib
import pkgutil

import pytest

import bedkd
from bedkd import Case, Run, attacks, data, evaluation, models, purify
from bedkd.detectors import DETECTORS, Detector, Given
from bedkd.purify import detect
from bedkd.repairs import REPAIRS, Repair

MODULES = [module.name for module in pkgutil.walk_packages(bedkd.__path__, "bedkd.")]
PATH = [Case, Run, purify, detect, evaluation.evaluate, attacks.build_task]
PATH += [models.load_backbone, models.save_checkpoint, data.load, data.read, data.make]
PATH += [Detector, Repair, Given, *DETECTORS.values(), *REPAIRS.values()]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("thing", PATH, ids=lambda thing: thing.__name__)
def test_the_way_through_has_examples(thing):
    assert any(test.examples for test in doctest.DocTestFinder(recurse=False).find(thing))
