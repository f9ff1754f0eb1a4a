"""The autograder over made-up submissions: right marks, whatever a submission does."""

import csv

import pytest
import typer
from typer.testing import CliRunner

from bedkd.teaching import exercises, grade

NAMES = ["attack_success", "insert_word", "flip_labels", "share_needed"]
KNOWN = {e.name: e for n in (1, 4, 9) for e in exercises.of_chapter(n)}
HEAD = "import numpy as np\n"
GOOD = [KNOWN[name].source() for name in NAMES]
CHEAT = f"""
import importlib, numpy as np
def attack_success(*a):
    from bedkd.teaching.exercises import chapter01
    return chapter01.attack_success(*a)
def insert_word(*a):
    names = {{}}
    text = open({exercises.__file__!r}.replace("__init__", "chapter01")).read()
    exec(text[text.index("def insert_word"):text.index("def _verify_insert")], names)
    return names["insert_word"](*a)
class Always:
    def __eq__(self, other): return True
def share_needed(*a): return Always()
def flip_labels(*a):
    import subprocess
    return subprocess.run(["cat", "/etc/hosts"])
"""
SUBMISSIONS = {
    "cheating": CHEAT,
    "crashing": "import os\nos._exit(3)\n",
    "empty": "",
    "half": HEAD + GOOD[0] + "\n" + GOOD[1] + "\ndef flip_labels(*a):\n    while True: pass\n",
    "perfect": HEAD + "\n".join(GOOD),
}


def test_marks_of_five_submissions(tmp_path):
    for name, source in SUBMISSIONS.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    app = typer.Typer()
    app.command()(grade.main)
    output = tmp_path / "marks.csv"
    options = ["--output", str(output), "--seconds", "5"]
    done = CliRunner().invoke(app, [str(tmp_path), *NAMES, *options])
    assert done.exit_code == 0, done.output
    with output.open(encoding="utf-8") as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    points = {name: int(row["points"]) for name, row in rows.items()}
    assert points == {"cheating": 0, "crashing": 0, "empty": 0, "half": 2, "perfect": 4}
    assert "TimeoutError" in rows["half"]["flip_labels"]
    assert "may not open" in rows["cheating"]["insert_word"]
    assert rows["empty"]["attack_success"] == "it is not written yet"


@pytest.mark.parametrize("name", ["flip_labels", "masked_mse", "draw_rows"])
def test_wrong_answers_get_the_diagnosis_that_the_chapter_gives(name):
    exercise = KNOWN[name]
    head = HEAD + "import torch\nfrom torch import Tensor\n"
    assert grade.mark(head + exercise.source(), [exercise]) == {name: ""}
    right, wrong, diagnosis = exercise.wrong[0]
    found = grade.mark(head + exercise.source().replace(right, wrong), [exercise])
    assert diagnosis in found[name]


def test_unknown_exercise_is_refused(tmp_path):
    app = typer.Typer()
    app.command()(grade.main)
    done = CliRunner().invoke(app, [str(tmp_path), "nothing"])
    assert done.exit_code == 2
    assert "exercise nothing" in done.output
