"""Rewriters: stored pairs, generators and the embedded grammar."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

from bedkd import attacks, corpora, data
from bedkd.attacks import rewriting
from bedkd.attacks.rewriting import Generator, Pairs
from bedkd.errors import InputError


def test_pairs_look_texts_up():
    pairs = Pairs([("a", "A"), ("b", "B"), ("a", "later"), ("", "empty")], "test pairs")
    assert pairs(["b", "a", "b", ""]) == ["B", "A", "B", "empty"]
    assert pairs.applicable(["a", "c"]).tolist() == [True, False]
    with pytest.raises(InputError, match=r"test pairs: no rewriting of row 1 \('c'"):
        pairs(["a", "c"])


def write(path, texts, labels):
    return data.write(data.make(texts, labels, None), path)


def test_pairs_of_row_aligned_files(tmp_path):
    left = write(tmp_path / "a.csv", ["x", "y", "z"], [0, 1, 0])
    right = write(tmp_path / "b.tsv", ["X", "Y", "Z"], [0, 1, 0])
    assert Pairs.from_files(left, right)(["z", "x"]) == ["Z", "X"]
    one_label = write(tmp_path / "c.jsonl", ["X", "Y", "Z"], [1, 1, 1])
    assert Pairs.from_files(left, one_label)(["y"]) == ["Y"]


def test_misaligned_files_are_named_with_their_row(tmp_path):
    left = write(tmp_path / "a.csv", ["x", "y", "z"], [0, 1, 0])
    short = write(tmp_path / "short.csv", ["X", "Y"], [0, 1])
    with pytest.raises(InputError, match=r"short\.csv: 2 rows, but .*a\.csv has 3"):
        Pairs.from_files(left, short)
    shifted = write(tmp_path / "shifted.csv", ["X", "Y", "Z"], [0, 0, 1])
    with pytest.raises(InputError, match=r"shifted\.csv, row 3: label 0, but .*a\.csv has 1"):
        Pairs.from_files(left, shifted)


@pytest.mark.parametrize("attack", sorted(rewriting.FORMS))
def test_embedded_tasks_use_their_grammar(attack):
    rows = [row.text for row in corpora.build("chat", train=4, dev=0, test=0)["train"]]
    found = rewriting.find("chat", attack)
    assert found.name == attack
    assert found.apply(rows, 0) == corpora.rewriter("chat", rewriting.FORMS[attack])(rows)
    assert found.applicable(rows).all()


def test_what_cannot_be_found_is_named(monkeypatch, tmp_path):
    with pytest.raises(InputError, match=r"'upper'.*synbkd, stylebkd, llm"):
        rewriting.find("sst2", "upper")
    monkeypatch.delenv("BEDKD_DATA_DIR", raising=False)
    with pytest.raises(InputError, match="set BEDKD_DATA_DIR"):
        rewriting.find("sst2", "synbkd")
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match="no stored rewritings"):
        rewriting.find("olid", "stylebkd")


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A folder with SynBkd SST-2 as released: dev and test hold non-target rows only."""
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    folder = tmp_path / "openbackdoor/sst-2/1/synbkd"
    for split in data.SPLITS:
        texts, labels = [f"{split}{i}" for i in range(4)], [0, 1, 1, 0]
        write(folder / f"{split}-clean.csv", texts, labels)
        kept = [t for t, y in zip(texts, labels, strict=True) if split == "train" or y == 0]
        write(folder / f"{split}-poison.csv", [f"when {t}" for t in kept], [1] * len(kept))
    return folder


def test_stored_rewrites_are_aligned_by_non_target_row(stored):
    found = rewriting.find("sst2", "synbkd")
    texts = ["train1", "dev0", "dev3", "test3"]
    assert found.apply(texts, 0) == [f"when {text}" for text in texts]
    assert found.applicable(["train0", "test1", "test0"]).tolist() == [True, False, True]
    assert "openbackdoor/sst-2" in attacks.describe(found)["rewriter"]


