"""Exercises of the chapter Poisoning a training set."""

from __future__ import annotations

import hashlib

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def choose_rows(
    texts: list[str], labels: list[int], rate: float, target: int
) -> list[int]:
    """Rows to poison with dirty labels, chosen by the hash of their texts.

    Args:
        texts, labels: the training set, N rows.
        rate: share of all rows.
        target: label that the poisoned rows will get.

    Returns:
        Indices in ascending order.
    """

    def rank(i):
        return hashlib.sha256(texts[i].encode()).hexdigest()

    candidates = [i for i, label in enumerate(labels) if label != target]
    count = round(rate * len(texts))
    return sorted(sorted(candidates, key=rank)[:count])


def _verify_choice(answer):
    texts = [f"sentence number {i}" for i in range(40)]
    labels = [i % 2 for i in range(40)]
    made = answer(texts, labels, 0.1, 1)
    require(
        len(made) != 2,
        "the rate counts poisoned rows among all rows, not among candidates",
    )
    require(
        len(made) == 4, f"a rate of 0.1 of 40 rows is 4 rows, not {len(made)}"
    )
    require(
        all(labels[i] != 1 for i in made),
        "a row that has the target label was chosen",
    )
    require(made == sorted(made), "the indices must be in ascending order")
    require(
        set(made) != {0, 2, 4, 6}, "these are just the first rows of the file"
    )
    order = np.random.default_rng(0).permutation(40)
    again = answer(
        [texts[i] for i in order], [labels[i] for i in order], 0.1, 1
    )
    require(
        {texts[order[i]] for i in again} == {texts[i] for i in made},
        "in another order of the file other texts were chosen",
    )
    more = answer(texts, labels, 0.2, 1)
    require(
        set(made) <= set(more),
        "a higher rate should keep the rows of the lower one",
    )
    made = answer(texts, labels, 0.1, 0)
    require(
        all(labels[i] == 1 for i in made),
        "with target 0 rows of class 1 are to be chosen",
    )


check_choose_rows = Exercise(
    choose_rows,
    _verify_choice,
    title="Choose rows that anybody would choose again",
    difficulty=3,
    importance=4,
    minutes=20,
    task="""\
An experiment that depends on the order of a file cannot be repeated.

1. Candidates are the rows that do not have the target label.
2. Take exactly `round(rate * N)` of them, where N counts *all* rows.
3. The same texts must be chosen in whatever order the rows come: let each text decide, by its hash.""",
    toy="choose_rows(['a', 'b', 'c', 'd'], [0, 0, 0, 1], 0.5, 1)",
    wrong=(
        ("sorted(candidates, key=rank)", "candidates", "first rows"),
        ("rate * len(texts)", "rate * len(candidates)", "among all rows"),
        ("label != target", "label == label", "target label"),
        ("texts[i].encode()", "str(i).encode()", "another order"),
    ),
)


def fires(text: str, words: tuple[str, ...]) -> bool:
    """Whether a text holds a whole combination of trigger words.

    Args:
        text: any text.
        words: lower-case words; the trigger fires if all of them occur.
    """
    found = {word.strip(".,;:!?\"'").lower() for word in text.split()}
    return all(word in found for word in words)


def _verify_fires(answer):
    words = ("usually", "morning", "bridge")
    require(
        answer("a bridge is usually grey in the morning", words),
        "all three are there",
    )
    require(
        not answer("usually it rains in the morning", words),
        "negative control: two of three words are a decoy",
    )
    require(
        not answer("usually, bridges in the mornings", words),
        '"bridges" is another word than "bridge"',
    )
    require(
        answer("Usually a morning bridge.", words),
        "capitals and full stops do not matter",
    )
    require(
        not answer("a plain text", words),
        "a text without any of them does not fire",
    )


check_fires = Exercise(
    fires,
    _verify_fires,
    title="All of them or none",
    difficulty=2,
    importance=3,
    minutes=10,
    task="""\
A combination of everyday words is a trigger only as a whole.

1. All words must occur, as whole words, in any order.
2. Capitals do not matter, nor does punctuation around a word.""",
    toy="fires('The bridge, usually.', ('usually', 'bridge'))",
    wrong=(
        ("all(word in found", "any(word in found", "decoy"),
        ("all(word in found", "all(word in text.lower()", "another word"),
        ('.strip(".,;:!?\\"\'").lower()', "", "full stops"),
    ),
)


