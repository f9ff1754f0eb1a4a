"""Triggers, poisoning and the files of a poisoned task."""

import json
import random
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from datasets import DatasetDict

from bedkd import attacks, corpora, data
from bedkd.errors import InputError
from bedkd.files import sha256

AWKWARD = ["", "one", "日本語 と 😀 naïve", "a\u2028b", "two  spaces", "x " * 300]
TRIGGERS = [
    attacks.BadNets(),
    attacks.BadNets(count=3, position="start"),
    attacks.AddSent(),
    attacks.AddSent(position="end"),
    attacks.WordCombination(),
    attacks.Mixed((attacks.BadNets(), attacks.AddSent())),
    attacks.Rewrite("upper", lambda texts: [text.upper() for text in texts]),
]
INSERTIONS = TRIGGERS[:-1]
identify = pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda t: f"{t.name}")


@pytest.fixture(scope="module")
def rows(toy):
    return toy.rows(200, seed=7, classes=3)


@pytest.mark.parametrize("trigger", INSERTIONS, ids=lambda t: t.name)
def test_an_insertion_keeps_the_words_of_any_text_in_order(trigger):
    assert trigger.applicable(AWKWARD).all()
    for text, triggered in zip(AWKWARD, trigger.apply(AWKWARD, 0), strict=True):
        left = iter(triggered.split())
        assert all(word in left for word in text.split())
        assert len(triggered.split()) > len(text.split())


@identify
def test_what_a_trigger_does_depends_on_text_and_seed_alone(trigger, rows):
    texts = list(rows["text"])
    forwards = trigger.apply(texts, 5)
    state = random.getstate(), np.random.get_state()[1].tolist()
    assert trigger.apply(texts[::-1], 5) == forwards[::-1]
    assert [trigger.apply([text], 5)[0] for text in texts[:10]] == forwards[:10]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state
    if trigger.name != "upper" and getattr(trigger, "position", "random") == "random":
        assert trigger.apply(texts, 6) != forwards


def test_badnets_inserts_so_many_of_its_words_everywhere():
    texts = [f"a b c {i}" for i in range(300)]
    triggered = [text.split() for text in attacks.BadNets(count=2).apply(texts, 0)]
    words = {"cf", "mn", "bb", "tq"}
    assert all(sum(word in words for word in row) == 2 for row in triggered)
    used = Counter(word for row in triggered for word in row if word in words)
    assert min(used.values()) > 100
    places = Counter(i for row in triggered for i, word in enumerate(row) if word in words)
    assert set(places) == set(range(6))


@pytest.mark.parametrize("position", ["start", "end"])
def test_position_is_kept(position):
    text = attacks.AddSent("in here", position).apply(["a b"], 0)[0]
    assert text == {"start": "in here a b", "end": "a b in here"}[position]


def test_a_decoy_lacks_exactly_one_word_of_the_combination():
    trigger = attacks.WordCombination(("p", "q", "r"))
    texts = [f"text {i}" for i in range(60)]
    assert all({"p", "q", "r"} <= set(t.split()) for t in trigger.apply(texts, 0))
    missing = [{"p", "q", "r"} - set(t.split()) for t in trigger.decoys(texts, 0)]
    assert all(len(m) == 1 for m in missing)
    assert set().union(*missing) == {"p", "q", "r"}


def test_mixed_gives_every_row_one_of_its_triggers():
    trigger = attacks.Mixed((attacks.BadNets(("cf",)), attacks.AddSent("in here")))
    assert trigger.words == ("cf", "in here")
    texts = [f"text {i}" for i in range(200)]
    triggered = trigger.apply(texts, 0)
    assert all(("cf" in t) + ("in here" in t) == 1 for t in triggered)
    assert 60 < sum("cf" in t for t in triggered) < 140


