"""Quizzes: cells and source agree, and every answer has its reason."""

import re
from collections import Counter

import pytest
import quiz_cells
from chapters import chapters, read
from exercise_cells import number_of

WITH_QUIZ = [path for path in chapters() if quiz_cells.path_of(number_of(path)).is_file()]
every = pytest.mark.parametrize("path", WITH_QUIZ, ids=lambda path: path.stem)


@every
def test_chapter_ends_with_its_quiz(path):
    last = read(path).cells[-1]
    assert last.id == quiz_cells.ID
    assert last.source == quiz_cells.cell(number_of(path)).source
    for question in quiz_cells.questions(number_of(path)):
        assert question.ask in last.source
        assert all(answer.why in last.source for answer in question.answers)


def test_every_chapter_has_one_and_no_file_is_left_over():
    numbers = {number_of(path) for path in chapters()}
    files = {int(path.stem[-2:]) for path in quiz_cells.FOLDER.glob("*.yml")}
    assert files <= numbers
    assert len(files) >= 13


@every
def test_three_to_five_questions_with_a_reason_for_each_answer(path):
    found = quiz_cells.questions(number_of(path))
    assert 3 <= len(found) <= 5
    for question in found:
        assert len(question.answers) >= 3
        assert len({answer.text for answer in question.answers}) == len(question.answers)
        assert len({answer.why for answer in question.answers}) == len(question.answers)
        for answer in question.answers:
            assert len(answer.why.split()) >= 4, answer
            # Titles of folds are not Markdown, and numbers belong to the outputs of a chapter.
            assert not re.search(r"[`*_$<>\[]", answer.text), answer.text
            assert not re.search(r"\d\.\d|\d %", question.ask + answer.text + answer.why)


def test_the_right_answer_stands_in_every_place():
    places = Counter(
        place
        for path in WITH_QUIZ
        for question in quiz_cells.questions(number_of(path))
        for place, answer in enumerate(question.answers)
        if answer.right
    )
    assert min(places[place] for place in range(3)) >= sum(places.values()) / 5


def test_folds_are_closed_and_have_titles():
    for path in WITH_QUIZ:
        source = quiz_cells.cell(number_of(path)).source
        folds = re.findall(
            r"<details><summary>\([a-f]\) .+</summary>\n\n(.+)\n\n</details>", source
        )
        assert len(folds) == source.count("<details>") == source.count("</details>")
        assert all(said.startswith(("Right. ", "No. ")) for said in folds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- ask: a\n  answers:\n  - no: b\n    why: c\n", "exactly one"),
        ("- ask: a\n  answers:\n  - yes: b\n", "why"),
        ("- question: a\n", "needs `ask`"),
    ],
    ids=["no right answer", "no reason", "no question"],
)
def test_a_file_of_another_form_is_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(quiz_cells, "FOLDER", tmp_path)
    (tmp_path / "chapter01.yml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        quiz_cells.questions(1)


def test_other_cells_stay_as_they_are():
    notebook = read(WITH_QUIZ[0])
    before = [cell.source for cell in notebook.cells]
    quiz_cells.refresh(notebook, number_of(WITH_QUIZ[0]))
    assert [cell.source for cell in notebook.cells] == before
