"""Every architecture that classifies texts passes through the library alike: loading, answers,
hidden states, training, padding, length, layers."""

import numpy as np
import pytest
import torch
import transformers
from architectures import ARCHITECTURES, qwen_tokenizer, tiny

from bedkd import models
from bedkd.errors import InputError
from bedkd.training.batches import EncodedTexts, encode
from bedkd.training.loop import Trainer
from bedkd.training.objectives import DistillationLoss
from bedkd.training.predict import predict

RELATIVE = ("Bloom", "XLNet", "T5")  # positions without an end
# Positions that begin behind a padding index; MPNet has 1 whatever the tokenizer's is.
FEWER = {"Roberta": 23, "Longformer": 23, "MPNet": 22}
TEXTS = ["great", "dull word1", "fine word2 word3 word4", "", "cf " * 9 + "slow", "word5 word6"]


@pytest.fixture(params=ARCHITECTURES)
def name(request):
    return request.param


@pytest.fixture
def folder(name, tokenizer, tmp_path):
    tokenizer = qwen_tokenizer(tokenizer) if name == "Qwen2" else tokenizer
    return models.save_checkpoint(tiny(name, tokenizer), tokenizer, tmp_path / "model")


def test_answers_of_a_row_do_not_depend_on_the_rows_beside_it(folder):
    model, tokenizer = models.load_checkpoint(folder)
    rows = EncodedTexts(tokenizer, TEXTS)
    together, alone = (predict(model, rows, batch_size=n, hidden=True) for n in (64, 1))
    assert np.ptp(together.logits[:, 0]) > 1e-2
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-4)
    for one, two, length in zip(together.hidden, alone.hidden, rows.lengths, strict=True):
        assert one.shape == two.shape == (length, 16)
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_a_step_of_distillation_starts_at_zero_and_changes_the_model(folder, weights, same_weights):
    """Of the teacher itself, in whatever batch, nothing is left to learn."""
    model, tokenizer = models.load_checkpoint(folder)
    model.requires_grad_(False)  # usual for a teacher
    rows = EncodedTexts(tokenizer, TEXTS, [0, 1, 2, 0, 1, 2])
    answers = predict(model, rows, hidden=True)
    agree, learn = (DistillationLoss(answers, temperature=1.5, alpha=alpha) for alpha in (0, 0.3))
    before = weights(model)
    some = np.array([1, 4, 0, 5, 3])  # rows of equal length apart from each other
    trainer = Trainer(without_dropout(model), num_steps=2, lr=1e-2, seed=0)
    losses = trainer.train((loss, rows, some) for loss in (agree, learn))
    assert losses[0] == pytest.approx(0, abs=1e-5)
    assert losses[1] > 0.1
    assert not same_weights(before, weights(model))


def without_dropout(model):
    for module in model.modules():
        for key, value in vars(module).items():
            if "dropout" in key and isinstance(value, float):
                setattr(module, key, 0.0)
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def test_as_many_tokens_as_there_are_positions(folder, name, toy):
    model, tokenizer = models.load_checkpoint(folder)
    length = models.max_length(model, tokenizer)
    assert length == (512 if name in RELATIVE else FEWER.get(name, 24))
    rows = toy.rows(2).map(lambda row: {"text": f"{row['text']} word1" * 20})
    assert predict(model, encode(model, tokenizer, rows, length, "rows")).logits.shape == (2, 3)
    if name not in RELATIVE:
        message = f"rows: a row has 30 tokens, the model reads {length}; give max_length={length}"
        with pytest.raises(InputError, match=message):
            encode(model, tokenizer, rows, 30, "rows")
        with pytest.raises(InputError, match=f"reads {length}"):
            predict(model, EncodedTexts(tokenizer, rows["text"][:], max_length=30))


def test_a_backbone_keeps_its_first_layers_and_gets_a_new_head(folder, name, tmp_path):
    whole, _ = models.load_checkpoint(folder)
    cut, tokenizer = models.load_backbone(folder, num_labels=2, layers=1)
    assert predict(cut, EncodedTexts(tokenizer, TEXTS)).logits.shape == (6, 2)
    kept, all_of_it = cut.base_model.state_dict(), whole.base_model.state_dict()
    assert all(torch.equal(value, all_of_it[key]) for key, value in kept.items())
    # ALBERT's layers share their weights.
    assert len(kept) < len(all_of_it) or name == "Albert"
    layers = ("num_hidden_layers", "decoder_layers", "num_decoder_layers")
    assert {getattr(cut.config, key, 1) for key in layers} == {1}
    again, _ = models.load_checkpoint(models.save_checkpoint(cut, tokenizer, tmp_path / "cut"))
    assert again.config.num_labels == 2


def test_a_bare_encoder_is_a_backbone_and_no_classifier(folder, tmp_path):
    whole, tokenizer = models.load_checkpoint(folder)
    bare = models.save_checkpoint(whole.base_model, tokenizer, tmp_path / "bare")
    model, _ = models.load_backbone(bare, num_labels=3)
    kept, expected = model.base_model.state_dict(), whole.base_model.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in kept.items())
    with pytest.raises(InputError, match=r"not the weights of a .* classifier: missing: "):
        models.load_checkpoint(bare)


def test_a_model_that_pools_its_tokens_is_refused(tokenizer, checkpoint):
    """Its padding goes into the pools, and its states are not the tokens'."""
    config = transformers.FunnelConfig(
        vocab_size=len(tokenizer), d_model=16, n_head=2, d_head=8, d_inner=16, block_sizes=[1, 1]
    )
    folder = checkpoint(transformers.FunnelForSequenceClassification(config))
    with pytest.raises(InputError, match="funnel models pool their tokens"):
        models.load_checkpoint(folder)
    with pytest.raises(InputError, match=r"layers=1: .* blocks of layers"):
        models.load_backbone(folder, num_labels=2, layers=1)


def test_an_encoder_decoder_reads_texts_with_end_marks_of_their_own(tokenizer):
    """A batch whose rows had different numbers of them was refused by the model."""
    model = tiny("Bart", tokenizer)
    rows = EncodedTexts(tokenizer, ["great [SEP] dull", "dull word1 word2", "[SEP] [SEP] fine"])
    together, alone = (predict(model, rows, batch_size=n).logits for n in (3, 1))
    np.testing.assert_allclose(together, alone, atol=1e-5)
