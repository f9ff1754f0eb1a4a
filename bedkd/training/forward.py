"""The one place where a classifier is asked: answers of every architecture in the same form."""

from __future__ import annotations

import inspect
from collections import defaultdict
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from bedkd.errors import InputError
from bedkd.training.batches import Batch, check_length
from bedkd.training.student import is_adapter

# By how much, relative to the largest logit, padding may change an answer.
TOLERANCE = 1e-3

_padding_matters: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


class Answer(NamedTuple):
    """``logits`` (B, K) and the last layer's hidden states (B, T, H), both in single precision."""

    logits: Tensor
    hidden: Tensor | None


def ask(model: PreTrainedModel, batch: Batch, hidden: bool = False) -> Answer:
    """Logits of a batch and, if asked for, hidden states: an encoder-decoder's are its decoder's.

    A row's answer does not depend on the rows beside it. Where a model cannot ignore padding (it
    has no mask, or reads the last position), only rows of equal length share a forward pass.

    Raises:
        InputError: more tokens than the model has positions, or not a hidden state for each.
    """
    check_length(model, batch.mask.shape[1], "these texts")
    groups = _groups(model, batch)
    if groups is None:
        return _forward(model, batch.inputs, hidden)
    width, order, parts = batch.mask.shape[1], [], []
    for (length, _), rows in groups.items():
        inputs = {name: value[rows, :length] for name, value in batch.inputs.items()}
        parts.append(_forward(model, inputs, hidden))
        order += rows
    back = torch.tensor(order, device=batch.mask.device).argsort()
    states = None
    if hidden:
        padded = [F.pad(p.hidden, (0, 0, 0, width - p.hidden.shape[1])) for p in parts]
        states = torch.cat(padded)[back]
    return Answer(torch.cat([p.logits for p in parts])[back], states)


def _forward(model: PreTrainedModel, inputs: dict[str, Tensor], hidden: bool) -> Answer:
    out = model(**_known(model, inputs), output_hidden_states=hidden)
    if not hidden:
        return Answer(out.logits.float(), None)
    states = (out.get("hidden_states") or out["decoder_hidden_states"])[-1]
    if states.shape[1] != inputs["input_ids"].shape[1]:
        raise InputError(
            f"{model.config.model_type} models pool their tokens; give a model with one hidden "
            "state a token"
        )
    return Answer(out.logits.float(), states.float())


def _known(model: PreTrainedModel, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inputs without token types where the model has none, or not so many."""
    types = inputs.get("token_type_ids")
    if types is None:
        return inputs
    count = getattr(model.config, "type_vocab_size", None)
    inner = model.get_base_model() if is_adapter(model) else model
    takes = "token_type_ids" in inspect.signature(inner.forward).parameters
    if takes and (count is None or int(types.max()) < count):
        return inputs
    return {name: value for name, value in inputs.items() if name != "token_type_ids"}


def _groups(model: PreTrainedModel, batch: Batch) -> dict[tuple, list[int]] | None:
    """Rows that may share a forward pass, by (length, end marks); None if all may."""
    apart = _needs_equal_lengths(model, batch)
    # An encoder-decoder reads its answer at the end mark: a batch must agree on their number.
    marked = getattr(model.config, "is_encoder_decoder", False)
    if not apart and not marked:
        return None
    ends = (batch.inputs["input_ids"] == model.config.eos_token_id) & batch.mask.bool()
    width = batch.mask.shape[1]
    groups = defaultdict(list)
    for row, (length, marks) in enumerate(
        zip(batch.mask.sum(1).tolist(), ends.sum(1).tolist(), strict=True)
    ):
        groups[length if apart else width, marks if marked else 0].append(row)
    return groups


def _needs_equal_lengths(model: PreTrainedModel, batch: Batch) -> bool:
    """Tried once a model, on the shortest row of the first batch that has padding."""
    if model not in _padding_matters:
        lengths = batch.mask.sum(1)
        row, width = int(lengths.argmin()), batch.mask.shape[1]
        if (length := int(lengths[row])) == width:
            return False
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), torch.autocast(batch.mask.device.type, enabled=False):
                padded, alone = (
                    model(
                        **_known(
                            model, {k: v[row : row + 1, :end] for k, v in batch.inputs.items()}
                        )
                    ).logits
                    for end in (width, length)
                )
        finally:
            model.train(was_training)
        change = (padded - alone).abs().max()
        _padding_matters[model] = bool(change > TOLERANCE * alone.abs().max())
    return _padding_matters[model]
