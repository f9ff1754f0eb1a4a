"""What the defender holds."""

import copy

import numpy as np
import pytest
import torch
from datasets import concatenate_datasets

from bedkd import Case, Parts, data, presets
from bedkd.errors import InputError


def test_trusted_rows_are_divided_without_overlap(toy, bert, tokenizer, tiny_preset):
    rows = toy.rows(240)

    def divided(seed):
        return Case(bert, tokenizer, rows, rows, tiny_preset.parts, seed=seed).divided

    found = divided(0)
    parts = [found.flip, found.tune, found.held_out]
    assert [len(part) for part in parts] == [32, 48, 40]
    texts = [text for part in parts for text in part["text"]]
    assert len(set(texts)) == 120
    assert texts == list(found.all["text"])
    assert all(sum(part["label"]) == len(part) // 2 for part in parts)
    assert found.warnings == []
    assert list(divided(0).flip["text"]) == list(found.flip["text"])
    assert list(divided(1).flip["text"]) != list(found.flip["text"])


@pytest.mark.parametrize("per_class", [6, 7, 10, 33, 411])
def test_few_trusted_rows_shrink_all_parts_and_are_said(bert, tokenizer, per_class):
    rows = data.make([str(i) for i in range(2 * per_class)], [0, 1] * per_class, False)
    found = Case(bert, tokenizer, rows, rows, presets.paper().parts).divided
    sizes = [len(part) // 2 for part in (found.flip, found.tune, found.held_out)]
    assert min(sizes) >= 2
    assert sum(sizes) <= per_class
    assert len(found.warnings) == 1
    assert str(per_class) in found.warnings[0]


def test_too_few_trusted_rows_are_refused(toy, bert, tokenizer):
    with pytest.raises(InputError, match="only 5 rows of label 0"):
        _ = Case(bert, tokenizer, toy.rows(10), toy.rows(10)).divided
    one_class = data.make([str(i) for i in range(20)], [0] * 20, False)
    with pytest.raises(InputError, match="fewer than two classes"):
        _ = Case(bert, tokenizer, one_class, one_class).divided
    with pytest.raises(InputError, match="tune=0"):
        Parts(tune=0)


def test_only_the_suspect_model_is_asked_once(toy, bert, tokenizer, monkeypatch):
    case, asked = Case(bert, tokenizer, toy.rows(40), toy.rows(20, 2)), []

    def predict(model, rows, **_):
        asked.append((model, len(rows)))
        return f"answer {len(asked)}"

    monkeypatch.setattr("bedkd.case.predict", predict)
    first, second = np.arange(12), np.arange(12, 20)  # of a set that is read in two parts
    other = copy.deepcopy(bert)
    said = [case.ask((bert, other), part) for part in (first, second, first)]
    assert asked == [(bert, 12), (other, 12), (bert, 8), (other, 8), (other, 12)]
    assert said == [[f"answer {k}" for k in pair] for pair in ((1, 2), (3, 4), (1, 5))]


def test_only_text_and_label_are_kept(toy, bert, tokenizer):
    rows = toy.rows(40)
    case = Case(bert, tokenizer, rows, rows.add_column("more", [1] * 40))
    assert case.trusted.column_names == case.untrusted.column_names == ["text", "label"]
    with pytest.raises(InputError, match="the untrusted set has no column 'label'"):
        Case(bert, tokenizer, rows, rows.remove_columns("label"))
    with pytest.raises(InputError, match="the untrusted set is empty"):
        Case(bert, tokenizer, rows, data.make([], [], False))


def test_the_prior_is_that_of_all_trusted_rows(toy, bert, tokenizer):
    rows = toy.rows(80)
    more = concatenate_datasets([rows, rows.filter(lambda row: row["label"] == 1)])
    case = Case(bert, tokenizer, more, rows, Parts(4, 8, 4))
    assert case.prior.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_a_model_in_half_precision_is_read_in_single_and_left_as_it_is(toy, bert, tokenizer):
    half = bert.to(torch.bfloat16)
    case = Case(half, tokenizer, toy.rows(40), toy.rows(40))
    assert case.suspect is not half
    assert {p.dtype for p in case.suspect.parameters()} == {torch.float32}
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


def test_the_fingerprint_sees_whatever_is_in_the_case(toy, tokenizer, bert):
    def fingerprint(rows=None, other=None, **options):
        rows, other = rows or toy.rows(40), other or toy.rows(40, seed=1)
        return tuple(Case(bert, tokenizer, rows, other, **options).hashes.items())

    first = fingerprint()
    assert fingerprint() == first
    changed = [
        fingerprint(rows=toy.rows(40, seed=2)),
        fingerprint(other=toy.rows(38, seed=1)),
        fingerprint(seed=1),
        fingerprint(max_length=64),
        fingerprint(parts=Parts(1, 2, 3)),
        fingerprint(rows=toy.rows(40, seed=1), other=toy.rows(40)),
    ]
    with torch.no_grad():
        bert.classifier.bias[0] += 1
    assert len({first, fingerprint(), *changed}) == len(changed) + 2


def test_which_trusted_rows_the_model_classifies_correctly(case):
    assert case.fits_label.mean() > 0.9
    assert np.array_equal(case.trusted_labels, case.divided.all["label"])


def test_what_is_drawn_for_a_row_goes_with_its_content_and_the_seed(reviews_case):
    texts = ["a", "b", "c", "a"]
    first = reviews_case(texts, [0, 1, 0, 1]).draws
    assert ((first >= 0) & (first < 1)).all()
    assert len(set(first)) == 4  # one text with two labels, too
    assert reviews_case(texts[::-1], [1, 0, 1, 0]).draws.tolist() == first[::-1].tolist()
    assert not set(first) & set(reviews_case(texts, [0, 1, 0, 1], seed=1).draws)


def test_rows_that_were_all_asked_about_are_not_asked_again(toy, bert, tokenizer, monkeypatch):
    case = Case(bert, tokenizer, toy.rows(80, 1), toy.rows(40, 2), Parts(4, 20, 10))
    monkeypatch.setattr("bedkd.case.SCANNED", 15)
    rows = np.array([31, 2, 17])
    before = case.said(rows)
    whole = [case.ask([case.suspect], part)[0].labels for part in case.scans]
    monkeypatch.setattr("bedkd.case.predict", lambda *_: pytest.fail("asked again"))
    assert case.said(rows).tolist() == before.tolist() == np.concatenate(whole)[rows].tolist()
