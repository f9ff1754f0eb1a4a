"""Adapters (LoRA, by PEFT): read with care, made, and written.

An adapter is a folder with ``adapter_config.json`` and ``adapter_model.safetensors``. It holds
what was trained, the classification head included; everything else is in the base that its
configuration names. What such a file says is data of a suspect: those of its settings are taken
that say how low-rank matrices are added; others are refused, as some name modules to import
or files to read.

Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import cached_file

from bedkd.errors import InputError
from bedkd.files import write_json
from bedkd.training.student import adapter_weights

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# Settings that say what is added where. With all others at their defaults nothing else is done.
SETTINGS = (
    *("r", "lora_alpha", "lora_dropout", "lora_bias", "bias", "fan_in_fan_out", "target_modules"),
    *("exclude_modules", "modules_to_save", "use_rslora", "use_dora", "rank_pattern"),
    *("alpha_pattern", "layers_to_transform", "layers_pattern"),
)
# Settings without effect on a trained adapter that is loaded.
WITHOUT_EFFECT = (
    *("peft_type", "task_type", "base_model_name_or_path", "revision", "inference_mode"),
    *("auto_mapping", "peft_version", "megatron_core", "runtime_config", "loftq_config"),
    *("qalora_group_size", "ensure_weight_tying"),
)
# The base may be the first layers of a model. Other tools know no such name, and stop.
FIRST_LAYERS = re.compile(r"(.+)\[:(\d+)\]")
# What of a classifier's configuration is its own, and not its base's.
OF_CLASSIFIER = ("id2label", "label2id", "pad_token_id", "problem_type", "bedkd_max_length")


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter's files, as far as they have been read.

    Attributes:
        base: folder or hub id of the base, with ``@revision`` where it has one.
        layers: how many of the base's first layers; None for all.
        config: how it is put on.
        classifier: settings of the classifier, see ``OF_CLASSIFIER``.
        weights: by name, on the CPU.
    """

    base: str
    layers: int | None
    config: LoraConfig
    classifier: dict
    weights: dict[str, Tensor]


def is_stored(name: str | Path, revision: str | None = None) -> bool:
    """Whether a folder or hub id holds an adapter."""
    if Path(name).is_dir():
        return (Path(name) / CONFIG).is_file()
    return _file(name, CONFIG, revision) is not None


def _file(name: str | Path, file: str, revision: str | None) -> Path | None:
    if Path(name).is_dir():
        return path if (path := Path(name) / file).is_file() else None
    quiet = ("missing_entries", "connection_errors", "gated_repo")
    options = {f"_raise_exceptions_for_{what}": False for what in quiet}
    try:
        found = cached_file(str(name), file, revision=revision, **options)
    except (OSError, ValueError):  # no hub, no such id: whoever reads the weights says so
        return None
    return None if found is None else Path(found)


def read(name: str | Path, revision: str | None = None) -> StoredAdapter:
    """Read an adapter's files.

    Raises:
        InputError: its weights are no safetensors, it is of another kind than LoRA, or its
            settings ask for more than adding low-rank matrices.
    """
    weights = _file(name, WEIGHTS, revision)
    if weights is None:
        raise InputError(
            f"model {name}: holds an adapter without {WEIGHTS}; bedkd does not unpickle weights "
            "(load it with peft where you trust it and `save_pretrained` it anew)"
        )
    stored = json.loads(_file(name, CONFIG, revision).read_text(encoding="utf-8"))
    if stored.get("peft_type") != "LORA":
        raise InputError(
            f"model {name}: holds an adapter of kind {stored.get('peft_type')}; bedkd reads LoRA, "
            "so merge it first (`model.merge_and_unload().save_pretrained(folder)`)"
        )
    usual = LoraConfig().to_dict()
    for key, value in stored.items():
        if key in SETTINGS or key in WITHOUT_EFFECT or value in (usual.get(key), None, {}, False):
            continue
        if key != "init_lora_weights" or value not in ("gaussian", "orthogonal"):
            raise InputError(
                f"model {name}: its adapter sets {key}, which bedkd does not follow; merge it "
                "first (`model.merge_and_unload().save_pretrained(folder)`)"
            )
    settings = {key: stored[key] for key in SETTINGS if key in stored}
    base = stored.get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise InputError(f"model {name}: {CONFIG} names no base_model_name_or_path")
    whole = FIRST_LAYERS.fullmatch(base)
    base, layers = (whole[1], int(whole[2])) if whole else (base, None)
    if (Path(name) / base).is_dir():
        base = str(Path(name) / base)
    if stored.get("revision") and not Path(base).is_dir():
        base += f"@{stored['revision']}"
    config = LoraConfig(task_type=TaskType.SEQ_CLS, **settings)
    found = _file(name, "config.json", revision)
    classifier = json.loads(found.read_text(encoding="utf-8")) if found else {}
    classifier = {key: classifier[key] for key in OF_CLASSIFIER if key in classifier}
    if names := classifier.get("id2label"):  # JSON has text as keys
        classifier["id2label"] = {int(k): label for k, label in names.items()}
    return StoredAdapter(base, layers, config, classifier, load_file(weights))


