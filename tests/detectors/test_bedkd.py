"""What the evidence of several witnesses adds up to."""

import numpy as np
import pytest
from bedkd.defence import BeDKDConfig
from sklearn.metrics import roc_auc_score

from bedkd import data, detection


@pytest.mark.parametrize(("known", "found"), [((20, 20), (True, True)), ((20, 5), (True, False))])
def test_every_label_with_enough_suspects_may_have_a_backdoor(known, found):
    """Two triggers with a target each; so many rows of each are known as suspects."""
    splits = data.load("reviews", train=240, dev=120, test=0)
    texts, given = list(splits["train"]["text"]), np.asarray(splits["train"]["label"])
    rng, groups = np.random.default_rng(0), []
    for label, word in enumerate(("mn", "cf")):
        rows = rng.permutation(np.flatnonzero(given == label))[:40]
        for i in rows:
            texts[i] = f"{word} {texts[i]}"
        groups.append(rows)
    seeds = np.zeros(len(texts), bool)
    for rows, count in zip(groups, known, strict=True):
        seeds[rows[:count]] = True
    untrusted = data.make(texts, given, None)
    seen = detection._surface(
        splits["dev"], untrusted, seeds, seeds.astype(float), BeDKDConfig(least_suspects=8), 0
    )
    honest = np.setdiff1d(np.arange(len(texts)), np.concatenate(groups))
    for rows, count, stands_out in zip(groups, known, found, strict=True):
        asked = np.concatenate([rows[count:], honest])
        truth = np.arange(len(asked)) < len(rows) - count
        assert (roc_auc_score(truth, seen.untrusted[asked]) > 0.85) == stands_out
    assert seen.shared > 0.9
