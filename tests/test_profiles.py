"""The two profiles run the same code: they differ in sizes, and in model and data."""

import ast
from dataclasses import fields, is_dataclass

import pytest
from chapters import chapters, code_cells, read
from IPython.core.inputtransformer2 import TransformerManager

from bedkd import experiments

# What may stand in a branch for one profile: fewer rows, other settings of training.
SIZING = {"select", "range", "replace", "TrainingConfig"}
GIVEN = {"chapter_cell", "chapter_preset", "setup"}


def differences(one, other, path=""):
    """Every value in which two settings differ, with its place."""
    assert type(one) is type(other) or path, (one, other)
    if is_dataclass(one) and type(one) is type(other):
        for field in fields(one):
            name = f"{path}.{field.name}"
            yield from differences(getattr(one, field.name), getattr(other, field.name), name)
    elif one != other:
        yield path, one, other


def test_defences_differ_in_numbers_only():
    quick, full = (experiments.chapter_preset(profile) for profile in ("quick", "full"))
    found = [
        difference
        for ours, theirs in zip(quick, full, strict=True)
        for difference in differences(ours, theirs, type(ours).__name__)
    ]
    assert found
    assert all(type(a) is type(b) is int for _, a, b in found), found


@pytest.mark.parametrize("attack", ["badnets", "none"])
def test_cells_differ_in_model_data_and_training_only(attack):
    quick, full = (experiments.chapter_cell(profile, attack) for profile in ("quick", "full"))
    places = {path.split(".")[1] for path, _, _ in differences(quick, full)}
    assert places == {"dataset", "backbone", "layers", "training"}


def called(node):
    """Names of the functions that are called within a node."""
    calls = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
    return {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "?") for f in calls}


def decides(node):
    return any(isinstance(n, ast.Name) and n.id == "PROFILE" for n in ast.walk(node))


def unlike(code):
    """Places where a profile would do something else than the other, as source text."""
    plain = TransformerManager().transform_cell(code)  # without % and !
    tree, found, fine = ast.parse(plain), [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and decides(node.test):
            good = all(
                isinstance(statement, ast.Assign) and called(statement) <= SIZING
                for statement in [*node.body, *node.orelse]
            )
            inside = [node.test]
        elif isinstance(node, ast.IfExp) and decides(node.test):
            good = all(
                isinstance(part, ast.Constant) and isinstance(part.value, int | None)
                for part in (node.body, node.orelse)
            )
            inside = [node.test]
        elif isinstance(node, ast.Subscript) and decides(node.slice):
            good, inside = called(node.value) <= SIZING, [node.slice]
        elif isinstance(node, ast.Call) and any(map(decides, node.args)):
            good, inside = getattr(node.func, "attr", "") in GIVEN, node.args
        else:
            continue
        fine |= {id(n) for part in inside for n in ast.walk(part)}
        found += [] if good else [ast.unparse(node)]
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == "PROFILE"]
    return found + ["PROFILE" for n in uses if id(n) not in fine and isinstance(n.ctx, ast.Load)]


@pytest.mark.parametrize("path", chapters(), ids=lambda path: path.stem)
def test_chapter_does_the_same_in_both_profiles(path):
    cells = [c.source for c in code_cells(read(path)) if c.id != "setup"]
    assert [place for source in cells for place in unlike(source)] == []


@pytest.mark.parametrize(
    "code",
    [
        "if PROFILE == 'quick':\n    rows = rows.filter(easy)",
        "if PROFILE == 'full':\n    purify(case)",
        "name = 'a' if PROFILE == 'full' else 'b'",
        "print(PROFILE)",
        "f = {'quick': load(), 'full': 1}[PROFILE]",
        "full = PROFILE == 'full'",
    ],
)
def test_another_path_of_code_is_noticed(code):
    assert unlike(code)
