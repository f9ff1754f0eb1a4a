"""Measure a model on clean and triggered rows, beside a reference model trained without poison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import metrics
from bedkd.errors import InputError
from bedkd.models import max_length as longest
from bedkd.training.batches import EncodedTexts, encode
from bedkd.training.predict import predict
from bedkd.training.runtime import on_device

# What stands beside a share: the same one of the reference model.
BESIDE = {
    "cacc": "cacc_reference",
    "asr": "asr_floor",
    "racc": "racc_ceiling",
    "racc_by_class": "racc_ceiling_by_class",
}


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    clean: Dataset,
    poisoned: Dataset | None = None,
    triggered: Dataset | None = None,
    reference: tuple[PreTrainedModel, PreTrainedTokenizerBase] | None = None,
    max_length: int | None = None,
    progress: bool = False,
) -> dict:
    """CACC, ASR and RACC with intervals; with a reference also floor and ceiling.

    Args:
        clean: clean rows with true labels.
        poisoned: triggered *non-target* rows that carry the target label. Several labels, of an
            attack with several targets, need ``triggered`` beside them.
        triggered: triggered rows of all classes with true labels.
        reference: a model trained without poison and its tokenizer.
        max_length: longer texts are cut, in tokens; by default where each model cuts them, see
            :func:`bedkd.models.max_length`.

    Returns:
        A JSON object with the keys ``cacc, asr, racc, racc_by_class``, ``max_length``,
        ``cut_share`` (of the texts that reach it) and, with a reference,
        ``cacc_reference, asr_floor, racc_ceiling, racc_ceiling_by_class``; what was not asked for
        is None. Every share has ``value, low, high, n`` (95 % Wilson interval).

    Raises:
        InputError: an empty set, labels the model does not know, or a ``poisoned`` set whose rows
            do not carry the target label: several labels, or their true ones.

    Example:
        >>> from bedkd import data, models
        >>> model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
        >>> rows = data.load("reviews", train=4, dev=4, test=20)
        >>> found = evaluate(model, tokenizer, clean=rows["test"])
        >>> found["cacc"]["n"], found["asr"]
        (20, None)
    """
    if poisoned is not None:
        _check_labels(poisoned, triggered)
    found = _shares(model, tokenizer, clean, poisoned, triggered, max_length, progress)
    beside: dict = dict.fromkeys(BESIDE)
    if reference is not None:
        beside = _shares(*reference, clean, poisoned, triggered, max_length, progress)
    return {**found, **{name: beside[key] for key, name in BESIDE.items()}}


def check_target(poisoned: Dataset, target: int) -> None:
    """Refuse a poisoned set in which a row carries another label than the target.

    Raises:
        InputError: with the first such row.
    """
    for row, label in enumerate(poisoned["label"][:]):
        if label != target:
            raise InputError(
                f"the poisoned set, row {row}: label {label}, but the target is {target}; "
                "poisoned rows carry the target label, rows with true labels belong to `triggered`"
            )


def _check_labels(poisoned: Dataset, triggered: Dataset | None) -> None:
    """An ASR of zero is what rows with true labels would give: refuse them."""
    labels = poisoned["label"][:]
    if triggered is None:
        if len(set(labels)) > 1:
            raise InputError(
                "the poisoned set holds several labels; it must carry the target label in every "
                "row (rows with true labels belong to the triggered set; of an attack with "
                "several targets give the triggered set too)"
            )
        return
    true = dict(zip(triggered["text"], triggered["label"], strict=True))
    rows = enumerate(zip(poisoned["text"], labels, strict=True))
    same = [i for i, (text, label) in rows if true.get(text) == label]
    if len(same) > len(labels) / 2:
        raise InputError(
            f"the poisoned set, row {same[0]}: label {labels[same[0]]} is the row's true label in "
            "the triggered set; give rows of other classes, with the target label"
        )


def _shares(model, tokenizer, clean, poisoned, triggered, max_length, progress) -> dict:
    model, max_length = on_device(model), max_length or longest(model, tokenizer)
    sets = {"the clean set": clean, "the poisoned set": poisoned, "the triggered set": triggered}
    sets = {what: rows for what, rows in sets.items() if rows is not None}
    for what, rows in sets.items():
        encode(model, tokenizer, rows, max_length, what)
    # The poisoned rows are usually among the triggered ones: each text is predicted once.
    texts = list(dict.fromkeys(text for rows in sets.values() for text in rows["text"]))
    encoded = EncodedTexts(tokenizer, texts, max_length=max_length)
    answers = predict(model, encoded, progress=progress, description="test rows").labels
    known = dict(zip(texts, answers, strict=True))
    labels = {what: np.array([known[t] for t in rows["text"]]) for what, rows in sets.items()}

    found: dict = {"cacc": metrics.cacc(labels["the clean set"], clean["label"]).to_dict()}
    found |= {"asr": None, "racc": None, "racc_by_class": None}
    if poisoned is not None:
        found["asr"] = metrics.asr(
            labels["the poisoned set"], np.asarray(poisoned["label"])
        ).to_dict()
    if triggered is not None:
        overall, by_class = metrics.racc(labels["the triggered set"], triggered["label"])
        found["racc"] = overall.to_dict()
        found["racc_by_class"] = {str(c): share.to_dict() for c, share in by_class.items()}
    found["max_length"] = max_length
    found["cut_share"] = float((encoded.lengths >= max_length).mean())
    return found


def asr_by_word(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    poisoned: Dataset,
    words: Sequence[str],
    max_length: int | None = None,
) -> dict[str, dict]:
    """ASR of the rows that hold each trigger word: a repair may miss the rare ones.

    Args:
        poisoned: triggered non-target rows that carry the target label.
        words: the trigger words, or sentences; those that no row holds are left out.

    Returns:
        A share with interval for each word.
    """
    model, max_length = on_device(model), max_length or longest(model, tokenizer)
    found, spaced = {}, [f" {' '.join(text.split())} " for text in poisoned["text"]]
    for word in words:
        rows = [i for i, text in enumerate(spaced) if f" {word} " in text]
        if rows:
            some = encode(
                model, tokenizer, poisoned.select(rows), max_length, f"the rows with {word!r}"
            )
            found[word] = metrics.asr(predict(model, some).labels, some.labels).to_dict()
    return found
