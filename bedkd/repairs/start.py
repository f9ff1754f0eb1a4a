"""What a rival repair starts from: its rows, and a model without poison."""

from __future__ import annotations

import copy

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedModel

from bedkd.case import Case
from bedkd.detectors.base import Detection
from bedkd.errors import InputError
from bedkd.models import load_backbone
from bedkd.training.student import whole_copy

# In place of a backbone's name: the suspect model's architecture with random weights.
FRESH = "fresh"


def trusted_rows(case: Case) -> Dataset:
    """The trusted rows that a repair may train on: the parts tune and flip, never those held out.

    BeDKD's own repair trains on tune alone; the rivals get a little more.
    """
    return concatenate_datasets([case.divided.tune, case.divided.flip])


def suspects(detection: Detection, most: int | None = None) -> np.ndarray:
    """Indices of the flagged rows that may be taken, the most suspicious first.

    Args:
        most: no more than so many; without a verdict so many of the highest scores, flagged or
            not. None: the flagged rows, whatever the verdict.

    Example:
        >>> flagged = np.array([True, False, True])
        >>> found = Detection(np.array([0.1, 0.9, 0.5]), flagged, 0.0, is_backdoored=False)
        >>> suspects(found).tolist(), suspects(found, most=1).tolist()
        ([2, 0], [1])
    """
    usable = ~np.isneginf(detection.repair_scores)
    if detection.is_backdoored or most is None:
        usable &= detection.flagged
    rows = np.flatnonzero(usable)
    return rows[np.lexsort((rows, -detection.repair_scores[rows]))][:most]


def before_training(case: Case, backbone: str, layers: int | None = None) -> PreTrainedModel:
    """The backbone with a new head, which no untrusted row has touched.

    Args:
        backbone: as in :func:`bedkd.models.load_backbone`, or ``fresh``: the suspect model's
            architecture with random weights, for models that were not made from a backbone.
        layers: of the backbone; None takes as many as the suspect model has.

    Raises:
        InputError: the backbone's vocabulary is not that of the case's tokenizer.
    """
    config = case.suspect.config
    if backbone == FRESH:
        model = whole_copy(case.suspect).requires_grad_(True)
        with torch.random.fork_rng():
            torch.manual_seed(case.seed)
            model.load_state_dict(type(model)(copy.deepcopy(config)).state_dict())
    else:
        layers = layers or config.num_hidden_layers
        model, tokenizer = load_backbone(
            backbone, num_labels=case.num_labels, layers=layers, seed=case.seed
        )
        if tokenizer.get_vocab() != case.tokenizer.get_vocab():
            raise InputError(
                f"backbone={backbone!r}: its vocabulary is not that of the model's tokenizer; give "
                f"backbone= the one that the model was made from, or {FRESH!r} to start from "
                "random weights"
            )
        model.config.id2label, model.config.label2id = config.id2label, config.label2id
    model.config.bedkd_max_length = case.max_length
    return model.eval()
