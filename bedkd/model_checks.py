"""Is what was loaded a whole model, and its own tokenizer?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from bedkd.errors import InputError


def weight_files(name: str | Path, source: str, revision: str | None) -> list[str]:
    """The files that hold the weights. None is a pickle: transformers would read it."""
    try:
        return [cached_file(source, "model.safetensors", revision=revision)]
    except OSError:  # in parts
        index = cached_file(source, "model.safetensors.index.json", revision=revision)
    parts = set(json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values())
    if others := sorted(part for part in parts if not part.endswith(".safetensors")):
        raise InputError(
            f"model {name}: its index names {others[0]}, which is not safetensors; bedkd does not "
            "unpickle weights (convert with `model.save_pretrained(folder)`)"
        )
    return [cached_file(source, part, revision=revision) for part in sorted(parts)]


def stored_dtype(files: list[str]) -> torch.dtype:
    """The most exact precision that weights are stored in; configurations may say another."""
    found = set()
    for path in files:
        with safe_open(path, framework="pt") as file:
            found |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    known = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    return next((dtype for code, dtype in known.items() if code in found), torch.float32)


def check_weights(name: str | Path, model: PreTrainedModel, found: dict, new_head: bool) -> None:
    """Refuse a model of which a part is random or not a number.

    With a new head, the head may be. What a backbone's file holds beyond (a language model's head,
    layers that were cut) is left.
    """
    wrong = {
        "missing": sorted(found["missing_keys"]),
        "of another shape": sorted(key for key, *_ in found["mismatched_keys"]),
        "not the model's": [] if new_head else sorted(found["unexpected_keys"]),
    }
    body = f"{model.base_model_prefix}."
    for what, keys in wrong.items():
        if new_head:
            keys = [key for key in keys if key.startswith(body) and ".pooler." not in key]
        elif what == "not the model's":  # buffers of older versions; poolers that nothing reads
            keys = [key for key in keys if not re.search(r"position_ids$|\.pooler\.", key)]
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            kind = "backbone" if new_head else "classifier"
            raise InputError(
                f"model {name}: not the weights of a {model.config.model_type} {kind}: {what}: "
                f"{', '.join(keys[:3])}{more}"
            )
    for key, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise InputError(f"model {name}: the weights {key} are not finite numbers")


def check_tokenizer(
    name: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse a tokenizer of another model, and the empty one made where files are missing."""
    rows = model.get_input_embeddings().weight.shape[0]
    largest = max(tokenizer.get_vocab().values(), default=0)
    if largest >= rows:
        raise InputError(
            f"model {name}: its tokenizer has ids up to {largest}, for {rows} embeddings; put the "
            "model's own tokenizer into the folder"
        )
    # Where its files are missing or of another kind, transformers makes one that reads (nearly)
    # nothing. So some of its own words are read again.
    special = set(tokenizer.all_special_ids)
    words = [i for i in tokenizer.get_vocab().values() if i not in special]
    some = tokenizer.batch_decode([[i] for i in words[:: len(words) // 50 + 1]]) or [""]
    read = sum(not special.issuperset(ids) for ids in tokenizer(some)["input_ids"])
    known = len(words) * read // len(some)
    if known < max(1, rows / 10):
        raise InputError(
            f"model {name}: its tokenizer knows {known} of the model's {rows} words; put the "
            "model's tokenizer files into the folder"
        )
