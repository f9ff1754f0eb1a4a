"""RAP, robustness-aware perturbations: does a word that unsettles clean rows unsettle this one?

Source: Yang et al. 2021, *RAP: Robustness-Aware Perturbations for Defending against Backdoor
Attacks on NLP Models*. The embedding of a rare word is changed until the word, put in front of a
clean row of a label, lowers that label's probability a little. A trigger is too strong for that.

Kept: only the rare word's embedding is trained, on rows of the protected label; the loss pulls the
drop into a band; score −(p(x) − p(word + x)). Changed: the target is not known, so each label gets
an embedding of its own and a row is scored by that of its given label; the word occurs in none of
the rows, so it is no trigger; the best epoch's embedding is kept; all of it happens in a copy, with
dropout off, since two answers are compared. Rows of whose given label the model is not persuaded
anyway get the lowest score. A model that is sure of everything cannot be unsettled: then the drop
reported as ``learned`` stays below the band, and the scores say little.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from torch import Tensor
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.errors import InputError, at_least
from bedkd.run import Run
from bedkd.training.batches import Batch, EncodedTexts
from bedkd.training.forward import ask
from bedkd.training.loop import Trainer
from bedkd.training.predict import predict

# No drop is larger than 1: the score of rows that the model does not give their label.
LOWEST = -1.0


@dataclass(frozen=True)
class Drop:
    """How far the drop of a label's probability is outside of a band, mean over rows.

    Attributes:
        before: probabilities without the word, (R,).
        low, high: the band.
    """

    before: Tensor
    low: float
    high: float

    def __call__(self, model: PreTrainedModel, batch: Batch) -> Tensor:
        answers = ask(model, batch).logits.softmax(dim=-1)
        after = answers.gather(1, batch.labels.unsqueeze(1)).squeeze(1)
        drop = self.before[torch.from_numpy(batch.indices)].to(after) - after
        return outside(drop, self.low, self.high).mean()


def outside(drop, low: float, high: float):
    """How far drops are outside of the band from ``low`` to ``high``; arrays or tensors.

    >>> outside(np.array([0.0, 0.2, 0.5]), 0.1, 0.3).round(3).tolist()
    [0.1, 0.0, 0.2]
    """
    return abs(drop - drop.clip(low, high))


@dataclass(frozen=True)
class Rap(Rival):
    """Score of a row: −(drop of its given label's probability).

    Attributes:
        word: the rare word, one token; None takes the last word of the vocabulary that no row has.
        low: smallest drop wanted on clean rows, 0 to ``high``.
        high: largest drop wanted on clean rows, at most 1; larger unsettles triggers too.
        epochs: passes over the trusted rows of a label, at least 1; the best is kept.
        lr: learning rate of the embedding.
        batch_size: rows in a batch.

    Example:
        >>> from bedkd import Parts, data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=60, dev=80, test=4)
        >>> case = Case(model, tokenizer, rows["dev"], rows["train"], Parts(10, 15, 10), 32)
        >>> Rap(epochs=1).detect(case).is_backdoored
        False
    """

    word: str | None = None
    low: float = 0.1
    high: float = 0.3
    epochs: int = 5
    lr: float = 1e-2
    batch_size: int = 16

    def __post_init__(self):
        super().__post_init__()
        at_least(self, epochs=1, batch_size=1)
        if not 0 <= self.low <= self.high <= 1:
            raise InputError(f"low={self.low}, high={self.high}: give 0 ≤ low ≤ high ≤ 1")

    def null_rows(self, case: Case) -> int:
        """Trusted rows that no embedding is trained on."""
        return len(_unseen(case))

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Learn an embedding for each label; drops of both sets."""
        word, number = self.choose(case)
        model = copy.deepcopy(case.suspect)
        embeddings = model.get_input_embeddings().weight
        original = embeddings[number].detach().clone()
        sets = case.untrusted, _unseen(case)
        plain = [predict(case.suspect, case.encoded(rows, "the rows")) for rows in sets]
        drops, history = [np.zeros(len(rows)) for rows in sets], {}
        for label in range(case.num_labels):
            with torch.no_grad():
                embeddings[number] = original
            history[str(label)] = self.learn(case, model, (word, number, label), run)
            for rows, before, drop in zip(sets, plain, drops, strict=True):
                mine = np.flatnonzero(np.asarray(rows["label"][:]) == label)
                if len(mine):
                    after = predict(model, _with(word, case, rows.select(mine))).probabilities
                    fits = before.labels[mine] == label
                    fall = before.probabilities[mine, label] - after[:, label]
                    drop[mine] = np.where(fits, fall, -LOWEST)
        return -drops[0], -drops[1], {"word": word, "learned": history}

    def learn(
        self, case: Case, model: PreTrainedModel, what: tuple[str, int, int], run: Run
    ) -> dict:
        """Train the word's embedding, and nothing else of ``model``, for one label; the loss and
        the mean drop after the best epoch."""
        word, number, label = what
        rows = case.divided.tune
        rows = rows.select(np.flatnonzero(np.asarray(rows["label"][:]) == label))
        if len(rows):
            answers = predict(case.suspect, case.encoded(rows, "the trusted set"))
            fits = np.flatnonzero(answers.labels == label)
            rows, before = rows.select(fits), answers.probabilities[fits, label]
        if not len(rows):
            return {}  # the model never says this label: no row can be unsettled
        encoded = _with(word, case, rows)
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        model.requires_grad_(False)
        embeddings = model.get_input_embeddings().weight.requires_grad_(True)
        only = torch.zeros(len(embeddings), 1, device=embeddings.device)
        only[number] = 1
        handle = embeddings.register_hook(lambda gradient: gradient * only)
        rng, per_epoch = np.random.default_rng(case.seed), -(-len(rows) // self.batch_size)
        trainer = Trainer(
            model,
            num_steps=self.epochs * per_epoch,
            lr=self.lr,
            seed=case.seed,
            description=f"RAP, label {label}" if run.progress else None,
        )
        objective = Drop(torch.from_numpy(before), self.low, self.high)
        best = {"loss": np.inf}
        for _ in range(self.epochs):
            batches = encoded.epoch(self.batch_size, rng)
            trainer.train((objective, encoded, batch) for batch in batches)
            drop = before - predict(model, encoded).probabilities[:, label]
            loss = float(outside(drop, self.low, self.high).mean())
            if loss < best["loss"]:
                kept = embeddings[number].detach().clone()
                best = {"loss": loss, "drop": float(drop.mean())}
        handle.remove()
        embeddings.requires_grad_(False)
        embeddings[number] = kept
        return best

    def choose(self, case: Case) -> tuple[str, int]:
        """The rare word and its token.

        Raises:
            InputError: ``word`` is not one token or occurs in the rows; no word is free.
        """
        sets = case.encoded_untrusted, case.encoded(case.trusted, "the trusted set")
        used = {i for rows in sets for ids in rows.ids for i in ids.tolist()}
        tokenizer = case.tokenizer

        def token(word: str) -> int | None:
            ids = tokenizer(word, add_special_tokens=False)["input_ids"]
            usable = len(ids) == 1 and ids[0] not in {*tokenizer.all_special_ids, *used}
            return ids[0] if usable else None

        if self.word is not None:
            if (number := token(self.word)) is None:
                raise InputError(
                    f"word={self.word!r}: give one word of the tokenizer's vocabulary that no "
                    "trusted or untrusted row holds, or None"
                )
            return self.word, number
        for number in sorted(tokenizer.get_vocab().values(), reverse=True):
            word = tokenizer.decode([number]).strip()
            if number not in used and word.isalnum() and token(word) == number:
                return word, number
        raise InputError("word: every word of the vocabulary occurs in the rows; give fewer rows")


def _unseen(case: Case) -> Dataset:
    return concatenate_datasets([case.divided.flip, case.divided.held_out])


def _with(word: str, case: Case, rows: Dataset) -> EncodedTexts:
    """Rows with the word in front."""
    texts = [f"{word} {text}" for text in rows["text"]]
    return EncodedTexts(case.tokenizer, texts, rows["label"][:], case.max_length)
