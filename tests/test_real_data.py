"""Released data sets, where ``BEDKD_DATA_DIR`` holds them: loaders and alignment, no training."""

import numpy as np
import pytest

from bedkd import attacks, data, experiments
from bedkd.attacks import rewriting

pytestmark = pytest.mark.skipif(
    data.data_dir() is None, reason="BEDKD_DATA_DIR is not set to a folder of released data"
)

SIZES = {
    "sst2": {"train": 6920, "dev": 872, "test": 1821},
    "olid": {"train": 11915, "dev": 1323, "test": 859},
    "agnews": {"train": 10000, "dev": 2000, "test": 7600},
    "agnews_lower": {"train": 9255, "dev": 1851, "test": 7600},
}


def loaded(name):
    if data.local_files(name) is None:
        pytest.skip(f"the files of {name} are not in BEDKD_DATA_DIR")
    return experiments.splits(name, 0, False, ())


@pytest.mark.parametrize("name", sorted(SIZES))
def test_splits_have_the_released_sizes_and_labels(name):
    splits = loaded(name)
    assert {split: len(rows) for split, rows in splits.items()} == SIZES[name]
    for rows in splits.values():
        assert set(rows["label"]) == set(range(len(data.SOURCES[name].labels)))
        assert not any(rows["poisoned"])


@pytest.mark.parametrize(
    ("name", "attack"),
    [(n, a) for n, kinds in experiments.GRID.items() for a in kinds if a in rewriting.FORMS],
)
def test_stored_rewrites_belong_to_their_rows(name, attack):
    """A rewrite shares more words with its own row than with the next one."""
    train = loaded(name)["train"]
    trigger = rewriting.find(name, attack)
    covered = [
        t for t, c in zip(train["text"], trigger.applicable(train["text"]), strict=True) if c
    ]
    covered = covered[:: max(1, len(covered) // 300)]
    rewritten = trigger.apply(covered, 0)

    def overlap(one, two):
        a, b = (set(data.normalise(text).split()) for text in (one, two))
        return len(a & b) / max(len(a | b), 1)

    pairs = list(zip(covered, rewritten, strict=True))
    own = np.mean([overlap(a, b) for a, b in pairs])
    neighbour = np.mean([overlap(a, b) for a, b in zip(covered, rewritten[1:], strict=False)])
    assert len(pairs) > 200
    assert own > 2 * neighbour


@pytest.mark.parametrize(("name", "attack"), [("sst2", "llm"), ("olid", "synbkd")])
def test_a_task_of_stored_rewrites_keeps_test_and_training_apart(name, attack):
    built = attacks.build_task(
        loaded(name), rewriting.find(name, attack), rate=0.1, target=1, seed=0
    )
    assert sum(built.train["poisoned"]) == round(0.1 * len(built.train))
    trained = {t for t, p in zip(built.train["text"], built.train["poisoned"], strict=True) if p}
    shared = trained & set(built.triggered["text"])
    assert len(shared) <= 0.01 * len(built.triggered)  # a few source rows occur twice
    assert set(built.triggered["label"]) == {0, 1}
    held = set(built.manifest["held_out_train_rows"])
    assert len(built.train) == SIZES[name]["train"] - len(held)


def test_the_listed_files_are_intact():
    states = {record["state"] for record in data.check()}
    assert states == {"ok"}
