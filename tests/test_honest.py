"""Honest four-class models under the conditions of real life: no false alarm, no class harmed."""

from dataclasses import replace

import numpy as np
import pytest
from datasets import concatenate_datasets

from bedkd import Case, Parts, data, purify
from bedkd.detectors import BeDKDDetector, DirectionalMapping
from bedkd.metrics import racc
from bedkd.repairs import AdversarialDistillation
from bedkd.training.fine_tune import fine_tune
from bedkd.training.predict import predict

# Real thresholds; a learning rate and sizes for toy models. The encoder of the content evidence
# knows nothing of toy words.
DETECTOR = BeDKDDetector(DirectionalMapping(epochs=6, lr=3e-3), content=None, association=None)
REPAIR = AdversarialDistillation(max_suspects=64, cycles=2, lr=1e-3)
PARTS = Parts(flip=20, tune=40, held_out=30)


def without_a_class(train, trusted):
    return train, trusted.filter(lambda row: row["label"] != 3)


def with_copies(train, trusted):
    return concatenate_datasets([train] * 3), trusted


def with_label_noise(train, trusted):
    labels, rng = np.array(train["label"]), np.random.default_rng(0)
    wrong = rng.permutation(len(labels))[: round(0.06 * len(labels))]
    labels[wrong] = (labels[wrong] + rng.integers(1, 4, len(wrong))) % 4
    return data.make(train["text"], labels.tolist(), None), trusted


def with_a_rare_class(train, trusted):
    rows = [trusted.filter(lambda row, k=k: row["label"] == k) for k in range(4)]
    return train, concatenate_datasets([*rows[:3], rows[3].select(range(6))])


def half_with_an_exclamation_mark(train, trusted):
    texts = [text + " tq" * (i % 8 < 4) for i, text in enumerate(train["text"])]
    return data.make(texts, train["label"], None), trusted


CHANGES = {
    without_a_class: ("cannot tell", "no trusted row has label 3"),
    with_copies: ("no evidence of a backdoor", None),
    with_label_noise: ("no evidence of a backdoor", None),
    with_a_rare_class: ("no evidence of a backdoor", "6 trusted rows in the smallest class"),
    half_with_an_exclamation_mark: ("no evidence of a backdoor", None),
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_no_false_alarm_and_no_class_harmed(change, toy, tokenizer):
    train, trusted = change(toy.rows(640, 1, classes=4), toy.rows(400, 2, classes=4))
    verdict, said = CHANGES[change]
    model = toy.bert(tokenizer, classes=4)
    fine_tune(model, tokenizer, train, replace(toy.training, epochs=10), seed=0)
    result = purify(Case(model, tokenizer, trusted, train, PARTS, max_length=32), DETECTOR, REPAIR)
    assert result.verdict == verdict
    assert result.model is model
    assert said is None or any(
        said in line for line in [*result.detection.cannot_tell, *result.warnings]
    )
    test = toy.rows(200, 3, classes=4)
    answers = predict(result.model, result.case.encoded(test, "the test rows")).labels
    assert all(share.value > 0.8 for share in racc(answers, test["label"])[1].values())