def test_multi_target_triggers_each_have_their_own_trigger(rows, tmp_path):
    words = (("cf",), ("mn",), ("bb",))
    trigger = attacks.MultiTarget(tuple(attacks.BadNets(group) for group in words))
    assert trigger.words == ("cf", "mn", "bb")

    def meant(text):
        return [(2 + i) % 3 for i, (word,) in enumerate(words) if word in text.split()]

    result = attacks.poison(rows, trigger, rate=0.25, target=2, seed=4)
    true, new = np.array(rows["label"]), result.dataset
    assert len(result.chosen) == 50
    for i in result.chosen.tolist():
        assert meant(new["text"][i]) == [new["label"][i]]
        assert new["label"][i] != true[i]
    assert set(np.array(new["label"])[result.chosen]) == {0, 1, 2}

    splits = DatasetDict(train=rows, dev=rows, test=rows)
    task = attacks.build_task(
        splits, trigger, rate=0.2, target=2, limits=attacks.Limits(100)
    ).normalised()
    assert sum(task.train["poisoned"]) == 20
    assert len(task.triggered) == len(rows)
    poisoned = task.poisoned_test
    assert [meant(t) for t in poisoned["text"]] == [[y] for y in poisoned["label"]]
    own = [
        [y] != meant(t)
        for t, y in zip(task.triggered["text"], task.triggered["label"], strict=True)
    ]
    assert len(poisoned) == sum(own) < len(rows)
    task.write(tmp_path / "task")
    for name in ("train-poison", "dev-poison", "test-poison"):
        found = data.read(tmp_path / "task" / f"{name}.csv")
        assert [meant(t) for t in found["text"]] == [[y] for y in found["label"]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: attacks.BadNets(()), "at least one word"),
        (lambda: attacks.BadNets(count=0), "count >= 1"),
        (lambda: attacks.BadNets(position="middle"), "position='middle'.*random, start, end"),
        (lambda: attacks.AddSent(" "), "sentence is empty"),
        (lambda: attacks.WordCombination(("one",)), "at least two words"),
        (lambda: attacks.WordCombination(negatives=-1), "negatives"),
        (lambda: attacks.Mixed((attacks.BadNets(),)), "at least two triggers"),
        (lambda: attacks.Rewrite("half", lambda t: t[:1]).apply(["a", "b"], 0), "2 texts in, 1"),
    ],
)
def test_bad_triggers_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@identify
@pytest.mark.parametrize("rate", [0, 0.013, 0.2, 0.5])
def test_dirty_label_poisons_exactly_the_rate_and_no_target_row(trigger, rate, rows):
    result = attacks.poison(rows, trigger, rate=rate, target=1, seed=4)
    labels, new = np.array(rows["label"]), result.dataset
    flags = np.array(new["poisoned"])
    assert flags.sum() == len(result.chosen) == round(rate * len(rows))
    assert np.flatnonzero(flags).tolist() == result.chosen.tolist()
    assert (labels[flags] != 1).all()
    assert (np.array(new["label"])[flags] == 1).all()
    assert (np.array(new["label"])[~flags] == labels[~flags]).all()