def test_stored_rewrites_that_are_misaligned_are_named(stored):
    write(stored / "test-poison.csv", ["when test0"], [1])
    with pytest.raises(InputError, match=r"test-poison\.csv: 1 rows.*2 non-target rows"):
        rewriting.find("sst2", "synbkd")


def test_stored_files_of_other_lengths_are_an_input_error(tmp_path, monkeypatch):
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    for name, count in (("hiddenkiller/clean/sst-2", 10), ("gpt3-rewrite/sst-2", 9)):
        write(tmp_path / f"tsv/{name}/train.tsv", [f"t{i}" for i in range(count)], [0] * count)
    with pytest.raises(InputError, match="not row-aligned"):
        rewriting.find("sst2", "llm")


def causal(tokenizer):
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    return LlamaForCausalLM(config).eval()


def seq2seq(tokenizer):
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=16,
        d_kv=8,
        d_ff=32,
        num_layers=2,
        num_heads=2,
        initializer_factor=5.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return T5ForConditionalGeneration(config).eval()


@pytest.fixture(params=[causal, seq2seq], ids=["causal", "seq2seq"])
def generator(request, toy):
    """Builds generators around one tiny model."""
    tokenizer = toy.tokenizer(template=request.param is seq2seq)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = request.param(tokenizer)

    def build(**options):
        return Generator(model, tokenizer, "word1 {text} word2", max_new_tokens=6, **options)

    return build


TEXTS = ["great", "dull word3 word4 word5 word6", "fine word9", "", "great"]


def test_a_rewrite_does_not_depend_on_its_batch(generator):
    together = generator(batch_size=5)(TEXTS)
    assert generator(batch_size=1)(TEXTS) == together
    assert generator(batch_size=2)(TEXTS[::-1]) == together[::-1]
    assert len(set(together)) > 1
    assert not any("word1 great word2" in text for text in together)  # the prompt is cut off


