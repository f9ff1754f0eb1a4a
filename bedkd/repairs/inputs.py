"""What goes into layers of a model at the tokens of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bedkd.training.batches import EncodedTexts
from bedkd.training.forward import ask


def token_inputs(
    model: PreTrainedModel, layers: Sequence[nn.Linear], rows: EncodedTexts
) -> Iterator[tuple[int, Tensor]]:
    """Yield (index of the layer, its inputs (tokens, width)), batch by batch.

    ``model`` must be in evaluation mode. Rows of one length share a batch, so that there is no
    padding, nor the two trial passes with which :func:`bedkd.training.forward.ask` finds out what
    padding does. Every process sees all rows: predictions are shared out, this is not.
    """
    seen: list[tuple[int, Tensor]] = []

    def before(number: int, args: tuple) -> None:
        seen.append((number, args[0].flatten(0, -2)))

    hooks = [
        layer.register_forward_pre_hook(lambda _, args, number=number: before(number, args))
        for number, layer in enumerate(layers)
    ]
    try:
        for length in np.unique(rows.lengths):
            same = np.flatnonzero(rows.lengths == length)
            for start in range(0, len(same), 64):
                batch = rows.batch(same[start : start + 64], model.device)
                unpadded = {name: value[:, :length] for name, value in batch.inputs.items()}
                with torch.no_grad():
                    ask(model, replace(batch, inputs=unpadded))
                yield from seen
                seen.clear()
    finally:
        for hook in hooks:
            hook.remove()
