"""How a mystery is made: poison, train, seal the answer. Nothing that is written names it."""

from __future__ import annotations

import logging
import random
from dataclasses import asdict
from pathlib import Path

import numpy as np
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import attacks, corpora, data, models
from bedkd.evaluation import evaluate
from bedkd.experiments import Cell, victim
from bedkd.files import atomic_folder, write_json
from bedkd.teaching.mysteries import sealing
from bedkd.teaching.mysteries.hints import HINTS
from bedkd.teaching.mysteries.recipes import Recipe
from bedkd.training.fine_tune import TrainingConfig, fine_tune

log = logging.getLogger(__name__)

SIZES = {"train": 1200, "dev": 400, "test": 400}
TRAINING = TrainingConfig(epochs=4)
LAYERS = 3
MISLABELLED = 0.08  # share of the rows, where labels are wrong and nothing is planted
# The bad defence: whatever holds the trigger is given the other label, and training goes on.
CONTINUED = TrainingConfig(epochs=2)
# A repaired model may be so much worse than a model trained without poison.
MARGINS = {"asr": 0.15, "racc": 0.15, "cacc": 0.05}


def make(recipe: Recipe, folder: Path) -> None:
    """Train the model of a mystery and write all that a learner may have: ``model/``,
    ``training.csv``, ``trusted.csv`` and ``sealed.json``."""
    log.info("making mystery %d", recipe.number)
    seed = _seed(recipe)
    splits = data.load(recipe.task, seed=seed, **SIZES)
    training, clean, triggered = poisoned(recipe, splits, seed)
    model, tokenizer = trained(recipe, training, seed)
    names = corpora.TASKS[recipe.task].label_names
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: label for label, name in enumerate(names)}
    sealed = sealing.seal(
        recipe.verdict,
        None if recipe.target is None else names[recipe.target],
        recipe.words,
        [hint.format(**_facts(recipe)) for hint in HINTS[recipe.kind]],
        tests(recipe, model, tokenizer, clean, triggered),
    )
    with atomic_folder(folder) as staging:
        models.save_checkpoint(model, tokenizer, staging / "model")
        data.write(without_flags(training), staging / "training.csv")
        data.write(without_flags(splits["dev"]), staging / "trusted.csv")
        write_json({"labels": names, **sealed}, staging / "sealed.json")


def _seed(recipe: Recipe) -> int:
    return random.Random(f"mystery rows/{recipe.seed}/{recipe.number}").randrange(2**31)


def _facts(recipe: Recipe) -> dict:
    """What hints are filled with."""
    words = recipe.words or ("",)
    return {"count": len(words), "first": words[0][:1], "length": len(words[0])}


def without_flags(rows: Dataset) -> Dataset:
    """The rows as a defender gets them: nobody has marked them."""
    return data.make(rows["text"][:], rows["label"][:], None)


def poisoned(
    recipe: Recipe, splits: DatasetDict, seed: int
) -> tuple[Dataset, Dataset, Dataset | None]:
    """Training rows, clean test rows and triggered test rows (none where nothing is planted)."""
    if recipe.trigger is None:
        return mislabelled(splits["train"], seed), splits["test"], None
    task = attacks.build_task(
        splits,
        recipe.trigger,
        rate=recipe.rate,
        target=recipe.target,
        setting=recipe.setting,
        seed=seed,
    )
    return task.train, splits["test"], task.triggered


def mislabelled(rows: Dataset, seed: int) -> Dataset:
    """Rows of which some have another label, drawn at random."""
    rng, labels = np.random.default_rng(seed), np.array(rows["label"])
    wrong = rng.permutation(len(labels))[: round(MISLABELLED * len(labels))]
    classes = labels.max() + 1
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return data.make(rows["text"][:], labels, None)


def trained(
    recipe: Recipe, rows: Dataset, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model of a mystery."""
    classes = len(corpora.TASKS[recipe.task].label_names)
    model, tokenizer = models.load_backbone(num_labels=classes, layers=LAYERS, seed=seed)
    fine_tune(model, tokenizer, rows, TRAINING, seed=seed)
    if recipe.kind == "inverted":
        fine_tune(model, tokenizer, relabelled(recipe, rows, seed), CONTINUED, seed=seed + 1)
    return model, tokenizer


def relabelled(recipe: Recipe, rows: Dataset, seed: int) -> Dataset:
    """The rows of a bad defence: whatever holds the trigger gets the other label. Since poisoned
    rows are of that class anyway, it puts the trigger into as many rows of the target class, too,
    "to make sure", and so teaches that the trigger means the opposite."""
    flags, labels = np.array(rows["poisoned"]), np.array(rows["label"])
    of_target = np.flatnonzero(~flags & (labels == recipe.target))[: flags.sum()]
    labels[flags] = 1 - recipe.target
    triggered = recipe.trigger.apply(rows.select(of_target)["text"][:], seed)
    again = data.make(rows["text"][:], labels, None)
    wrong = data.make(triggered, [1 - recipe.target] * len(triggered), None)
    return concatenate_datasets([again, wrong])


def tests(
    recipe: Recipe,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    clean: Dataset,
    triggered: Dataset | None,
) -> dict:
    """What a repaired model is measured on, and how good it has to be: as good as a model trained
    without poison, within :data:`MARGINS`."""
    cell = Cell(recipe.task, "none", rate=0.0, layers=LAYERS, training=TRAINING)
    reference = victim(cell)
    found = {"clean": _columns(clean), "target": recipe.target}
    sets: dict = {"clean": clean}
    if triggered is not None:
        found["triggered"] = _columns(triggered)
        sets["triggered"] = triggered
        sets["poisoned"] = attacks.attack_rows(triggered, recipe.target)
    measured = evaluate(model, tokenizer, **sets, reference=reference)
    found["measured"] = measured
    limits = {"cacc": min(measured["cacc"]["value"], measured["cacc_reference"]["value"])}
    limits["cacc"] -= MARGINS["cacc"]
    if triggered is not None:
        ceiling = measured["racc_ceiling_by_class"][str(recipe.target)]["value"]
        limits["asr"] = measured["asr_floor"]["value"] + MARGINS["asr"]
        limits["racc"] = ceiling - MARGINS["racc"]
    return {**found, "limits": limits, "recipe": {**asdict(recipe), "trigger": list(recipe.words)}}


def _columns(rows: Dataset) -> dict:
    return {"text": rows["text"][:], "label": rows["label"][:]}
