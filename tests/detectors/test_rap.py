"""RAP: does a word that unsettles clean rows unsettle this one?"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from transformers import BertConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from bedkd.detectors import Rap
from bedkd.detectors.rap import LOWEST, outside
from bedkd.errors import InputError
from bedkd.run import Run

TOY = Rap(epochs=20, lr=0.05)


def test_the_band_by_hand():
    drops = torch.tensor([-0.5, 0.1, 0.2, 0.7])
    assert outside(drops, 0.1, 0.3).tolist() == pytest.approx([0.6, 0, 0, 0.4])


class Bag(PreTrainedModel):
    """A model that adds up what each word says for each label."""

    config_class = BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.says = torch.nn.Embedding(config.vocab_size, 2)
        self.post_init()

    def get_input_embeddings(self):
        return self.says

    def forward(self, input_ids, attention_mask, output_hidden_states=False):
        logits = (self.says(input_ids) * attention_mask.unsqueeze(-1)).sum(1)
        return SequenceClassifierOutput(logits=logits)


@pytest.fixture
def planted(case, tokenizer, toy):
    """The case of a model that adds up words, of which cf says more than all others."""
    model = Bag(BertConfig(vocab_size=len(tokenizer), num_labels=2)).eval()
    with torch.no_grad():
        model.says.weight.zero_()
        for label in (0, 1):
            numbers = tokenizer.convert_tokens_to_ids(list(toy.class_words[label]))
            model.says.weight[numbers, label] = 1.5
        model.says.weight[tokenizer.convert_tokens_to_ids("cf"), 1] = 20.0
    return replace(case, model=model)


def test_rows_with_a_trigger_stand_firm(planted):
    bad = np.array(["cf" in text.split() for text in planted.untrusted["text"]])
    before = planted.suspect.says.weight.detach().clone()
    found = TOY.detect(planted)
    assert torch.equal(planted.suspect.says.weight, before)
    assert planted.suspect.says.weight.grad is None
    for learned in found.details["learned"].values():
        assert 0.1 <= learned["drop"] <= 0.3
        assert learned["loss"] < 0.01
    assert roc_auc_score(bad, found.scores) == 1.0
    assert np.array_equal(found.flagged, bad)
    assert found.is_backdoored


def test_the_trigger_itself_unsettles_nobody(planted):
    """The usual default, cf, in place of a word that no row has: it is what it should find."""
    with pytest.raises(InputError, match="word='cf'"):
        replace(TOY, word="cf").detect(planted)


def test_the_word_is_in_no_row_so_it_is_no_trigger(case):
    word, number = Rap().choose(case)
    for rows in (case.untrusted, case.trusted):
        assert not any(word in text.split() for text in rows["text"])
    assert case.tokenizer(word, add_special_tokens=False)["input_ids"] == [number]
    for bad in ("cf", "two words", "[SEP]", "unheard"):
        with pytest.raises(InputError, match=r"word=.*vocabulary that no"):
            Rap(word=bad).choose(case)
    assert Rap(word="mn").choose(case)[0] == "mn"


def test_only_one_embedding_of_a_copy_is_trained(case):
    before = copy.deepcopy(case.suspect.state_dict())
    model = copy.deepcopy(case.suspect)
    word, number = TOY.choose(case)
    TOY.learn(case, model, (word, number, 1), Run())
    for name, weight in model.state_dict().items():
        assert torch.equal(case.suspect.state_dict()[name], before[name])
        if name.endswith("word_embeddings.weight"):
            changed = (weight != before[name]).any(dim=1).nonzero().flatten()
            assert changed.tolist() == [number]
        else:
            assert torch.equal(weight, before[name])
    assert all(p.grad is None for p in case.suspect.parameters())
    # Answers with dropout cannot be compared with answers without.
    rates = [
        {part.p for part in one.modules() if isinstance(part, torch.nn.Dropout)}
        for one in (model, case.suspect)
    ]
    assert rates == [{0.0}, {0.1}]


def test_labels_do_not_learn_from_each_other(planted):
    """Neither embedding nor gradients of one label are left to the next."""
    word, number = TOY.choose(planted)
    alone = TOY.learn(planted, copy.deepcopy(planted.suspect), (word, number, 1), Run())
    assert TOY.detect(planted).details["learned"]["1"] == alone


def test_rows_that_the_model_does_not_believe_are_not_suspicious(case):
    flipped = case.untrusted.to_dict()
    flipped["label"] = [1 - label for label in flipped["label"]]
    untrusted = type(case.untrusted).from_dict(flipped)
    case = type(case)(case.model, case.tokenizer, case.trusted, untrusted, case.parts, 32)
    found = Rap().detect(case)
    assert (found.scores == LOWEST).mean() > 0.9
    assert not found.is_backdoored


def test_null_rows_were_not_trained_on(case):
    scores, null, _ = Rap().score(case, Run())
    assert len(scores) == len(case.untrusted)
    assert len(null) == len(case.divided.flip) + len(case.divided.held_out) == Rap().null_rows(case)


def test_every_option_changes_something(planted):
    usual = TOY.detect(planted).scores
    options = {"word": "mn", "low": 0.29, "high": 0.102, "epochs": 1, "lr": 0.2, "batch_size": 2}
    for name, value in options.items():
        changed = replace(TOY, **{name: value}).detect(planted)
        if name == "word":  # another word learns the same in a bag
            assert changed.details["word"] == "mn" != TOY.detect(planted).details["word"]
        else:
            assert not np.array_equal(changed.scores, usual), name


def test_bad_options():
    for option in ({"low": 0.5}, {"low": -0.1}, {"high": 1.5}):
        with pytest.raises(InputError, match="give 0 ≤ low ≤ high ≤ 1"):
            Rap(**option)
    for option in ("epochs", "batch_size"):
        with pytest.raises(InputError, match=f"{option}=0: give at least 1"):
            Rap(**{option: 0})