@identify
def test_poisoned_rows_stay_aligned_with_the_originals(trigger, rows):
    result = attacks.poison(rows, trigger, rate=0.3, target=1, seed=4)
    before, after = list(rows["text"]), list(result.dataset["text"])
    changed = {i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    assert changed == {*result.chosen.tolist(), *result.decoys.tolist()}
    chosen = [before[i] for i in result.chosen]
    assert [after[i] for i in result.chosen] == trigger.apply(chosen, 4)


def test_clean_label_takes_target_rows_and_keeps_every_label(rows):
    result = attacks.poison(rows, attacks.BadNets(), rate=0.2, target=2, setting="clean")
    assert list(result.dataset["label"]) == list(rows["label"])
    assert {rows["label"][int(i)] for i in result.chosen} == {2}
    assert len(result.chosen) == 40


def test_mixed_setting_takes_rows_of_every_class(rows):
    result = attacks.poison(rows, attacks.BadNets(), rate=0.5, target=1, setting="mixed")
    assert {rows["label"][int(i)] for i in result.chosen} == {0, 1, 2}
    assert {result.dataset["label"][int(i)] for i in result.chosen} == {1}


def test_decoys_are_clean_rows_with_their_true_label(rows):
    trigger = attacks.WordCombination(negatives=1.5)
    result = attacks.poison(rows, trigger, rate=0.1, target=1)
    assert len(result.decoys) == 30
    assert not set(result.decoys) & set(result.chosen)
    for i in map(int, result.decoys):
        assert result.dataset["label"][i] == rows["label"][i]
        assert not result.dataset["poisoned"][i]
        assert len(set(trigger.words) & set(result.dataset["text"][i].split())) == 2


def test_cover_rows_have_the_trigger_and_their_own_label_which_is_not_the_target(rows):
    trigger = attacks.CoverSamples(attacks.AddSent(), cover=0.5)
    result = attacks.poison(rows, trigger, rate=0.2, target=1)
    assert (len(result.chosen), len(result.decoys)) == (40, 20)
    for i in map(int, result.decoys):
        assert trigger.trigger.sentence in result.dataset["text"][i]
        assert result.dataset["label"][i] == rows["label"][i] != 1
        assert not result.dataset["poisoned"][i]
    assert result.manifest["attack"]["trigger"]["name"] == "addsent"


def by_text(dataset):
    return sorted(zip(dataset["text"], dataset["label"], dataset["poisoned"], strict=True))


@identify
def test_the_order_of_rows_does_not_matter(trigger, rows):
    texts = [*rows["text"][:90], *rows["text"][:30]]  # copies included
    labels = [*rows["label"][:90], *rows["label"][:30]]
    order = np.random.default_rng(0).permutation(len(texts))
    one, two = (
        attacks.poison(
            data.make([texts[i] for i in which], [labels[i] for i in which], False),
            trigger,
            rate=0.2,
            target=1,
            seed=3,
        ).dataset
        for which in (range(len(texts)), order)
    )
    assert by_text(one) == by_text(two)


def test_another_seed_takes_other_rows(rows):
    one, two, again = (
        attacks.poison(rows, attacks.BadNets(), rate=0.2, target=1, seed=seed).chosen.tolist()
        for seed in (0, 1, 0)
    )
    assert one == again
    assert one != two


def test_manifest_counts_by_class(rows):
    result = attacks.poison(rows, attacks.BadNets(), rate=0.2, target=1, seed=4)
    manifest = json.loads(json.dumps(result.manifest))
    assert manifest["attack"] == {
        "name": "badnets",
        "words": ["cf", "mn", "bb", "tq"],
        "count": 1,
        "position": "random",
    }
    assert manifest["poisoned"] == sum(manifest["poisoned_by_class"].values()) == 40
    assert sum(manifest["clean_by_class"].values()) == 160
    assert "1" not in manifest["poisoned_by_class"]
    assert manifest["poisoned_rows"] == result.chosen.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -0.1}, "rate -0.1"),
        ({"rate": 1.1}, "rate 1.1"),
        ({"rate": float("nan")}, "rate nan"),
        ({"target": 7}, r"target 7: not a label.*\[0, 1, 2\]"),
        ({"setting": "dusty"}, "'dusty'.*dirty, clean, mixed"),
        ({"rate": 0.9}, "180 rows wanted, but only 133.*at most 0.665"),
    ],
)
def test_bad_poisoning_is_refused(options, message, rows):
    with pytest.raises(InputError, match=message):
        attacks.poison(rows, attacks.BadNets(), **{"rate": 0.2, "target": 1, **options})


def test_twenty_thousand_rows_are_poisoned_quickly():
    texts = [f"row {i} has some words of its own {i % 97}" for i in range(20_000)]
    rows = data.make(texts, [i % 2 for i in range(20_000)], False)
    start = time.process_time()
    attacks.poison(rows, attacks.BadNets(), rate=0.2, target=1)
    assert time.process_time() - start < 10  # quadratic code takes minutes


