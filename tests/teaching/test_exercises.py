"""Exercises: solutions pass, wrong answers are told why, no small error gets through."""

import ast
import copy

import exercise_cells
import numpy as np
import pytest
from chapters import chapters, read

from bedkd.teaching import exercises

MYSTERIES = 16  # the models are the exercises of that chapter
NUMBERS = [exercise_cells.number_of(path) for path in chapters()]
ALL = [exercise for number in NUMBERS for exercise in exercises.of_chapter(number)]
SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
every = pytest.mark.parametrize("exercise", ALL, ids=lambda exercise: exercise.name)


def built(exercise, source):
    names = dict(exercise.solution.__globals__)
    exec("from __future__ import annotations\n" + source, names)
    return names[exercise.name]


def mutated(source):
    """The source with one operator swapped or one number changed, each in turn."""

    def nodes(tree):
        return list(ast.walk(ast.Module(tree.body[0].body[1:], [])))

    original = ast.parse(source)
    for place in range(len(nodes(original))):
        tree = copy.deepcopy(original)
        node = nodes(tree)[place]
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPS:
            node.op = SWAPS[type(node.op)]()
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            node.ops[0] = SWAPS[type(node.ops[0])]()
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            node.value += 1
        else:
            continue
        yield ast.unparse(tree)


@pytest.mark.parametrize("number", sorted(set(NUMBERS) - {MYSTERIES}))
def test_every_chapter_has_four_exercises(number):
    assert len(exercises.of_chapter(number)) >= 4


@every
def test_solution_passes_and_its_toy_run_works(exercise, capsys):
    exercise(exercise.solution)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{exercise.toy} gives ")  # a matrix goes on below
    assert said[-1] == f"{exercise.name}: solved"
    assert sum(line.startswith(exercise.name) for line in said[1:]) == 1


@every
def test_stub_is_not_written_yet(exercise, capsys):
    exercise(built(exercise, exercise.stub()))
    assert capsys.readouterr().out == "Not yet: it is not written yet\n"


@every
def test_wrong_answers_get_their_diagnosis(exercise):
    source = exercise.source()
    assert len(exercise.wrong) >= 2
    for old, new, diagnosis in exercise.wrong:
        assert diagnosis
        assert source.count(old) == 1, old
        assert diagnosis in (exercise.diagnose(built(exercise, source.replace(old, new))) or "")


@every
def test_check_notices_every_small_error(exercise):
    survivors = [
        source
        for source in mutated(exercise.source())
        if exercise.diagnose(built(exercise, source)) is None
    ]
    assert survivors == []


def test_mutations_are_made():
    assert sum(len(list(mutated(exercise.source()))) for exercise in ALL) > 100


@every
def test_code_fits_the_column_of_the_book(exercise):
    for code in (exercise.stub(), exercise.source()):
        assert max(map(len, code.splitlines())) <= 80
    assert len(exercise.stub().splitlines()) <= 22


@every
def test_diagnosis_names_an_error_of_the_answer(exercise):
    def broken(*_):
        raise KeyError("nothing of the kind")

    assert "it stops with KeyError" in exercise.diagnose(broken)


def test_solution_does_not_change_its_arguments():
    labels = np.array([0, 1])
    exercises.chapter(4).flip_labels(labels, 2)
    assert labels.tolist() == [0, 1]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_chapter_shows_its_exercises(path):
    """`make stamp` keeps the cells in step; here: every one of them is there and has a solution."""
    notebook = read(path)
    cells = {cell.id: cell.source for cell in notebook.cells}
    for exercise in exercises.of_chapter(exercise_cells.number_of(path)):
        slug = exercise_cells.slug(exercise)
        assert cells[f"exercise-{slug}"].startswith(f"### {exercise.title}\n")
        assert exercise.stub() in cells[f"exercise-try-{slug}"]
        assert exercise.source() in cells[f"exercise-solved-{slug}"]
