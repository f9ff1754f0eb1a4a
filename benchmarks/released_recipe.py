"""The recipe as it was released, for comparison of time and outcome: plain PyTorch, no bedkd loop.

Written from a description of the authors' script (arXiv 2508.01595). What is kept although it
costs time or goes wrong: random batches padded to their longest row, the teacher's answer computed
anew at every step, padding positions in the hidden-state loss, plain Adam in single precision, 20
epochs of mapping and 50 cycles, the first 32 hits of the scan in file order, an unbounded punish
loss, no stopping rule and no verdict.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

EPOCHS, CYCLES, BATCH, LR, ALPHA = 20, 50, 16, 3e-5, 0.3
MAPPING_TEMPERATURE, REPAIR_TEMPERATURE, GAMMA = 1.5, 2.5, 0.1
HITS, USED = 128, 32

Batch = tuple[dict[str, Tensor], Tensor]


def batches(
    tokenizer: PreTrainedTokenizerBase, rows: Dataset, max_length: int, shuffle: bool
) -> Iterator[Batch]:
    """Batches in random or in file order, each padded to its longest row."""
    order = torch.randperm(len(rows)) if shuffle else torch.arange(len(rows))
    for part in order.split(BATCH):
        chosen = rows[part.tolist()]
        inputs = tokenizer(
            chosen["text"],
            truncation=True,
            max_length=max_length,
            padding=True,
            return_tensors="pt",
        )
        yield dict(inputs), torch.tensor(chosen["label"])


def loss(
    student: PreTrainedModel, teacher: PreTrainedModel, batch: Batch, temperature: float
) -> Tensor:
    """α·CE + (1 − α)·[KL + MSE of all hidden states, those of padding included]."""
    inputs, labels = batch
    with torch.no_grad():
        wanted = teacher(**inputs, output_hidden_states=True)
    found = student(**inputs, output_hidden_states=True)
    kl = F.kl_div(
        F.log_softmax(found.logits / temperature, -1),
        F.softmax(wanted.logits / temperature, -1),
        reduction="batchmean",
    )
    mse = F.mse_loss(found.hidden_states[-1], wanted.hidden_states[-1])
    return ALPHA * F.cross_entropy(found.logits, labels) + (1 - ALPHA) * (kl + mse)


def train_pass(student, teacher, loader: Iterator[Batch], optimizer, temperature, sign=1) -> None:
    """One pass of plain Adam; ``sign`` −1 climbs."""
    student.train()
    for batch in loader:
        optimizer.zero_grad()
        (sign * loss(student, teacher, batch, temperature)).backward()
        optimizer.step()
    student.eval()


@torch.no_grad()
def first_hits(student, teacher, tokenizer, rows: Dataset, max_length: int) -> list[int]:
    """The first rows of the file with d(x) < γ whose given label the teacher predicts."""
    hits: list[int] = []
    for number, (inputs, labels) in enumerate(batches(tokenizer, rows, max_length, False)):
        old, new = (model(**inputs).logits.softmax(-1) for model in (teacher, student))
        distance = (old - new).abs().mean(-1)
        found = (distance < GAMMA) & (old.argmax(-1) == labels)
        hits += (BATCH * number + found.nonzero().flatten()).tolist()
        if len(hits) >= HITS:
            break
    return hits[:USED]


def purify(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    flip: Dataset,
    trust: Dataset,
    untrusted: Dataset,
    *,
    max_length: int,
    seed: int = 0,
    epochs: int = EPOCHS,
    cycles: int = CYCLES,
) -> tuple[PreTrainedModel, list[int]]:
    """The student after the last cycle, and the rows that it was punished on.

    Args:
        flip, trust: trusted rows of the two stages, 80 and 320 a class.
    """
    torch.manual_seed(seed)
    classes = model.config.num_labels
    flipped = flip.map(lambda row: {"label": (row["label"] + 1) % classes})
    mapping = copy.deepcopy(model)
    optimizer = torch.optim.Adam(mapping.parameters(), lr=LR)
    for _ in range(epochs):
        loader = batches(tokenizer, flipped, max_length, True)
        train_pass(mapping, model, loader, optimizer, MAPPING_TEMPERATURE)
    used = first_hits(mapping, model, tokenizer, untrusted, max_length)
    student, suspects = copy.deepcopy(model), untrusted.select(used)
    optimizer = torch.optim.Adam(student.parameters(), lr=LR)
    for _ in range(cycles):
        for rows, sign in ((trust, 1), (suspects, -1)):
            loader = batches(tokenizer, rows, max_length, True)
            train_pass(student, model, loader, optimizer, REPAIR_TEMPERATURE, sign)
    return student, used