def holds_tokenizer(name: str | Path, revision: str | None = None) -> bool:
    """Whether a tokenizer lies beside the adapter; otherwise it is the base's."""
    return _file(name, "tokenizer_config.json", revision) is not None


def num_labels(adapter: StoredAdapter) -> int | None:
    """K: what the configuration beside it says, otherwise the rows of its head; None where the
    head is the base's."""
    if names := adapter.classifier.get("id2label"):
        return len(names)
    heads = [k for k, w in adapter.weights.items() if ".lora_" not in k and w.ndim == 2]
    return adapter.weights[sorted(heads)[-1]].shape[0] if heads else None


def attach(
    name: str | Path, model: PreTrainedModel, adapter: StoredAdapter, new: list[str]
) -> PeftModel:
    """Put a stored adapter on its base.

    Args:
        name: as in messages.
        new: modules of the base whose weights are random, because its files have none.

    Raises:
        InputError: weights of the adapter do not fit the base, are missing or not finite.
    """
    wrapped = _wrap(model, adapter.config)
    wanted = adapter_weights(wrapped)
    # A head that the adapter does not hold is the base's own, where that has one.
    lacking = [
        key
        for key in wanted.keys() - adapter.weights.keys()
        if ".lora_" in key or any(f".{module}." in key for module in new)
    ]
    wrong = {
        "missing": sorted(lacking),
        "of another shape": sorted(
            k for k, w in adapter.weights.items() if k in wanted and w.shape != wanted[k].shape
        ),
        "not the base's": sorted(adapter.weights.keys() - wanted.keys()),
        "not finite": sorted(k for k, w in adapter.weights.items() if not w.isfinite().all()),
    }
    for what, keys in wrong.items():
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise InputError(
                f"model {name}: not the weights of an adapter of {adapter.base}: {what}: "
                f"{', '.join(keys[:3])}{more}"
            )
    dtypes = {weight.dtype for weight in adapter.weights.values()}
    set_peft_model_state_dict(wrapped, {k: w.float() for k, w in adapter.weights.items()})
    wrapped.stored_dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    return wrapped.eval()


def with_lora(
    model: PreTrainedModel, rank: int, *, base: str, layers: int | None, new: list[str]
) -> PeftModel:
    """Freeze a backbone and put a new adapter on all its linear layers; the new head is trained
    whole. As the adapter begins at 0, answers are the backbone's.

    Args:
        rank: of the matrices that are added; larger learns more and takes more memory. They are
            scaled by 2 (α is twice the rank).
        base, layers: where the backbone came from, for whoever loads the adapter.
        new: modules that are not in the backbone's files, so that the adapter must hold them.

    Raises:
        InputError: a rank below 1.
    """
    if rank < 1:
        raise InputError(f"lora={rank}: give a rank of at least 1, such as 16")
    identifier, _, revision = base.partition("@")
    if Path(base).is_dir():
        identifier, revision = str(Path(base).resolve()), ""
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=2 * rank,
        target_modules="all-linear",
        modules_to_save=list(new),
        revision=revision or None,
    )
    wrapped = _wrap(model, config)
    config.base_model_name_or_path = identifier + (f"[:{layers}]" if layers else "")
    wrapped.stored_dtype = torch.float32
    return wrapped.eval()


def _wrap(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names and layouts that PEFT sets right by itself
        return get_peft_model(model, config)


def save(model: PeftModel, folder: Path) -> None:
    """Write the active adapter's weights and settings, and the classifier's configuration."""
    stored = getattr(model, "stored_dtype", torch.float32)
    weights = {k: w.detach().cpu().to(stored) for k, w in adapter_weights(model).items()}
    save_file({k: w.clone().contiguous() for k, w in weights.items()}, folder / WEIGHTS)
    config = model.peft_config[model.active_adapter].to_dict()
    config |= {"inference_mode": True, "auto_mapping": None}
    if config.get("modules_to_save"):  # PEFT adds the usual names each time it wraps a model
        config["modules_to_save"] = set(config["modules_to_save"])
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.items()}
    write_json(plain, folder / CONFIG)
    model.config.save_pretrained(folder)
