"""The copy of a model that is trained: of an adapter's base there is never a second one."""

from __future__ import annotations

import copy

import torch
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

# Learning rates of detectors and repairs are those of a model all of whose weights are trained.
# Low-rank adapters need about ten times as much (Schulman et al. 2025, "LoRA Without Regret").
ADAPTER_LR = 10


def is_adapter(model: PreTrainedModel | PeftModel) -> bool:
    """Whether the model is a frozen base with an adapter (of PEFT) on it."""
    return isinstance(model, PeftModel)


def adapter_weights(model: PeftModel) -> dict[str, Tensor]:
    """What belongs to the active adapter, its classification head included, by the names that
    PEFT's files have. The tensors are the model's own."""
    return get_peft_model_state_dict(
        model, adapter_name=model.active_adapter, save_embedding_layers=False
    )


def student_of(
    model: PreTrainedModel | PeftModel, *, frozen_embeddings: bool = False
) -> PreTrainedModel | PeftModel:
    """A copy to train. Of an adapter it is a second one on the same base: all weights that are not
    the adapter's are shared, not copied, and stay frozen.

    Args:
        frozen_embeddings: leave the token embeddings of a whole model as they are.

    Example:
        >>> from bedkd import models
        >>> model, _ = models.load_backbone("minilm", num_labels=2, layers=1, lora=4)
        >>> student = student_of(model)
        >>> one, two = (m.get_input_embeddings().weight for m in (model, student))
        >>> one is two, sum(p.numel() for p in student.parameters() if p.requires_grad)
        (True, 31490)
    """
    if not is_adapter(model):
        student = copy.deepcopy(model)
        if frozen_embeddings:
            if not any(weight.requires_grad for weight in student.parameters()):
                student.requires_grad_(True)  # frozen as a whole, as teachers are
            student.get_input_embeddings().requires_grad_(False)
        return student
    own = {weight.data_ptr() for weight in adapter_weights(model).values()}
    weights = [*model.parameters(), *model.buffers()]
    student = copy.deepcopy(model, {id(w): w for w in weights if w.data_ptr() not in own})
    shared = {id(weight) for weight in weights}
    for weight in student.parameters():
        if id(weight) not in shared:
            weight.requires_grad_(True)
    return student


def whole_copy(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """A copy with nothing shared, for repairs that change weights of the base: an adapter is merged
    into its base, and what comes of it is an ordinary model."""
    copied = copy.deepcopy(model)
    if not is_adapter(copied):
        return copied
    merged = copied.merge_and_unload().requires_grad_(True)
    merged.stored_dtype = torch.float32
    return merged


def student_lr(model: PreTrainedModel | PeftModel, lr: float) -> float:
    """The learning rate ``lr`` of a method, as this kind of model needs it."""
    return lr * ADAPTER_LR if is_adapter(model) else lr


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without its frozen weights, which training leaves as they are."""
    state = model.state_dict(keep_vars=True)
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {name: weight.detach() for name, weight in state.items() if name not in frozen}