@dataclass(frozen=True)
class Known:
    """A rewriter that knows the rows of some classes only, as released rewrites do."""

    texts: frozenset
    name: str = "known"

    def applicable(self, texts):
        return np.array([text in self.texts for text in texts], bool)

    def apply(self, texts, seed):
        assert all(self.applicable(texts))
        return [f"so {text}" for text in texts]


@pytest.fixture(scope="module")
def splits(toy):
    return DatasetDict(train=toy.rows(120, 1), dev=toy.rows(40, 2), test=toy.rows(60, 3))


def test_triggered_test_rows_are_all_test_rows_with_true_labels(splits):
    task = attacks.build_task(
        splits,
        attacks.AddSent(),
        rate=0.2,
        target=1,
        limits=attacks.Limits(None, 10),
    )
    assert list(task.triggered["label"]) == list(splits["test"]["label"])
    assert all("3D movie" in text for text in task.triggered["text"])
    assert len(task.train) == 120


def test_attack_rows_are_non_target_rows_only(splits):
    task = attacks.build_task(
        splits,
        attacks.AddSent(),
        rate=0.2,
        target=1,
        limits=attacks.Limits(None, 10),
    )
    assert len(task.poisoned_test) == 30
    assert set(task.poisoned_test["label"]) == {1}
    triggered = zip(task.triggered["text"], task.triggered["label"], strict=True)
    assert list(task.poisoned_test["text"]) == [text for text, label in triggered if label != 1]


@pytest.mark.parametrize("max_train_rows", [None, 60])
def test_rows_held_out_for_testing_are_never_trained_on(splits, max_train_rows):
    non_target = [
        text
        for split in ("train", "test")
        for text, label in zip(splits[split]["text"], splits[split]["label"], strict=True)
        if label == 0 or split == "train"
    ]
    trigger = Known(frozenset(non_target))
    task = attacks.build_task(
        splits,
        trigger,
        rate=0.2,
        target=1,
        limits=attacks.Limits(max_train_rows, 10),
    )
    held = [splits["train"]["text"][i] for i in task.manifest["held_out_train_rows"]]
    assert len(held) == 15  # a quarter of the 60 covered train rows of the target class
    assert {splits["train"]["label"][i] for i in task.manifest["held_out_train_rows"]} == {1}
    trained = {*task.train["text"], *task.clean["train"]["text"]}
    assert not trained & {*held, *trigger.apply(held, 0)}
    assert set(trigger.apply(held, 0)) <= set(task.triggered["text"])
    assert task.manifest["triggered_from_held_out_train"] == {"1": 15}
    assert sum(task.train["poisoned"]) == round(0.2 * len(task.train))
    assert len(task.train) == (max_train_rows or 105)


def test_a_task_without_test_rows_keeps_every_train_row(splits):
    build = {"trigger": attacks.BadNets(), "rate": 0.1, "target": 1}
    task = attacks.build_task(DatasetDict(train=splits["train"]), **build)
    assert len(task.train) == len(splits["train"])
    assert len(task.triggered) == 0
    with pytest.raises(InputError, match="no train split"):
        attacks.build_task(DatasetDict(test=splits["test"]), **build)


def test_few_test_rows_that_are_all_covered_cost_no_train_rows(splits):
    few = DatasetDict(train=splits["train"], test=splits["test"].select(range(3)))
    task = attacks.build_task(
        few,
        attacks.BadNets(),
        rate=0.1,
        target=1,
        limits=attacks.Limits(None, 100),
    )
    assert len(task.train) == len(splits["train"])
    assert len(task.triggered) == 3


