"""The embedded tasks: splits, forms and the way back from text to meaning."""

import json

import pytest

from bedkd.corpora import FORMS, TASKS, build, render, rewriter
from bedkd.errors import InputError

NAMES = sorted(TASKS)
REWRITES = [form for form in FORMS if form != "plain"]


@pytest.fixture(scope="module", params=NAMES)
def task(request):
    """A task's name and its default splits."""
    return request.param, build(request.param, seed=3)


def rows_of(splits):
    return [row for rows in splits.values() for row in rows]


def test_same_seed_same_rows_other_seed_other_rows(task):
    name, splits = task
    assert build(name, seed=3) == splits
    assert build(name, seed=4)["train"] != splits["train"]


def test_a_split_does_not_depend_on_the_size_of_the_others(task):
    name, splits = task
    assert build(name, train=10, dev=0, seed=3)["test"] == splits["test"]


def test_sizes_and_balance(task):
    name = task[0]
    classes = len(TASKS[name].label_names)
    splits = build(name, train=203, dev=41, test=1)
    for split, size in (("train", 203), ("dev", 41), ("test", 1)):
        counts = [sum(row.label == label for row in splits[split]) for label in range(classes)]
        assert sum(counts) == size
        assert max(counts) - min(counts) <= 1


def test_labels_are_shuffled(task):
    labels = [row.label for row in task[1]["train"]]
    assert labels != sorted(labels)


def test_six_thousand_distinct_sentences(task):
    name = task[0]
    rows = rows_of(build(name, train=4000, dev=800, test=1600, seed=9))
    assert len({row.text for row in rows}) == len({row.meaning for row in rows}) == 6400


def test_splits_are_disjoint_across_seeds(task):
    name, splits = task
    other = build(name, seed=5)
    for one in splits:
        for two in splits:
            if one != two:
                assert not {r.text for r in splits[one]} & {r.text for r in other[two]}
                assert not {r.meaning for r in splits[one]} & {r.meaning for r in other[two]}


def test_training_never_shows_the_fresh_phrases(task):
    name, splits = task
    fresh = TASKS[name].grammar.is_fresh
    assert not any(fresh(row.meaning) for row in splits["train"])
    for split in ("dev", "test"):
        share = sum(fresh(row.meaning) for row in splits[split]) / len(splits[split])
        assert 0.2 < share < 0.7


@pytest.mark.parametrize("form", FORMS)
def test_every_row_is_rewritten_to_the_rendering_of_its_meaning(task, form):
    name, splits = task
    rows = rows_of(splits)
    rewritten = rewriter(name, form)([row.text for row in rows])
    assert rewritten == [render(name, row.meaning, form) for row in rows]
    pairs = zip(rewritten, rows, strict=True)
    assert all((text == row.text) == (form == "plain") for text, row in pairs)


@pytest.mark.parametrize("form", FORMS)
def test_texts_are_clean_sentences_of_sensible_length(task, form):
    name, splits = task
    low, high = (7, 32) if form == "plain" else (8, 45)
    texts = [render(name, row.meaning, form) for row in rows_of(splits)]
    for text in texts:
        assert not set(text) & set("<>{}[]|()"), text
        assert "  " not in text
        assert text[0].isupper()
        assert text.endswith(".")
        assert text.count(".") == 1, text
        assert text[-2].isalnum() or text[-2] == '"', text
        assert low <= len(text.split()) <= high, text
    plain = [render(name, row.meaning, "plain") for row in rows_of(splits)]
    assert all(";" in before for before, text in zip(plain, texts, strict=True) if ";" in text)
    if form == "plain":
        usual = sum(8 <= len(text.split()) <= 28 for text in texts)
        assert usual > 0.95 * len(texts)


@pytest.mark.parametrize("form", REWRITES)
def test_a_form_varies_and_keeps_sentences_apart(task, form):
    name, splits = task
    texts = [render(name, row.meaning, form) for row in splits["train"]]
    assert len(set(texts)) == len(texts)
    openings = [" ".join(text.split()[:4]) for text in texts]
    assert len(set(openings)) > 8
    assert max(map(openings.count, set(openings))) < 0.25 * len(texts)


def test_syntactic_puts_a_subordinate_clause_first(task):
    name, splits = task
    for row in splits["test"]:
        text = render(name, row.meaning, "syntactic")
        assert text.startswith(("When you ", "If you ", "Once you "))


def test_a_meaning_survives_json(task):
    name, splits = task
    row = splits["dev"][0]
    assert render(name, json.loads(json.dumps(row.meaning)), "plain") == row.text


def test_targets_and_labels_fit(task):
    info = TASKS[task[0]]
    assert info.name == task[0]
    assert {row.label for row in task[1]["train"]} == set(range(len(info.label_names)))
    assert 0 <= info.target < len(info.label_names)


def test_plain_renderings_are_unambiguous_over_all_rules(task):
    """Each rule at its first and last phrases, fresh ones included, parses back to itself."""
    grammar = TASKS[task[0]].grammar
    for rule in grammar.rules.values():
        for pick in (0, -1):
            indices = [range(len(table))[pick] for table in rule.slots.values()]
            meaning = (rule.name, *indices)
            assert grammar.parse(grammar.render(meaning, "plain")) == meaning


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: build("poems"), "'poems'.*reviews, chat, topics"),
        (lambda: build("chat", train=10**7), "train: task 'chat' yields at most"),
        (lambda: build("chat", test=-1), "test=-1"),
        (lambda: build("chat", dev=2.5), "dev=2.5"),
        (lambda: render("chat", ("direct-0", 0, 0, 0), "haiku"), "'haiku'.*plain, syntactic"),
        (lambda: render("chat", ("direct-0", 0, 0, 999), "plain"), "999"),
        (lambda: render("chat", (), "plain"), r"meaning \(\)"),
        (lambda: rewriter("poems", "bible"), "'poems'"),
        (lambda: rewriter("chat", "haiku"), "'haiku'"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("text", ["", "film", "Not from the grammar."])
def test_a_foreign_text_is_named_by_row(text):
    rewrite = rewriter("reviews", "bible")
    known = build("reviews", train=2, dev=0, test=0)["train"][0].text
    with pytest.raises(InputError, match="row 1: "):
        rewrite([known, text])
    with pytest.raises(InputError, match="row 0: "):
        rewrite([known.upper()])
