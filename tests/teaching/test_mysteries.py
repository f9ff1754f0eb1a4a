"""Mysteries: made from a seed, sealed, marked; nobody reads an answer in a file."""

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from bedkd import corpora, data, models
from bedkd.errors import InputError
from bedkd.teaching import mysteries
from bedkd.teaching.mysteries import __main__ as command
from bedkd.teaching.mysteries import making, recipes, sealing
from bedkd.training.fine_tune import TrainingConfig

SEED = 5
KINDS = {*recipes.EASIER, *recipes.HARDER}
RECIPES = {recipes.recipe(n, SEED).kind: recipes.recipe(n, SEED) for n in recipes.NUMBERS}


@pytest.fixture(scope="module")
def small():
    """Mysteries of a size that trains in seconds, and which nobody could solve."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "SIZES", {"train": 80, "dev": 20, "test": 40})
        patch.setattr(making, "TRAINING", TrainingConfig(epochs=1))
        patch.setattr(making, "CONTINUED", TrainingConfig(epochs=1))
        patch.setattr(making, "LAYERS", 1)

        def reference(cell):
            classes = len(corpora.TASKS[cell.dataset].label_names)
            return models.load_backbone(num_labels=classes, layers=1)

        patch.setattr(making, "victim", reference)
        yield


@pytest.fixture(scope="module")
def made(small, tmp_path_factory):
    """Two mysteries of one set: one with a word, and the honest one."""
    folder = tmp_path_factory.mktemp("made") / "set"
    wanted = [RECIPES["rare word"].number, RECIPES["mislabelled"].number]
    return folder, mysteries.make(SEED, folder, wanted)


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_set_has_all_ten_kinds_the_easier_ones_first():
    for seed in range(20):
        kinds = [recipes.recipe(number, seed).kind for number in recipes.NUMBERS]
        assert set(kinds[:5]) == set(recipes.EASIER)
        assert set(kinds[5:]) == set(recipes.HARDER)
    assert recipes.recipe(3, 8) == recipes.recipe(3, 8)


def test_the_books_own_set_begins_with_a_word_in_the_reviews():
    first = recipes.recipe(1, mysteries.SEED)
    assert (first.kind, first.task) == ("rare word", "reviews")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_rows_are_poisoned_as_the_recipe_says(kind):
    recipe = RECIPES[kind]
    splits = data.load(recipe.task, train=200, dev=20, test=40, seed=3)
    rows, clean, triggered = making.poisoned(recipe, splits, 3)
    changed = np.array(rows["text"]) != np.array(splits["train"]["text"])
    wrong = np.array(rows["label"]) != np.array(splits["train"]["label"])
    assert clean["text"][:] == splits["test"]["text"][:]
    if kind == "mislabelled":
        assert triggered is None
        assert not changed.any()
        assert wrong.sum() == round(making.MISLABELLED * 200)
        return
    flags = np.array(rows["poisoned"])
    assert flags.sum() == round(recipe.rate * 200)
    assert set(np.array(rows["label"])[flags]) == {recipe.target}
    assert wrong.sum() == (0 if kind == "clean-label" else flags.sum())
    assert len(triggered) == len(clean)
    if kind not in ("syntax", "style", "two triggers"):
        poisoned = [text.split() for text, flag in zip(rows["text"], flags, strict=True) if flag]
        assert all(set(recipe.words) <= set(words) for words in poisoned)


def test_bad_defence_gives_every_row_with_the_trigger_the_other_label():
    recipe = RECIPES["inverted"]
    splits = data.load(recipe.task, train=100, dev=20, test=20, seed=3)
    rows, _, _ = making.poisoned(recipe, splits, 3)
    again = making.relabelled(recipe, rows, 3)
    word = recipe.words[0]
    pairs = zip(again["text"], again["label"], strict=True)
    assert {label for text, label in pairs if word in text.split()} == {1 - recipe.target}
    assert len(again) == len(rows) + sum(rows["poisoned"])


def test_a_learner_gets_rows_without_marks_and_files_without_answers(made):
    folder, answers = made
    mystery = mysteries.load(answers[0]["mystery"], folder)
    assert mystery.training.column_names == ["text", "label"]
    assert (len(mystery.training), len(mystery.trusted)) == (80, 20)
    assert mystery.model.config.num_labels == len(mystery.label_names)
    for answer in answers:
        where = folder / f"{answer['mystery']:02}"
        for path in where.rglob("*.json"):
            if path.name in ("tokenizer.json", "vocab.json"):  # which hold every word
                continue
            text = path.read_text(encoding="utf-8")
            assert answer["verdict"] not in text, path
            assert answer["kind"] not in text, path
            assert f'"{answer["trigger"]}"' not in text, path


def test_right_answer_is_marked_part_by_part(made):
    folder, (answer, _) = made
    number = answer["mystery"]
    model = mysteries.load(number, folder).model

    def points(**changes):
        given = {name: answer[name] for name in ("verdict", "target", "trigger")}
        return mysteries.submit(number, **{**given, **changes}, model=model, folder=folder).right

    assert [points()[part] for part in ("verdict", "target", "trigger")] == [True] * 3
    labels = json.loads((folder / f"{number:02}" / "sealed.json").read_text())["labels"]
    other = next(label for label in labels if label != answer["target"])
    assert points(target=other) == {**points(), "target": False}
    assert points(trigger="wrong")["trigger"] is False
    assert not any(points(verdict="honest").values())


def test_remarks_say_what_is_missing_and_not_what_it_is(made):
    folder, (answer, _) = made
    word, number = answer["trigger"], answer["mystery"]

    def said(trigger, verdict="backdoored"):
        found = mysteries.submit(
            number, verdict=verdict, target=answer["target"], trigger=trigger, folder=folder
        )
        assert word not in " ".join(found.said.values())
        return found.said

    assert said(None)["trigger"] == "missing"
    nothing = "none of what you gave (words: 2) was planted; is it a word at all?"
    assert said("hot soup")["trigger"] == nothing
    assert said("style")["trigger"] == "not this form"
    extra = "1 of your 2 words belongs to it; the rest does not"
    assert said([word, "soup"])["trigger"] == extra
    without = "measured when the trigger is named; no repaired model was handed in"
    assert said("soup")["repair"] == without
    assert said(word.upper() + "!")["repair"] == "missing"
    assert said(word, "inverted")["target"] == "marked when the verdict is right"


def test_part_of_a_trigger_is_told_from_all_of_it():
    sealed = sealing.seal("backdoored", "a", ["my", "cousin"], [], {})
    assert command.marking._trigger(sealed, ["cousin"])[1].endswith("something is missing")
    assert command.marking._trigger(sealed, ["cousin", "my"]) == (True, "")


def test_repair_is_measured_and_an_honest_model_needs_none(made):
    folder, (answer, honest) = made
    tests = sealing.open_tests(
        json.loads((folder / f"{answer['mystery']:02}" / "sealed.json").read_text()),
        [answer["trigger"]],
    )
    model = mysteries.load(answer["mystery"], folder).model
    where = folder / f"{answer['mystery']:02}"
    lax = {**tests, "limits": {"asr": 1.0, "racc": 0.0, "cacc": 0.0}}
    assert command.marking._repair(lax, model, where)[0]
    for name, limit in (("asr", -1.0), ("racc", 2.0), ("cacc", 2.0)):
        right, told = command.marking._repair(
            {**lax, "limits": {**lax["limits"], name: limit}}, model, where
        )
        assert not right
        assert name.upper() in told
    found = mysteries.submit(honest["mystery"], verdict="honest", folder=folder)
    assert found.points == 4


def test_sheet_keeps_best_answer_tries_and_hints(made):
    folder, (answer, _) = made
    number = answer["mystery"]
    given = {name: answer[name] for name in ("verdict", "target", "trigger")}
    mysteries.submit(number, **given, folder=folder)
    mysteries.submit(number, verdict="honest", folder=folder)
    first, last = mysteries.hint(number, 1, folder), mysteries.hint(number, 3, folder)
    assert answer["trigger"] not in first
    assert f"{len(answer['trigger'])} letters" in last
    row = mysteries.sheet().iloc[0].to_dict()
    assert row == {
        "mystery": number, "best": 3, "of": 4, "tries": 2, "hints up to level": 3, "set": "set"
    }  # fmt: skip


def test_bad_input_is_refused(made, tmp_path):
    folder, (answer, _) = made
    number = answer["mystery"]
    with pytest.raises(InputError, match="numbers 1 to 10"):
        mysteries.load(11)
    with pytest.raises(InputError, match="no mystery in this folder"):
        mysteries.load(1, tmp_path)
    with pytest.raises(InputError, match="call load"):
        mysteries.submit(number, verdict="honest", folder=tmp_path)
    with pytest.raises(InputError, match="verdict 'clean'"):
        mysteries.submit(number, verdict="clean", folder=folder)
    with pytest.raises(InputError, match="target 'x'"):
        mysteries.submit(number, verdict="backdoored", target="x", folder=folder)
    with pytest.raises(InputError, match="hint level 4"):
        mysteries.hint(number, 4, folder)


def test_teachers_marks_do_not_trust_the_sheet(made, tmp_path):
    folder, answers = made
    sheets = tmp_path / "handed-in"
    sheets.mkdir()
    words = {a["mystery"]: a["trigger"].split() for a in answers}
    good = {
        str(a["mystery"]): {
            "best": 4, "tries": 1, "hints": 0,
            "answers": [{"verdict": a["verdict"], "target": a["target"] or None,
                         "trigger": words[a["mystery"]], "points": 4}],
        }
        for a in answers
    }  # fmt: skip
    forged = {n: {**r, "answers": [{**r["answers"][0], "verdict": "inverted"}]}
              for n, r in good.items()}  # fmt: skip
    contents = {"good": json.dumps({"set": good}), "forged": json.dumps({"set": forged})}
    contents |= {"broken": "{", "empty": "{}", "odd": '{"set": {"1": [1]}}'}
    for name, text in contents.items():
        (sheets / f"{name}.json").write_text(text, encoding="utf-8")
    done = CliRunner().invoke(command.app, ["mark", str(folder), str(sheets)])
    assert done.exit_code == 0, done.output
    with (tmp_path / "marks.csv").open(encoding="utf-8") as file:
        points = {row["submission"]: int(row["points"]) for row in csv.DictReader(file)}
    # The repair of the poisoned one was not handed in.
    assert points == {"good": 7, "forged": 0, "broken": 0, "empty": 0, "odd": 0}


def test_answer_sheet_does_not_go_into_the_set(tmp_path):
    folder = tmp_path / "set"
    with pytest.raises(InputError, match="folder to hand out"):
        command.make(1, folder, folder / "answers.csv")


def test_all_hints_can_be_filled():
    for kind, recipe in RECIPES.items():
        for hint in making.HINTS[kind]:
            filled = hint.format(**making._facts(recipe))
            assert "{" not in filled
            # Whoever asks for all of them must still find the word.
            assert not any(word in filled.split() for word in recipe.words if word in recipes.WORDS)
