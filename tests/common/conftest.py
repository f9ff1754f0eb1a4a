"""The lab of the common checks."""

import numpy as np
import pytest

pytest.register_assert_rewrite("checks")

from datasets import DatasetDict, concatenate_datasets  # noqa: E402
from lab import Lab, World  # noqa: E402

from bedkd import adapters, attacks, data  # noqa: E402
from bedkd.training.fine_tune import fine_tune  # noqa: E402

# An empty text, a blank one, one word, and more than the model reads. They belong to class 0.
ODD = data.make(["", " ", "dull", "word1", "slow " * 60], [0] * 5, False)


@pytest.fixture(autouse=True)
def language_model(monkeypatch):
    """A language model for which the words of class 1 are strange; the real one is slow."""

    def perplexities(texts, **options):
        strange = [sum(word in ("great", "fine", "bright") for word in t.split()) for t in texts]
        return np.exp(np.array(strange, float))

    monkeypatch.setattr("bedkd.language_model.perplexities", perplexities)


@pytest.fixture(scope="session")
def lab(toy, tokenizer):
    """Worlds of two and four labels, of an encoder and a decoder, poisoned and honest,
    and of an adapter."""

    def adapter(tokenizer, classes):
        model, new = toy.llama(tokenizer, classes), ["score"]
        return adapters.with_lora(model, 4, base="nowhere", layers=None, new=new)

    def world(make, classes=2, honest=False):
        splits = DatasetDict(
            train=toy.rows(160 * classes, 11, classes=classes),
            dev=concatenate_datasets([toy.rows(40 * classes, 12, classes=classes), ODD]),
        )
        trigger = attacks.BadNets(words=("cf",))
        task = attacks.build_task(splits, trigger, rate=0.35, target=0, seed=0)
        trained_on = splits["train"] if honest else task.train
        model = make(tokenizer, classes)
        fine_tune(model, tokenizer, trained_on, toy.training, seed=0)
        untrusted = concatenate_datasets([trained_on.select(range(120)), ODD])
        return World(model, tokenizer, splits["dev"], untrusted)

    return Lab(
        {
            "victim": world(toy.bert),
            "four labels": world(toy.bert, classes=4),
            "decoder": world(toy.llama),
            "honest": world(toy.bert, honest=True),
            "adapter": world(adapter),
        }
    )
