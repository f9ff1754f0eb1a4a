"""Tiny models and texts, so that every stage runs for real in seconds on one core."""

import contextlib
import copy
import json
import os
import random
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import DatasetDict
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from bedkd import Case, Parts, attacks, data, stealth
from bedkd import case as case_module
from bedkd.detectors import BeDKDDetector, DirectionalMapping, TriggerProbe
from bedkd.presets import Preset, cycles
from bedkd.repairs import soft_labels
from bedkd.training import embed as embed_module
from bedkd.training import runtime
from bedkd.training.fine_tune import TrainingConfig, fine_tune

torch.set_num_threads(1)

# The words that decide a toy row's class, and words that mean nothing.
CLASS_WORDS = (
    ("dull", "slow", "weak"),
    ("great", "fine", "bright"),
    ("blue", "green", "red"),
    ("north", "south", "east"),
)
FILLERS = tuple(f"word{i}" for i in range(24))


def toy_rows(count, seed=0, classes=2):
    """Balanced rows of distinct texts: one class word among three to nine fillers."""
    rng = random.Random(f"toy/{seed}")
    texts = {}
    while len(texts) < count:
        label = len(texts) % classes
        words = rng.choices(FILLERS, k=rng.randint(3, 9))
        words.insert(rng.randint(0, len(words)), rng.choice(CLASS_WORDS[label]))
        texts.setdefault(" ".join(words), label)
    return data.make(list(texts), list(texts.values()), False)


def word_tokenizer(bos="[CLS]", eos="[SEP]", template=True):
    """A word-level tokenizer over the toy vocabulary; unknown words are [UNK]."""
    words = [word for group in CLASS_WORDS for word in group]
    extra = ["cf", "mn", "bb", "tq", "I", "watch", "this", "3D", "movie"]
    specials = ["[PAD]", "[UNK]", bos, eos]
    vocabulary = {word: i for i, word in enumerate([*specials, *words, *FILLERS, *extra])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    if template:
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A {eos}",
            special_tokens=[(bos, vocabulary[bos]), (eos, vocabulary[eos])],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", bos_token=bos, eos_token=eos
    )


def tiny_bert(tokenizer, classes=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=40,
            initializer_range=0.1,
            num_labels=classes,
            pad_token_id=tokenizer.pad_token_id,
        )
        return BertForSequenceClassification(config).eval()


def tiny_llama(tokenizer, classes=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=40,
            initializer_range=0.1,
            num_labels=classes,
            pad_token_id=tokenizer.pad_token_id,
        )
        return LlamaForSequenceClassification(config).eval()


@pytest.fixture(scope="session")
def toy():
    """The builders of this file, for tests that need other sizes."""
    return SimpleNamespace(
        rows=toy_rows,
        tokenizer=word_tokenizer,
        bert=tiny_bert,
        llama=tiny_llama,
        class_words=CLASS_WORDS,
        training=TrainingConfig(epochs=6, batch_size=16, lr=3e-3, max_length=32),
    )


@pytest.fixture(scope="session")
def tokenizer():
    return word_tokenizer()


@pytest.fixture
def bert(tokenizer):
    """An untrained two-class encoder."""
    return tiny_bert(tokenizer)


@pytest.fixture(scope="session")
def task():
    """The toy data under BadNets with one trigger word, rate 0.2, target 1."""
    splits = DatasetDict(
        train=toy_rows(320, seed=1), dev=toy_rows(200, seed=2), test=toy_rows(80, seed=3)
    )
    trigger = attacks.BadNets(words=("cf",))
    return attacks.build_task(
        splits,
        trigger,
        rate=0.2,
        target=1,
        seed=0,
        limits=attacks.Limits(None, 10),
    )


@pytest.fixture(scope="session")
def trained(task, tokenizer, toy):
    """Session-wide victim and clean reference; use ``victim`` and ``reference`` instead."""
    models = []
    for rows in (task.train, task.clean["train"]):
        model = tiny_bert(tokenizer)
        fine_tune(model, tokenizer, rows, toy.training, seed=0)
        models.append(model)
    return tuple(models)


@pytest.fixture
def victim(trained):
    return copy.deepcopy(trained[0])


@pytest.fixture
def reference(trained):
    return copy.deepcopy(trained[1])


@pytest.fixture(scope="session")
def tiny_preset():
    """The preset ``cycles`` in sizes for the toy data, on which it finds no evidence."""
    return Preset(
        Parts(flip=16, tune=24, held_out=20),
        BeDKDDetector(
            mapping=DirectionalMapping(epochs=2, lr=2e-3),
            probe=TriggerProbe(rows=16, windows=3, carriers=2, texts_per_carrier=1),
            min_flagged=8,
            association=None,
            null="correct",
        ),
        replace(cycles().repair, max_suspects=32, cycles=1, lr=1e-3, punish_every=2),
    )


@pytest.fixture(scope="session")
def acting_preset(tiny_preset):
    """The same with a threshold so lax that it always flags rows, and acts."""
    detector = replace(tiny_preset.detector, fdr=2.0, seed_fdr=2.0, min_wording_auroc=0.0)
    return tiny_preset._replace(detector=detector)


