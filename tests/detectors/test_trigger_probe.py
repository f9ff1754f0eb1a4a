"""The third witness: windows of a row, spliced into rows of other classes."""

import numpy as np
import pytest

from bedkd import data
from bedkd.errors import InputError
from bedkd.splices import SpliceConfig, splice, windows

CONFIG = SpliceConfig(windows=4, hosts=3, depth=1)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 9, 50])
def test_windows_are_few_and_hold_every_word(count):
    words = [f"w{i}" for i in range(count)]
    found = [window.split() for window in windows(" ".join(words), CONFIG)]
    assert len(found) <= CONFIG.windows
    assert {word for window in found for word in window} == set(words)
    assert all(len(window) == min(count, max(2, -(-count // 4))) for window in found)
    assert all(" ".join(window) in " ".join(words) for window in found)


@pytest.fixture(scope="module")
def powers(trained, task, tokenizer):
    """What the toy victim and the model without poison obey, by poisoned and clean rows."""
    rows = task.train.select(range(120))
    hosts = task.clean["dev"]
    texts, labels = list(rows["text"]), np.asarray(rows["label"])
    asked = [splice(m, tokenizer, texts, labels, hosts, CONFIG, max_length=32) for m in trained]
    return np.asarray(rows["poisoned"], bool), labels, *asked


def test_a_trigger_commands_and_content_convinces_less(powers):
    flags, _, victim, reference = powers
    assert victim.power[flags].min() > 0.9
    assert all("cf" in window.split() for window in np.array(victim.window)[flags])
    assert reference.power[flags].mean() < 0.7
    assert victim.power[~flags].mean() < 0.7


def test_every_row_is_asked_for_its_own_label(powers, trained, task, tokenizer):
    _, labels, victim, _ = powers
    rows = task.train.select(range(120))
    backwards = np.arange(120)[::-1]
    again = splice(
        trained[0],
        tokenizer,
        [rows["text"][int(i)] for i in backwards],
        labels[backwards],
        task.clean["dev"],
        CONFIG,
        max_length=32,
    )
    assert np.allclose(again.power[::-1], victim.power, atol=1e-5)


def test_hosts_of_another_label_are_needed(victim, task, tokenizer):
    ones = task.clean["dev"].filter(lambda row: row["label"] == 1)
    with pytest.raises(InputError, match="no trusted row of another label than 1"):
        splice(victim, tokenizer, ["cf"], np.array([1]), ones, CONFIG)
    with pytest.raises(InputError, match="hosts=0: give at least 1"):
        SpliceConfig(hosts=0)


def test_hosts_speak_with_one_voice(trained, toy, tokenizer, monkeypatch):
    """Rows of one host have one label, and no host has the label it is asked for."""
    import bedkd.splices as module

    seen, rows = [], toy.rows(40, 5, classes=4)
    real = module.Rows
    monkeypatch.setattr(module, "Rows", lambda t, texts, **k: seen.extend(texts) or real(t, texts))
    model = toy.bert(tokenizer, classes=4)
    config = SpliceConfig(windows=1, hosts=6, depth=3)
    splice(model, tokenizer, ["word1"], np.array([2]), rows, config)
    by_text = dict(zip(rows["text"], rows["label"], strict=True))
    hosts = [text.removeprefix("word1 ") for text in seen]
    groups = [{label for text, label in by_text.items() if text in host} for host in hosts]
    assert len(set(hosts)) == 6
    assert all(len(group) == 1 for group in groups)
    assert set.union(*groups) == {0, 1, 3}


def test_few_rows_of_a_label_are_used_again(trained, tokenizer):
    hosts = data.make(["word1 dull", "word2 great"], [0, 1], None)
    found = splice(trained[1], tokenizer, ["cf word3"], np.array([1]), hosts, SpliceConfig())
    assert 0 <= found.power[0] <= 1
