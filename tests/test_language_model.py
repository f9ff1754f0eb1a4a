"""The language model of the extra ``lm``: a toy in its place, and the real one if it is there."""

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from bedkd import language_model, stealth
from bedkd.errors import InputError

TEXTS = ["great", "dull word1 word2 word3 word4 word5 word6", "", "fine word9", "great"]


@pytest.fixture
def toy_model(toy, monkeypatch):
    tokenizer = toy.tokenizer(template=False)
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
        model = LlamaForCausalLM(config).eval()
    monkeypatch.setattr(language_model, "load", lambda: (model, tokenizer))
    return model, tokenizer


def test_perplexity_of_own_tokens_behind_the_start(toy_model):
    model, tokenizer = toy_model
    start = tokenizer.convert_tokens_to_ids(language_model.START)
    for text, value in zip(TEXTS, language_model.perplexities(TEXTS), strict=True):
        ids = torch.tensor([[start, *tokenizer(text)["input_ids"]]])
        with torch.no_grad():
            expected = model(ids, labels=ids).loss.exp().item() if text else 1.0
        assert value == pytest.approx(expected, rel=1e-4)


def test_neither_padding_nor_other_texts_matter(toy_model):
    found = language_model.perplexities(TEXTS)
    for options in ({"batch_size": 1}, {"batch_size": 2}):
        np.testing.assert_allclose(language_model.perplexities(TEXTS, **options), found, rtol=1e-4)
    np.testing.assert_allclose(language_model.perplexities(TEXTS[::-1])[::-1], found, rtol=1e-4)
    assert language_model.perplexities([]).shape == (0,)


def test_every_text_has_a_finite_value(toy_model):
    found = language_model.perplexities(TEXTS)
    assert np.isfinite(found).all()
    assert (found >= 1).all()
    assert found[2] == 1


def test_texts_are_cut_and_no_gradient_is_kept(toy_model):
    one, other = language_model.perplexities(["great word1 word2", "great word9"], max_length=1)
    assert one == pytest.approx(other)
    assert all(p.grad is None for p in toy_model[0].parameters())


def test_stealth_uses_it_where_no_model_is_given(toy_model, monkeypatch):
    monkeypatch.setattr(language_model, "is_installed", lambda: True)
    found = stealth.table(TEXTS[:2], ["great cf", TEXTS[1]])
    values = language_model.perplexities([*TEXTS[:2], "great cf"])
    assert found["perplexity_change"] == pytest.approx([values[2] - values[0], 0])
    assert found["edits"][1] == 0
    assert (stealth.perplexity(TEXTS) == language_model.perplexities(TEXTS)).all()
    monkeypatch.setattr(language_model, "is_installed", lambda: False)
    assert np.isnan(stealth.table(TEXTS[:2], TEXTS[:2])["perplexity_change"]).all()


@pytest.fixture
def nothing_cached(monkeypatch, tmp_path):
    monkeypatch.setenv("BEDKD_CACHE", str(tmp_path))
    language_model.load.cache_clear()
    yield tmp_path
    language_model.load.cache_clear()


def test_without_the_extra_one_error_says_what_to_install(nothing_cached, monkeypatch):
    monkeypatch.setattr(language_model.importlib.util, "find_spec", lambda name: None)
    assert not language_model.is_installed()
    with pytest.raises(InputError, match=r'pip install "bedkd\[lm\]"'):
        language_model.load()


def test_another_file_is_not_converted(nothing_cached, monkeypatch):
    if not language_model.is_installed():
        pytest.skip("the extra bedkd[lm] is not installed")
    monkeypatch.setattr(language_model, "sha256", lambda path: "0" * 64)
    with pytest.raises(InputError, match="its SHA-256 is not b179c9"):
        language_model.load()
    assert not list(nothing_cached.glob("language-model/smollm2*"))


def test_the_real_model_finds_a_strange_word_strange():
    if not language_model.is_installed():
        pytest.skip("the extra bedkd[lm] is not installed")
    if not (language_model.cache_dir() / "language-model" / language_model.NAME).is_dir():
        pytest.skip("the language model is not converted yet: bedkd.language_model.load() does it")
    texts = ["a fine film with a moving story", "a fine cf film with a moving story", "dull", ""]
    plain, strange, word, empty = language_model.perplexities(texts)
    assert strange > 2 * plain
    assert np.isfinite(word)
    assert empty == 1
    assert language_model.perplexities(texts[:1]) == pytest.approx(plain, rel=1e-3)
