"""How visible a trigger is."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bedkd import stealth
from bedkd.errors import InputError


def test_edit_share_by_hand():
    pairs = [
        ("a b c", "a b c", 0),
        ("a b c d", "a b cf c d", 1 / 9),
        ("a b", "c d", 1),
        ("", "cf", 1),
        ("", "", 0),
        ("naïve 日本", "日本 naïve", 0.5),
    ]
    shares = stealth.word_edit_share([p[0] for p in pairs], [p[1] for p in pairs])
    assert shares == pytest.approx([p[2] for p in pairs])


@pytest.fixture(scope="module")
def language_model(toy):
    tokenizer = toy.tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            initializer_range=0.3,
        )
        return LlamaForCausalLM(config).eval(), tokenizer


TEXTS = ["great", "dull word1 word2 word3 word4 word5 word6", "", "fine word9"]


def test_perplexity_is_that_of_the_model_and_ignores_padding(language_model):
    model, tokenizer = language_model
    found = stealth.perplexity(TEXTS, model, tokenizer)
    np.testing.assert_allclose(
        found, stealth.perplexity(TEXTS, model, tokenizer, batch_size=1), rtol=1e-4
    )
    for text, value in zip(TEXTS, found, strict=True):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.no_grad():
            assert value == pytest.approx(model(ids, labels=ids).loss.exp().item(), rel=1e-4)
    change = stealth.perplexity_change(TEXTS, TEXTS[::-1], model, tokenizer)
    np.testing.assert_allclose(change, found[::-1] - found, rtol=1e-3, atol=1e-3)


def test_perplexity_of_a_single_token_is_undefined(toy, language_model):
    found = stealth.perplexity(
        ["great", "great fine", ""], language_model[0], toy.tokenizer(template=False)
    )
    assert np.isnan(found).tolist() == [True, False, True]


def test_similar_texts_have_similar_embeddings():
    original = ["the film was a delight", "the film was a delight", "the film was a delight"]
    changed = [original[0], "the movie was delightful", "interest rates rose in march"]
    same, close, far = stealth.embedding_similarity(original, changed)
    assert same == pytest.approx(1, abs=1e-5)
    assert 1 > close > 0.7 > 0.3 > far
    vectors = stealth.embed(["a", "a rather longer text about a film", ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(stealth.embed(["a"])[0], vectors[0], atol=1e-5)


def test_pairs_must_be_pairs():
    for measure in (stealth.word_edit_share, stealth.embedding_similarity):
        with pytest.raises(InputError, match="1 original texts but 2 changed"):
            measure(["a"], ["a", "b"])
