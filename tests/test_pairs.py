"""Models that read pairs of texts get pairs, from the file to the verdict."""

import copy

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import XLNetConfig, XLNetForSequenceClassification

from bedkd import Case, data
from bedkd.data import Columns
from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.suspects import top_suspects
from bedkd.text import PAIR, as_read, pair, unpair, words
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

PAIRS = [("great", "dull word1"), ("word1 word2 word3", "fine"), ("", "slow"), ("weak", "")]


@pytest.fixture(scope="module")
def paired(toy):
    """A tokenizer that marks the two texts, as BERT's does."""
    tokenizer = toy.tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    ids = [(mark, tokenizer.convert_tokens_to_ids(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=ids,
    )
    return tokenizer


def test_a_model_sees_what_transformers_would_give_it(paired, toy):
    model = toy.bert(paired)
    texts = [pair(*both) for both in PAIRS]
    ours = predict(model, EncodedTexts(paired, [*texts, "great dull"])).logits
    given = paired(*map(list, zip(*PAIRS, strict=True)), return_tensors="pt", padding=True)
    with torch.no_grad():
        theirs = model(**given).logits.numpy()
        one = model(**paired(["great dull"], return_tensors="pt")).logits.numpy()
    np.testing.assert_allclose(ours[:4], theirs, atol=1e-5)
    np.testing.assert_allclose(ours[4:], one, atol=1e-5)
    untyped = dict(given, token_type_ids=torch.zeros_like(given["token_type_ids"]))
    with torch.no_grad():
        assert np.abs(model(**untyped).logits.numpy() - theirs).max() > 1e-3


def test_a_long_pair_is_cut_where_transformers_cuts_it(paired):
    rows = EncodedTexts(paired, [pair("word1 " * 30, "word2 " * 30)], max_length=16)
    given = paired("word1 " * 30, "word2 " * 30, truncation=True, max_length=16)
    assert rows.ids[0].tolist() == given["input_ids"]
    assert rows.types[0].tolist() == given["token_type_ids"]


def test_models_without_token_types_get_none(paired, toy):
    rows = EncodedTexts(paired, [pair(*both) for both in PAIRS])
    assert max(map(max, rows.types)) == 1
    assert predict(toy.llama(paired), rows).logits.shape == (4, 2)
    model = toy.bert(paired)
    model.config.type_vocab_size = 1
    model.bert.embeddings.token_type_embeddings = torch.nn.Embedding(1, 32)
    assert predict(model, rows).logits.shape == (4, 2)


def test_token_types_of_single_texts_reach_a_model_that_was_trained_with_them(paired):
    """XLNet's tokenizer gives its last mark a type of its own."""
    paired = copy.deepcopy(paired)
    ids = [("[SEP]", paired.convert_tokens_to_ids("[SEP]"))]
    ids += [("[CLS]", paired.convert_tokens_to_ids("[CLS]"))]
    paired.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A [SEP] [CLS]:2", special_tokens=ids
    )
    config = XLNetConfig(vocab_size=len(paired), d_model=16, n_layer=1, n_head=2, d_inner=16)
    config.pad_token_id = paired.pad_token_id
    model = XLNetForSequenceClassification(config).eval()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, 0, 0.5)
    ours = predict(model, EncodedTexts(paired, ["great word1"])).logits
    with torch.no_grad():
        theirs = model(**paired(["great word1"], return_tensors="pt")).logits.numpy()
        bare = model(paired(["great word1"], return_tensors="pt")["input_ids"]).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(bare - theirs).max() > 1e-4


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (pair("a b", "c"), ("a b", "c")),
        (f"trigger {pair('a', 'b')}", ("trigger a", "b")),
        (f"x {PAIR} y {pair('a', 'b')}", ("x   y a", "b")),
        (pair("", ""), ("", "")),
        ("a b", ("a b", None)),
    ],
)
def test_pairs_come_apart_whatever_was_put_in_front(text, parts):
    assert unpair(text) == parts


def test_the_mark_is_no_word_and_no_cut(paired):
    text = pair("Great film", "dull")
    assert words(text) == ["great", "film", "dull"]
    assert as_read(text, paired, 4) == text


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_pairs_are_read_from_two_columns(tmp_path, kind):
    rows = data.make(["x"], [0], None).remove_columns(["text", "poisoned"])
    rows = rows.add_column("premise", ["It rains."]).add_column("hypothesis", ["It is wet."])
    path = tmp_path / f"a{kind}"
    save = {".csv": rows.to_csv, ".jsonl": rows.to_json, ".parquet": rows.to_parquet}
    save[kind](path)
    columns = Columns("premise", pair="hypothesis")
    assert unpair(data.read(path, columns)[0]["text"]) == ("It rains.", "It is wet.")
    with pytest.raises(InputError, match=r"no column 'second'.*; name it with --pair-column"):
        data.read(path, Columns("premise", pair="second"))


def test_no_file_can_smuggle_the_mark_in(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\nx,0\na {PAIR} b,0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"row 3: the text holds '\\ufdd0'"):
        data.read(path)


def test_the_trigger_of_a_pair_is_shown(paired, toy):
    case = Case(toy.bert(paired), paired, toy.rows(60), data.make([pair("cf a", "b")], [1], None))
    (row,) = top_suspects(case, Detection(np.ones(1), np.ones(1, bool), 0.0, True), ["cf"])
    assert row.pieces == [("cf", True), ("a", False), ("‖", False), ("b", False)]
