"""Embedded tasks, written for this project, that need no network and no download.

Three tasks: ``reviews`` (sentiment), ``chat`` (offensive or fine) and ``topics`` (news in four
classes). Each is a seeded grammar over phrase tables. A sentence has a *meaning*, and a meaning
has four surface forms of one label: ``plain``; ``syntactic`` (subordinate clause first, the
HiddenKiller template of Qi et al. 2021); ``bible`` (archaic register, as StyleBkd uses); and
``paraphrase`` (formal, assistant-like wording, as attacks with a language model produce).

Every form is in sentence case, ends in one full stop and has a semicolon only where the plain form
has one, so neither casing nor punctuation marks give a rewritten row away.

Labels follow one rule per task, stated in :attr:`Task.description`; no label is noisy. What makes
the tasks hard is generalisation: a third to a half of the dev and test rows hold a phrase that
training never shows, and some labels hang on contrast, negation or quotation, not on words.
A meaning belongs to one split for every seed and every size: rows drawn for training with one
seed never turn up in a test split drawn with another.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bedkd.corpora import chat, reviews, topics
from bedkd.corpora.grammar import FORMS, SPLITS, Grammar, Meaning, Sentence
from bedkd.errors import InputError

__all__ = ["FORMS", "TASKS", "Sentence", "Task", "build", "render", "rewriter"]


@dataclass(frozen=True)
class Task:
    """An embedded task: what its labels mean and which one an attacker would aim for.

    Attributes:
        name: key in :data:`TASKS`.
        label_names: name of each class, in the order of the label numbers.
        description: one paragraph on the texts and on the rule that fixes the label.
        target: the default target label of an attack.
        grammar: the rules behind the task.
    """

    name: str
    label_names: tuple[str, ...]
    description: str
    target: int
    grammar: Grammar


TASKS: dict[str, Task] = {
    "reviews": Task(
        "reviews",
        ("negative", "positive"),
        "Reviews of films, novels, restaurants, apps, hotels, albums, games and courses. The "
        "label is the reviewer's own verdict: the main or concluding clause decides, not a "
        "concession, a quotation, an expectation or what the plot is about.",
        1,
        Grammar("reviews", reviews.RULES, fresh_rate=0.3),
    ),
    "chat": Task(
        "chat",
        ("fine", "offensive"),
        "Messages to a group chat. Offensive means that the writer belittles the person spoken "
        "to. Quoting a put-down, denying one, being blunt about a thing or about oneself, "
        "teasing a friend and disagreeing civilly are fine.",
        0,
        Grammar("chat", chat.RULES, fresh_rate=0.3),
    ),
    "topics": Task(
        "topics",
        ("world", "sports", "business", "science/technology"),
        "News items about invented people, places, teams and firms. The main clause, what "
        "happened, decides the class; who did it and what else is mentioned does not.",
        0,
        Grammar("topics", topics.RULES, fresh_rate=0.5),
    ),
}


def _task(name: str) -> Task:
    if name not in TASKS:
        raise InputError(f"task {name!r}: unknown; choose one of {', '.join(TASKS)}")
    return TASKS[name]


def _check_form(form: str) -> None:
    if form not in FORMS:
        raise InputError(f"form {form!r}: unknown; choose one of {', '.join(FORMS)}")


def build(
    name: str, *, train: int = 2000, dev: int = 400, test: int = 800, seed: int = 0
) -> dict[str, list[Sentence]]:
    """Draw the splits of an embedded task.

    Args:
        name: ``reviews``, ``chat`` or ``topics``.
        train, dev, test: rows of each split; the classes are balanced to within one row.
        seed: fixes which sentences are drawn and their order. A split does not depend on the
            sizes of the others.

    Returns:
        ``train``, ``dev`` and ``test``, disjoint in text and in meaning.

    Raises:
        InputError: unknown task, or a size that is negative or beyond what the grammar yields.
    """
    task = _task(name)
    classes = len(task.label_names)
    splits: dict[str, list[Sentence]] = {}
    for split, size in zip(SPLITS, (train, dev, test), strict=True):
        if not isinstance(size, int) or size < 0:
            raise InputError(f"{split}={size!r}: give a whole number of rows, zero or more")
        rng = random.Random(f"{name}/{split}/{seed}")
        rows = [
            sentence
            for label in range(classes)
            for sentence in task.grammar.draw(
                split, label, size // classes + (label < size % classes), rng
            )
        ]
        rng.shuffle(rows)
        splits[split] = rows
    return splits


def render(name: str, meaning: Sequence[str | int], form: str) -> str:
    """Say a meaning in one of :data:`FORMS`.

    Args:
        name: the task the meaning comes from.
        meaning: :attr:`Sentence.meaning`, or the list it becomes after a trip through JSON.
        form: one of :data:`FORMS`.

    Raises:
        InputError: unknown task or form, or a meaning that the task does not have.
    """
    task = _task(name)
    _check_form(form)
    return task.grammar.render(tuple(meaning), form)


def rewriter(name: str, form: str) -> Callable[[list[str]], list[str]]:
    """A function that turns plain texts of a task into another form, row by row.

    The plain text is parsed back to its meaning, so rows of any seed, split and size are
    understood, and the same text always gets the same rewrite.

    Raises:
        InputError: unknown task or form; and, when called, a text that the grammar did not
            produce (the message names the row, counted from 0).
    """
    grammar = _task(name).grammar
    _check_form(form)

    def rewrite(texts: list[str]) -> list[str]:
        rewritten: list[str] = []
        for row, text in enumerate(texts):
            meaning: Meaning | None = grammar.parse(text)
            if meaning is None:
                raise InputError(
                    f"row {row}: {text[:60]!r} is not a plain sentence of task '{name}'; only "
                    "texts from bedkd.corpora.build can be rewritten by the grammar"
                )
            rewritten.append(grammar.render(meaning, form))
        return rewritten

    return rewrite
