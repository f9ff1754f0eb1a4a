"""What goes into layers of a model at the real tokens of some rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from bedkd.training.batches import EncodedTexts
from bedkd.training.forward import ask


def token_inputs(
    model: PreTrainedModel, layers: Sequence[nn.Linear], rows: EncodedTexts
) -> Iterator[tuple[int, Tensor]]:
    """Yield (index of the layer, its inputs (tokens, width)), batch by batch, without padding.

    ``model`` must be in evaluation mode. Every process sees all rows: a prediction's rows are
    shared out, what is measured here is not.
    """
    seen: list[tuple[int, Tensor]] = []
    mask: list[Tensor] = []  # of the pass that is under way

    def before(module, args, kwargs):
        mask[:] = [kwargs["attention_mask"].bool()]

    hooks = [model.register_forward_pre_hook(before, with_kwargs=True)]
    for k, layer in enumerate(layers):
        hooks.append(
            layer.register_forward_pre_hook(lambda _, args, k=k: seen.append((k, args[0][mask[0]])))
        )
    try:
        for indices in rows.by_length(64):
            with torch.no_grad():
                ask(model, rows.batch(indices, model.device))
            yield from seen
            seen.clear()
    finally:
        for hook in hooks:
            hook.remove()
