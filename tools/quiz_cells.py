"""The quiz at the end of a chapter, made from ``bedkd/teaching/quizzes/chapterNN.yml``.

Each answer is a fold that says why it is right or wrong. Folds are plain HTML: they open by mouse
and keyboard, in Jupyter, in Colab, on GitHub and in the book, and screen readers know them.
``make stamp`` carries the questions to the notebooks; a chapter without a file has no quiz.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path

import nbformat
import yaml
from chapters import ROOT

FOLDER = ROOT / "bedkd" / "teaching" / "quizzes"
ID = "quiz"
HEAD = """\
## Quiz

Choose an answer, then open it: each says why it is right or wrong."""


@dataclass(frozen=True)
class Answer:
    """One answer to choose.

    Attributes:
        text: plain, without markup, for it is the title of a fold.
        right: whether it is the right one.
        why: what its fold says.
    """

    text: str
    right: bool
    why: str


@dataclass(frozen=True)
class Question:
    """One question with its answers, of which exactly one is right."""

    ask: str
    answers: tuple[Answer, ...]


def path_of(number: int) -> Path:
    """The file of a chapter's quiz."""
    return FOLDER / f"chapter{number:02}.yml"


def questions(number: int) -> list[Question]:
    """The quiz of a chapter; none if it has no file.

    Raises:
        ValueError: the file is not of the form that CONTRIBUTING.md describes.
    """
    path = path_of(number)
    if not path.is_file():
        return []
    found = []
    for place, item in enumerate(yaml.safe_load(path.read_text(encoding="utf-8")), 1):
        where = f"{path.name}, question {place}"
        if set(item) != {"ask", "answers"}:
            raise ValueError(f"{where}: needs `ask` and `answers` and nothing else")
        question = Question(item["ask"], tuple(_answer(a, where) for a in item["answers"]))
        if sum(answer.right for answer in question.answers) != 1:
            raise ValueError(f"{where}: exactly one answer must be `yes`")
        found.append(question)
    return found


def _answer(item: dict, where: str) -> Answer:
    # YAML reads a bare yes and no as true and false.
    texts = {key: text for key, text in item.items() if isinstance(key, bool)}
    if len(texts) != 1 or set(item) != {*texts, "why"}:
        raise ValueError(f"{where}: an answer is `yes: text` or `no: text`, and `why: reason`")
    (right, text), *_ = texts.items()
    return Answer(str(text), right, str(item["why"]))


def cell(number: int) -> nbformat.NotebookNode | None:
    """The quiz as one markdown cell; None if the chapter has none."""
    found = questions(number)
    if not found:
        return None
    parts = [HEAD]
    for place, question in enumerate(found, 1):
        parts.append(f"**{place}. {question.ask}**")
        for letter, answer in zip("abcdef", question.answers, strict=False):
            title = f"({letter}) {html.escape(answer.text, quote=False)}"
            said = f"{'Right.' if answer.right else 'No.'} {answer.why}"
            parts.append(f"<details><summary>{title}</summary>\n\n{said}\n\n</details>")
    return nbformat.v4.new_markdown_cell("\n\n".join(parts), id=ID)


def refresh(notebook: nbformat.NotebookNode, number: int) -> None:
    """Put the quiz of a chapter at its end; all other cells stay as they are."""
    made = cell(number)
    notebook.cells = [cell for cell in notebook.cells if cell.id != ID] + [made] * bool(made)
