"""Content evidence: does what a row says support its given label?"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from bedkd.detectors import Content
from bedkd.detectors.content import folds


@pytest.fixture
def wrong(reviews):
    """Which untrusted rows get a wrong label."""
    return np.arange(len(reviews["train"])) % 5 == 0


@pytest.fixture
def mislabelled(reviews, reviews_case, wrong):
    true = np.asarray(reviews["train"]["label"])
    return reviews_case(labels=np.where(wrong, 1 - true, true))


def test_content_speaks_against_wrong_labels(mislabelled, wrong):
    found = Content().evidence(mislabelled)
    assert roc_auc_score(wrong, found.untrusted) > 0.8
    assert found.untrusted[wrong].mean() > 0 > found.untrusted[~wrong].mean()
    # Trusted rows are judged by models that did not see them, so some are misjudged; none of the
    # rows would be by a model that did.
    assert found.trusted.shape == (len(mislabelled.divided.all),) == (120,)
    assert 0 < (found.trusted > 0).mean() < 0.4
    assert found.eligible.all()
    assert found.null.all()


def test_trusted_rows_stand_in_the_order_of_the_parts(reviews, reviews_case):
    """Trusted rows with wrong labels, so that each is known by what content says of it."""
    wrong = np.arange(120) % 10 == 0
    labels = np.asarray(reviews["dev"]["label"])
    trusted = reviews["dev"].remove_columns("label")
    trusted = trusted.add_column("label", np.where(wrong, 1 - labels, labels).tolist())
    case = reviews_case(trusted=trusted)
    texts = np.asarray(reviews["dev"]["text"], object)[wrong]
    asked = np.isin(np.asarray(case.divided.all["text"], object), texts)
    assert 0 < asked.sum() <= wrong.sum()
    assert roc_auc_score(asked, Content().evidence(case).trusted) > 0.8


def test_a_label_that_no_trusted_row_has_is_not_supported(reviews_case, reviews):
    texts = reviews["train"]["text"][:2]
    found = Content().evidence(reviews_case(texts, [2, 2], num_labels=3))
    assert (found.untrusted > 10).all()


def test_same_case_same_evidence(mislabelled):
    one, two = (Content().evidence(mislabelled) for _ in range(2))
    assert np.array_equal(one.untrusted, two.untrusted)
    assert np.array_equal(one.trusted, two.trusted)


def test_as_a_detector_it_flags_wrong_labels_and_none_where_there_are_none(
    mislabelled, wrong, reviews_case
):
    found = Content(fdr=0.2, min_flagged=5).detect(mislabelled)
    assert found.is_backdoored
    assert found.flagged.sum() >= 5
    assert wrong[found.flagged].mean() > 0.5  # 0.2 by chance
    assert (found.scores[found.flagged] >= found.threshold).all()
    assert (
        not Content(fdr=0.2, min_flagged=int(found.flagged.sum()) + 1)
        .detect(mislabelled)
        .is_backdoored
    )
    clean = Content().detect(reviews_case())
    assert not clean.is_backdoored


@pytest.mark.parametrize(("smallest", "count"), [(1, 2), (3, 3), (9, 5)])
def test_folds_are_five_or_as_many_as_the_smallest_class_has_rows(smallest, count):
    labels = np.repeat([0, 1], [20, smallest])
    parts = folds([str(i) for i in range(len(labels))], labels, 0)
    assert len(parts) == count
    assert sorted(np.concatenate([test for _, test in parts])) == list(range(len(labels)))


def test_copies_of_a_row_stay_in_one_fold():
    texts = [f"Row {i}" for i in range(40)]
    copies = [*texts, *(text.upper() for text in texts), *(f" row  {i}" for i in range(40))]
    labels = np.tile(np.repeat([0, 1], 20), 3)
    for train, test in folds(copies, labels, 0):
        assert not {i % 40 for i in train} & {i % 40 for i in test}
        assert len(train) + len(test) == 120
        assert labels[test].mean() == 0.5
    # One text over and over cannot be divided; the folds do without grouping.
    same = folds(["x"] * 10 + [str(i) for i in range(10)], np.repeat([0, 1], 10), 0)
    assert all(0 < sum(test < 10) < 10 for _, test in same)
