"""The teacher's pages say what chapters, exercises and outputs say."""

import re

import pytest
from chapters import ROOT, chapters, read

from bedkd.corpora import TASKS
from bedkd.teaching import exercises

PAGES = ROOT / "book" / "teaching"
NUMBER = {path: int(path.name[:2]) for path in chapters()}


def page(name):
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


def prose(path):
    return "\n".join(c.source for c in read(path).cells if c.cell_type == "markdown")


def section(text, heading):
    return re.search(rf"^## {heading}\n(.*?)^## ", text, re.S | re.M)[1]


def outcomes(path):
    items = re.split(r"^- ", section(prose(path), "What you will learn"), flags=re.M)[1:]
    return [" ".join(item.split()) for item in items]


def rows():
    found = re.findall(r"^\| \[(\d+)\]\((.+?)\) \| (.+) \| (.+?) \|$", page("outcomes"), re.M)
    return [(int(number), outcome, verified) for number, _, outcome, verified in found]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_each_outcome_has_what_verifies_it(path):
    mine = [row for row in rows() if row[0] == NUMBER[path]]
    assert [outcome for _, outcome, _ in mine] == outcomes(path)
    names = {exercise.name for exercise in exercises.of_chapter(NUMBER[path])}
    asked = re.findall(r"^(?:\*\*)?(\d)\. ", section(prose(path), "Check yourself"), re.M)
    bank = re.findall(r"^### (\d+)\.", page("questions"), re.M)
    used = set()
    for _, _, verified in mine:
        kinds = re.findall(r"`(\w+)`|questions? ([\d, ]*\d)|bank (\d+)", verified)
        assert kinds, verified
        for name, questions, banked in kinds:
            assert not name or name in names, name
            assert set(re.findall(r"\d+", questions)) <= set(asked), verified
            assert not banked or banked in bank, verified
            used.add(name)
    assert names <= used, "an exercise that verifies no outcome"


def test_questions_have_answers_and_choices_a_reason_for_each_wrong_one():
    for question in re.split(r"^### ", page("questions"), flags=re.M)[1:]:
        assert question.count("<details>") == question.count("</details>") == 1
        choices = set(re.findall(r"^- (\([a-c]\))", question, re.M))
        answer = question.split("</summary>")[1]
        right = set(re.findall(r"\*\*(\([a-c]\))\*\*", answer))
        wrong = set(re.findall(r"Not (\([a-c]\))", answer))
        assert not choices or (len(right) == 1 and right | wrong == choices), question


def test_assignments_are_exercises():
    names = {exercise.name for n in NUMBER.values() for exercise in exercises.of_chapter(n)}
    for part in re.findall(r"^## Assignment.*?(?=^## )", page("module"), re.S | re.M):
        assert len(re.findall(r"`(\w+)`", part)) == 6
        assert set(re.findall(r"`(\w+)`", part)) <= names


def test_cells_to_run_are_sections_of_the_chapters():
    headings = set(re.findall(r"^## (.+)$", "\n".join(map(prose, chapters())), re.M))
    for name in ("index", "lecture", "module"):
        for row in re.findall(r"chapter \d.*", page(name)):
            assert set(re.findall(r"(?<!\*)\*([A-Z][^*]+)\*", row)) <= headings


def test_data_card_counts_the_grammar():
    card = page("cards")
    rules = " | ".join(str(len(task.grammar.rules)) for task in TASKS.values())
    assert f"| Rules of the grammar | {rules} |" in card
    targets = " | ".join(task.label_names[task.target] for task in TASKS.values())
    assert f"| Usual target | {targets} |" in card


def test_numbers_on_slides_are_those_of_the_chapters():
    for slide in page("slides").split("\n---\n"):
        numbers = re.findall(r"\d+\.\d+", slide)
        if numbers:
            chapter = int(re.search(r"^Chapter (\d+)$", slide, re.M)[1])
            path = next(path for path, number in NUMBER.items() if number == chapter)
            assert all(number in str(read(path)) for number in numbers), slide