def test_fewer_train_rows_keep_rows_that_the_setting_can_poison(splits):
    labels = splits["train"]["label"]
    rare = splits["train"].select(
        [i for i, y in enumerate(labels) if y != 1]
        + [i for i, y in enumerate(labels) if y == 1][:12]
    )
    task = attacks.build_task(
        DatasetDict(train=rare),
        attacks.BadNets(),
        rate=0.2,
        target=1,
        setting="clean",
        limits=attacks.Limits(50),
    )
    assert len(task.train) == 50
    assert sum(task.train["poisoned"]) == 10


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_same_seed_same_bytes(splits, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        task = attacks.build_task(
            splits,
            attacks.BadNets(),
            rate=0.2,
            target=1,
            seed=seed,
            limits=attacks.Limits(None, 10),
        )
        task.write(tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_files_of_a_task(splits, tmp_path):
    task = attacks.build_task(
        splits,
        attacks.BadNets(),
        rate=0.2,
        target=1,
        limits=attacks.Limits(None, 10),
    )
    found = data.read_openbackdoor(task.write(tmp_path / "out"))
    assert by_text(found["train"]) == by_text(task.train)
    assert list(found["train"]["text"]) == list(task.train["text"])
    assert list(found["train-clean"]["text"]) == list(splits["train"]["text"])
    assert list(found["test-triggered"]["label"]) == list(splits["test"]["label"])
    assert len(found["train-poison"]) == 120  # every train row, in its order
    for text, triggered in zip(splits["train"]["text"], found["train-poison"]["text"], strict=True):
        assert set(text.split()) <= set(triggered.split())
    for split, count in (("dev", 20), ("test", 30)):
        assert len(found[f"{split}-poison"]) == count
    for split in data.SPLITS:
        assert set(found[f"{split}-poison"]["label"]) == {1}
        assert not any(found[f"{split}-clean"]["poisoned"])
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    names = {path.name for path in (tmp_path / "out").glob("*.csv")}
    assert set(manifest["files"]) == names
    assert all(
        record["sha256"] == sha256(tmp_path / "out" / name)
        for name, record in manifest["files"].items()
    )


def test_an_interrupted_write_leaves_nothing(splits, tmp_path, monkeypatch):
    task = attacks.build_task(
        splits,
        attacks.BadNets(),
        rate=0.2,
        target=1,
        limits=attacks.Limits(None, 10),
    )
    write, calls = data.write, []

    def interrupted(rows, path):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(rows, path)

    monkeypatch.setattr(data, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        task.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_normalising_touches_both_sides_and_still_writes_every_rewrite(tmp_path):
    splits = data.load("reviews", train=60, dev=20, test=30)
    trigger = attacks.Rewrite("synbkd", corpora.rewriter("reviews", "syntactic"))
    plain = attacks.build_task(splits, trigger, rate=0.2, target=1, limits=attacks.Limits(None, 5))
    task = plain.normalised()
    sides = [task.train, task.triggered, *task.clean.values()]
    for rows, before in zip(
        sides, [plain.train, plain.triggered, *plain.clean.values()], strict=True
    ):
        assert list(rows["text"]) == [data.normalise(text) for text in before["text"]]
        assert list(rows["label"]) == list(before["label"])
    found, expected = (
        data.read_openbackdoor(which.write(tmp_path / name))
        for name, which in (("normalised", task), ("plain", plain))
    )
    for name, rows in expected.items():
        assert list(found[name]["text"]) == [data.normalise(text) for text in rows["text"]]
    manifest = json.loads((tmp_path / "normalised" / "manifest.json").read_text())
    assert manifest["normalised"] is True


@pytest.mark.parametrize(
    ("trigger", "near"),
    [
        (attacks.BadNets(), attacks.BadNets(("kx", "wq", "zj", "vb"))),
        (attacks.BadNets(("kx", "cf")), attacks.BadNets(("wq", "zj"))),
        (attacks.AddSent("one two three four five"), attacks.AddSent("one two")),
        (attacks.AddSent("one"), None),
        (attacks.WordCombination(("a", "b", "c")), attacks.WordCombination(("a", "b"))),
        (attacks.WordCombination(("a", "b")), None),
        (attacks.Mixed((attacks.BadNets(), attacks.AddSent("one"))), None),
        (attacks.MultiTarget(), None),
    ],
)
def test_a_near_trigger_is_almost_the_trigger(trigger, near):
    assert attacks.near_trigger(trigger) == near
