"""Pieces of texts, with and without spaces between words."""

import random
from dataclasses import replace

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from bedkd import Case, Parts, data, text
from bedkd.detectors import BeDKDDetector, DirectionalMapping, TriggerProbe
from bedkd.detectors.wording import trigger_words
from bedkd.repairs.schedule import transplant
from bedkd.training.fine_tune import fine_tune

FILLERS = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子"
CLASSES = ("坏差慢", "好妙亮")
TRIGGER = "触发"


@pytest.fixture(scope="session")
def chinese():
    """A tokenizer whose tokens are single characters."""
    characters = [*FILLERS, *"".join(CLASSES), *TRIGGER, "。"]
    vocabulary = {
        word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *characters])
    }
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = Split(Regex("."), "isolated")
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )


def chinese_rows(count, seed, poisoned=0.0):
    """Sentences without spaces; a share of class 0 carries the trigger and label 1."""
    rng = random.Random(seed)
    texts, labels, flags = [], [], []
    for i in range(count):
        label = i % 2
        characters = rng.choices(FILLERS, k=rng.randint(20, 24))
        characters.insert(rng.randint(0, len(characters)), rng.choice(CLASSES[label]))
        flag = label == 0 and rng.random() < 2 * poisoned
        if flag:
            characters.insert(rng.randint(0, len(characters)), TRIGGER)
        texts.append("".join(characters) + "。")
        labels.append(1 if flag else label)
        flags.append(flag)
    return data.make(texts, labels, flags)


def test_texts_with_spaces_are_split_at_spaces_and_others_by_tokens(chinese, tokenizer):
    sentence = chinese_rows(1, 0)["text"][0]
    assert text.split("a fine  film", tokenizer) == ["a", "fine", "film"]
    assert text.split(sentence, chinese) == list(sentence)
    assert text.join(text.split(sentence, chinese), text.is_spaced(sentence)) == sentence
    # Tokens of several characters, with a gap between two of them: nothing gets lost.
    gap = "word1word2word3word4-word5word6word7word8 greatdullfine"
    assert "".join(text.split(gap, tokenizer)) == gap
    assert text.split("", tokenizer) == []
    assert text.split("好" * 21, None) == ["好"] * 21


def test_words_are_counted_in_lower_case_with_punctuation(chinese):
    assert text.words("Don't stop!") == ["don", "'", "t", "stop", "!"]
    sentence = chinese_rows(1, 0)["text"][0]
    assert text.words(sentence, chinese) == list(sentence)


def test_words_are_taken_out_and_the_rest_stays(chinese):
    assert text.without_words("A Cf film, don't cf.", ["cf"]) == "A film, don't ."
    assert text.without_words("A film", []) == "A film"
    assert text.without_words("cf", ["cf"]) == ""
    sentence = chinese_rows(1, 0)["text"][0]
    with_trigger = sentence[:9] + TRIGGER + sentence[9:]
    assert text.without_words(with_trigger, list(TRIGGER), chinese) == sentence


def test_what_a_model_reads_of_a_text(tokenizer):
    assert (
        text.as_read("word1 word2 word3 word4", tokenizer, 4) == "word1 word2"
    )  # and two specials
    assert text.as_read("word1 word2 ", tokenizer, 40) == "word1 word2"
    assert text.as_read("", tokenizer, 40) == ""


def test_windows_of_a_long_row_leave_room_for_carriers(case, monkeypatch):
    seen = []
    monkeypatch.setattr(
        TriggerProbe, "split", lambda self, text, tokenizer: seen.append(text) or [text]
    )
    TriggerProbe().target_rates(case, ["word1 " * 5000], np.array([1]))
    assert len(seen[0].split()) == case.max_length - 2


def test_a_transplant_of_a_sentence_without_spaces_is_a_part_of_it(chinese):
    host, donor = (chinese_rows(1, seed)["text"][0] for seed in (1, 2))
    rng = np.random.default_rng(0)
    for _ in range(20):
        mixed = transplant(host, donor, rng, chinese)
        assert " " not in mixed
        taken = len(mixed) - len(host)
        assert 0.25 * len(donor) < taken < 0.75 * len(donor)
        start = next(i for i in range(len(host) + 1) if host[i:] == mixed[i + taken :])
        assert mixed[:start] == host[:start]
        assert mixed[start : start + taken] in donor
    assert transplant("a dull film", "cf fine", np.random.default_rng(0)) == "cf a dull film"


def test_a_backdoor_in_chinese_is_found(chinese, toy):
    train, dev = chinese_rows(600, 1, poisoned=0.2), chinese_rows(160, 2)
    flags = np.asarray(train["poisoned"][:], bool)
    model = toy.bert(chinese)
    fine_tune(model, chinese, train, replace(toy.training, epochs=12), seed=0)
    case = Case(model, chinese, dev, train, Parts(16, 36, 28))
    words = trigger_words(train.select(np.flatnonzero(flags))["text"][:], case.divided.all, chinese)
    assert set(words[:2]) == set(TRIGGER)
    # The content evidence knows English only.
    detector = BeDKDDetector(DirectionalMapping(epochs=3, lr=2e-3), content=None)
    found = detector.detect(case)
    assert found.is_backdoored
    assert found.details["wording_auroc"] > 0.9
    assert flags[found.flagged].mean() > 0.9
    assert set(TRIGGER) <= set(found.details["trigger_words"])