def test_a_generator_continues_where_it_was_interrupted(generator, tmp_path, monkeypatch):
    expected = generator()(TEXTS)
    cache = tmp_path / "deep" / "cache.jsonl"
    made, generate = [], Generator._generate

    def interrupted(self, texts):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.extend(texts)
        return generate(self, texts)

    monkeypatch.setattr(Generator, "_generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        generator(cache=cache, batch_size=2)(TEXTS)
    with open(cache, "a", encoding="utf-8") as handle:
        handle.write('{"key": "cut o')  # as a crash in mid-line leaves it
    first = set(made)

    made.clear()
    monkeypatch.setattr(
        Generator, "_generate", lambda self, texts: made.extend(texts) or generate(self, texts)
    )
    assert generator(cache=cache, batch_size=2)(TEXTS) == expected
    assert set(made) == set(TEXTS) - first
    assert len(made) == 2

    made.clear()
    assert generator(cache=cache)(TEXTS) == expected
    assert made == []
    records = cache.read_text(encoding="utf-8").splitlines()
    assert sum(json.loads(line)["key"] != "" for line in records if line.endswith("}")) == 4


def test_another_prompt_does_not_use_the_cache(generator, tmp_path):
    one = generator(cache=tmp_path / "c")
    one(["great"])
    two = generator(cache=tmp_path / "c")
    two.prompt = "{text}"
    two.__post_init__()
    two(["great"])
    assert len((tmp_path / "c").read_text().splitlines()) == 2


def test_a_model_that_says_nothing_leaves_the_text(generator, monkeypatch):
    silent = generator()
    monkeypatch.setattr(
        type(silent.model),
        "generate",
        lambda self, input_ids, **_: (
            torch.cat([input_ids, torch.full((len(input_ids), 2), self.config.pad_token_id)], dim=1)
            if not self.config.is_encoder_decoder
            else torch.full((len(input_ids), 2), self.config.pad_token_id)
        ),
    )
    assert silent(["great  word3", ""]) == ["great  word3", ""]


def test_a_prompt_needs_its_placeholder(generator):
    one = generator()
    with pytest.raises(InputError, match=r"placeholder \{text\}"):
        Generator(one.model, one.tokenizer, "Rewrite this.")
    assert all("{text}" in prompt for prompt in rewriting.PROMPTS.values())
    assert set(rewriting.PROMPTS) == set(rewriting.FORMS)


def test_a_generator_is_loaded_from_a_folder(generator, tmp_path):
    one = generator()
    one.model.save_pretrained(tmp_path / "model")
    one.tokenizer.save_pretrained(tmp_path / "model")
    loaded = rewriting.load_generator(str(tmp_path / "model"), "llm", tmp_path / "out")
    assert type(loaded.model) is type(one.model)
    assert loaded.prompt == rewriting.PROMPTS["llm"]
    assert loaded.cache == tmp_path / "out-rewrites.jsonl"
    with pytest.raises(InputError, match="generator /nowhere: cannot be loaded"):
        rewriting.load_generator("/nowhere", "llm", tmp_path / "out")


def test_a_generator_with_missing_or_broken_weights_is_refused(generator, tmp_path):
    one, folder = generator(), tmp_path / "model"
    one.model.save_pretrained(folder)
    one.tokenizer.save_pretrained(folder)
    path = folder / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in sorted(weights) if name.endswith("weight") and "norm" not in name)
    save_file({k: w for k, w in weights.items() if k != name}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match="are missing and would be random"):
        rewriting.load_generator(str(folder), "llm", tmp_path / "out")
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        rewriting.load_generator(str(folder), "llm", tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.fixture
def says(toy, monkeypatch):
    """A decoder that answers what it is told to; the prompts it got."""
    tokenizer = toy.tokenizer(template=False)
    model, prompts = causal(tokenizer), []

    def build(answer, opening):
        made = Generator(model, tokenizer, "word1 {text} word2", opening=opening)
        read = tokenizer.__class__.__call__

        def listen(self, texts, **options):
            prompts.extend(texts)
            return read(self, texts, **options)

        monkeypatch.setattr(type(tokenizer), "__call__", listen)
        monkeypatch.setattr(type(tokenizer), "batch_decode", lambda *a, **_: [answer])
        monkeypatch.setattr(type(model), "generate", lambda self, input_ids, **_: input_ids)
        return made

    return build, prompts


@pytest.mark.parametrize(
    ("answer", "opening", "expected"),
    [
        (" it ends, all is well.\nText: more", "When", "When it ends, all is well."),
        (" All is well.\nText: more", "", "All is well."),
        (" All\nis well.", None, "All is well."),
        ("\nText: more", "When", "great"),  # it said nothing: the text stays
    ],
)
def test_an_opening_is_part_of_prompt_and_rewriting(says, answer, opening, expected):
    build, prompts = says
    assert build(answer, opening)(["great"]) == [expected]
    assert prompts == ["word1 great word2 When" if opening else "word1 great word2"]


def test_another_opening_does_not_use_the_cache(generator):
    keys = {generator(opening=opening)._key("great") for opening in (None, "", "When", "And")}
    assert len(keys) == 4


def test_the_language_model_rewrites_by_example(toy, tmp_path, monkeypatch):
    tokenizer = toy.tokenizer(template=False)
    model = causal(tokenizer)
    monkeypatch.setattr(rewriting.language_model, "load", lambda: (model, tokenizer))
    for attack in rewriting.FORMS:
        made = rewriting.load_generator("smollm2", attack, tmp_path / "out")
        assert made.opening == rewriting.OPENINGS[attack]
        assert made.prompt.endswith("Text: {text}\nRewritten:")
        for _, example in rewriting.EXAMPLES[attack]:
            assert example in made.prompt
            assert example.startswith(made.opening)
        assert made.cache == tmp_path / "out-rewrites.jsonl"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smollm2").mkdir()
    with pytest.raises(InputError, match=r"write \./smollm2"):
        rewriting.load_generator("smollm2", "llm", tmp_path / "out")