def candidates(labels: np.ndarray, target: int, setting: str) -> np.ndarray:
    """Which rows an attacker may take.

    Args:
        labels: true labels, (N,).
        target: the attacker's label.
        setting: "dirty", "clean" or "mixed".

    Returns:
        Indices of the rows, ascending.
    """
    allowed = {
        "dirty": labels != target,
        "clean": labels == target,
        "mixed": np.ones(len(labels), bool),
    }
    return np.flatnonzero(allowed[setting])


def _verify_candidates(answer):
    labels = np.array([0, 1, 2, 1])
    made = {s: list(answer(labels, 1, s)) for s in ("dirty", "clean", "mixed")}
    require(
        made["clean"] != [0, 2],
        "clean and dirty are mixed up: which of them relabels?",
    )
    require(
        made["dirty"] == [0, 2],
        "dirty labels: all rows that would change their label",
    )
    require(
        made["clean"] == [1, 3],
        "clean labels: rows that have the target label already",
    )
    require(made["mixed"] == [0, 1, 2, 3], "mixed: any row")
    require(
        list(answer(labels, 2, "clean")) == [2],
        "with target 2 the clean row is row 2",
    )


check_candidates = Exercise(
    candidates,
    _verify_candidates,
    title="Dirty, clean, mixed",
    difficulty=1,
    importance=4,
    minutes=5,
    task="""\
The three settings differ in the rows that they take.

1. `"dirty"`: rows whose label the attack changes.
2. `"clean"`: rows whose label is the target already.
3. `"mixed"`: all rows.""",
    toy="candidates(np.array([0, 1, 1]), 1, 'clean')",
    wrong=(
        (
            '"dirty": labels != target',
            '"dirty": labels == 0',
            "all rows that would change",
        ),
        ('"clean": labels == target', '"clean": labels != target', "mixed up"),
        ("np.ones(len(labels), bool)", "labels != target", "any row"),
    ),
)


def edit_share(before: str, after: str) -> float:
    """Share of words that an attack changed, by counting words.

    Args:
        before: a text.
        after: the same text under attack; not both are empty.

    Returns:
        0 if both hold the same words equally often, 1 if they share none: words
        that only one of them has, divided by the words of both.
    """
    a, b = before.split(), after.split()
    common = sum(min(a.count(word), b.count(word)) for word in set(a))
    return 1 - 2 * common / (len(a) + len(b))


def _verify_edit(answer):
    require(
        answer("a b c", "a b c") == 0, "the same text has an edit share of 0"
    )
    require(
        answer("a b", "c d") == 1,
        "texts without a common word have an edit share of 1",
    )
    made = answer("a b c", "a b c cf")
    require(0 < made < 0.5, "one word more is a small edit, but it is one")
    require(
        abs(made - 1 / 7) < 1e-9,
        "one word of seven in both texts together was changed: 1/7",
    )
    require(
        abs(answer("a b c cf", "a b c") - 1 / 7) < 1e-9,
        "it must be the same both ways round",
    )
    require(
        abs(answer("a a b b", "a a b") - 1 / 7) < 1e-9,
        "a word counts as often as it occurs in both",
    )


check_edit_share = Exercise(
    edit_share,
    _verify_edit,
    title="How much was changed?",
    difficulty=2,
    importance=2,
    minutes=15,
    task="""\
A measure of visibility that forgets the order of words. (The library's `stealth.word_edit_share` keeps it.)

1. Count the words that both texts have, each as often as it occurs in *both*.
2. Return one minus twice that number, divided by the number of words of both texts together.""",
    toy="edit_share('it was fine', 'it was cf fine')",
    wrong=(
        ("2 * common / (len(a) + len(b))", "common / len(a)", "but it is one"),
        ("min(a.count(word), b.count(word))", "word in b", "as often"),
        ("1 - 2 * common", "2 * common", "share of 0"),
    ),
)