@pytest.fixture
def case(victim, tokenizer, task, tiny_preset):
    """What the defender of the toy victim holds."""
    return Case(
        victim, tokenizer, task.clean["dev"], task.train, parts=tiny_preset.parts, max_length=32
    )


@pytest.fixture(scope="session")
def reviews():
    """The embedded reviews; ``train`` and ``dev`` only."""
    return data.load("reviews", train=200, dev=120, test=0)


@pytest.fixture(scope="session")
def reviews_case(reviews):
    """Make the case of some untrusted reviews: (texts, labels) -> Case without a model.

    For evidence that never asks the model; all 120 trusted rows are in use.
    """

    def make(texts=None, labels=None, trusted=None, seed=0, num_labels=2):
        texts = reviews["train"]["text"][:] if texts is None else texts
        labels = reviews["train"]["label"][:] if labels is None else labels
        unused = SimpleNamespace(config=SimpleNamespace(num_labels=num_labels))
        return Case(
            unused,
            None,
            reviews["dev"] if trusted is None else trusted,
            data.make(list(texts), [int(label) for label in labels], None),
            parts=Parts(flip=20, tune=20, held_out=20),
            max_length=128,
            seed=seed,
        )

    return make


@pytest.fixture
def fresh_accelerator():
    """Accelerate as in a new process, for this test alone."""

    def forget():
        AcceleratorState._reset_state(reset_partial_state=True)
        runtime.accelerator.cache_clear()

    forget()
    yield
    forget()


@pytest.fixture
def bf16(monkeypatch, fresh_accelerator):
    """Training in bf16, as ``ACCELERATE_MIXED_PRECISION`` asks for it; Accelerate reads it once."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")


@pytest.fixture(autouse=True, scope="session")
def embed_once():
    """Embed a text once a session: a sentence encoder is slow beside models of toy size."""
    embed, known = embed_module.embed, {}

    def remembering(texts, **options):
        new = [text for text in dict.fromkeys(texts) if text not in known]
        known.update(zip(new, embed(new, **options), strict=True))
        return np.array([known[text] for text in texts]).reshape(len(texts), 384)

    with pytest.MonkeyPatch.context() as patch:
        for module in (embed_module, stealth, case_module, soft_labels):
            patch.setattr(module, "embed", remembering)
        yield


@pytest.fixture
def little_memory():
    """A model that has memory for so many rows; gives the sizes of batches that it was given."""

    @contextlib.contextmanager
    def little_memory(model, limit):
        sizes = []

        def allocate(_, args, inputs):
            sizes.append(len(inputs["input_ids"]))
            if sizes[-1] > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

        hook = model.register_forward_pre_hook(allocate, with_kwargs=True)
        yield sizes
        hook.remove()

    return little_memory


@pytest.fixture
def weights():
    """A copy of a model's weights that later changes cannot touch, for comparing."""
    return lambda model: {k: v.detach().clone().numpy() for k, v in model.state_dict().items()}


@pytest.fixture
def same_weights():
    def compare(one, two):
        return one.keys() == two.keys() and all(np.array_equal(one[k], two[k]) for k in one)

    return compare


@pytest.fixture
def checkpoint(tmp_path, tokenizer):
    """Save a model as a checkpoint folder below the test's own folder."""

    def save(model, name="model"):
        folder = tmp_path / name
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return save


class Commands:
    """Runs ``bedkd`` in processes of its own; see ``command_server.py``."""

    def __init__(self, server, preset, folder):
        self.server, self.preset, self.folder = server, preset, folder
        self.log = folder / "passes.log"

    def start(self, *words, hold=None, die=None, processes=1):
        """Start a command with ``--config quick`` as the preset; the first process's number."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        world = {"WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        request = {
            "words": [str(word) for word in words],
            "preset": repr(self.preset),
            "says": str(self.folder / "says"),
            "log": str(self.log),
            "hold": hold,
            "die": die,
            "processes": processes,
            "environment": {name: str(value) for name, value in world.items()},
        }
        print(json.dumps(request), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())[0]

    def send(self, process, number):
        """Send a signal to a process, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    def wait(self):
        """Exit statuses of the processes, minus the signal's number where one ended it."""
        return json.loads(self.server.stdout.readline())

    def run(self, *words, **options):
        self.start(*words, **options)
        return self.wait()

    def said(self, stream="err", rank=0):
        return (self.folder / f"says.{rank}.{stream}").read_text()


@pytest.fixture(scope="session")
def command_server():
    script = Path(__file__).with_name("command_server.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"}
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as server:
        yield server
        server.stdin.close()


@pytest.fixture
def commands(command_server, acting_preset, tmp_path):
    """Runs ``bedkd`` in processes of its own, in sizes for the toy data."""
    folder = tmp_path / "commands"
    folder.mkdir()
    return Commands(command_server, acting_preset, folder)


@pytest.fixture
def files(task, tmp_path):
    """The toy task as files: what a user would have."""
    folder = tmp_path / "files"
    task.write(folder)
    return folder
