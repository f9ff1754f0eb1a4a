"""The toy victim, the rows that are truly poisoned, and how a repaired model is judged."""

from types import SimpleNamespace

import numpy as np
import pytest

from bedkd.detectors import Given
from bedkd.repairs.start import trusted_rows
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict


@pytest.fixture
def given(case, task):
    """A detection of exactly the poisoned rows."""
    return Given(tuple(np.flatnonzero(task.train["poisoned"]))).detect(case)


@pytest.fixture
def judge(task, tokenizer):
    """ASR, CACC and RACC of a model on the toy test rows."""

    def share(model, rows):
        encoded = EncodedTexts(tokenizer, rows["text"][:], rows["label"][:])
        return float((predict(model, encoded).labels == encoded.labels).mean())

    sets = {"asr": task.poisoned_test, "cacc": task.clean["test"], "racc": task.triggered}
    return lambda model: SimpleNamespace(**{k: share(model, rows) for k, rows in sets.items()})


@pytest.fixture
def every_option_counts(case, given, weights, same_weights):
    """Each of these settings makes another model than the first, and the first comes out again."""

    def check(method, *others, detection=given, repeated=True):
        made = [weights(m.repair(case, detection).model) for m in (method, *others)]
        if repeated:
            assert same_weights(made[0], weights(method.repair(case, detection).model))
        for one, other in zip(made[1:], others, strict=True):
            assert not same_weights(made[0], one), other

    return check


@pytest.fixture
def trusted(case):
    """What a repair may train on, as the model reads it."""
    return case.encoded(trusted_rows(case), "the trusted set")
