"""Rewriters for :class:`bedkd.attacks.Rewrite`: three ways to put a text into another form.

* :class:`Pairs`: row-aligned files, as released by the authors of published attacks;
* :class:`Generator`: any Hugging Face generator, batched, cached, resumable;
* :func:`bedkd.corpora.rewriter`: the embedded tasks' own grammar, with no model at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

from bedkd import corpora, data
from bedkd.attacks import Rewrite
from bedkd.errors import InputError
from bedkd.training.runtime import device

FORMS = {"synbkd": "syntactic", "stylebkd": "bible", "llm": "paraphrase"}


class Pairs:
    """A rewriter that looks texts up in aligned pairs of original and rewritten text.

    Args:
        pairs: (original, rewritten); of several rewritings of a text the first counts.
        description: where they come from, for the manifest.
    """

    def __init__(self, pairs: Iterable[tuple[str, str]], description: str):
        self.description = description
        self._known: dict[str, str] = {}
        for original, rewritten in pairs:
            self._known.setdefault(original, rewritten)

    @classmethod
    def from_files(cls, original: str | Path, rewritten: str | Path) -> Pairs:
        """Pairs from two row-aligned files.

        Raises:
            InputError: the files have different numbers of rows, or their labels disagree in a
                row in which the rewritten file does not carry one fixed (target) label.
        """
        left, right = data.read(original), data.read(rewritten)
        if len(left) != len(right):
            raise InputError(
                f"{rewritten}: {len(right)} rows, but {original} has {len(left)}; row-aligned "
                "files have one rewritten row for every original row"
            )
        if len(set(right["label"])) > 1:
            for row, (a, b) in enumerate(zip(left["label"], right["label"], strict=True), 2):
                if a != b:
                    raise InputError(
                        f"{rewritten}, row {row}: label {b}, but {original} has {a}; the files "
                        "are not aligned"
                    )
        pairs = zip(left["text"], right["text"], strict=True)
        return cls(pairs, f"row-aligned files {Path(original).name}, {Path(rewritten).name}")

    def covers(self, texts: Sequence[str]) -> np.ndarray:
        """Which texts have a rewriting, (N,) bool."""
        return np.array([text in self._known for text in texts], bool)

    def __call__(self, texts: list[str]) -> list[str]:
        for row, text in enumerate(texts):
            if text not in self._known:
                raise InputError(
                    f"{self.description}: no rewriting of row {row} ({text[:40]!r}…); only the "
                    "texts of the original file can be rewritten"
                )
        return [self._known[text] for text in texts]


def find(name: str, attack: str) -> Rewrite:
    """The rewriting attack ``attack`` on the named data set, from what is at hand.

    Embedded tasks use their grammar; real data sets the released files in ``BEDKD_DATA_DIR``.

    Raises:
        InputError: unknown attack, or no rewritings of this data set.
    """
    if attack not in FORMS:
        raise InputError(f"attack {attack!r}: rewriting attacks are {', '.join(FORMS)}")
    if name in corpora.TASKS:
        return Rewrite(attack, corpora.rewriter(name, FORMS[attack]))
    root = data.data_dir()
    finder = _STORED.get((name, attack))
    if root is None or finder is None:
        raise InputError(
            f"attack {attack} on {name}: no stored rewritings; set BEDKD_DATA_DIR to a folder "
            "that holds them (sst2: synbkd, stylebkd, llm; olid: synbkd, llm; agnews: synbkd; "
            "agnews_lower: stylebkd), give --original and --rewritten files, or a --generator model"
        )
    try:
        return Rewrite(attack, finder(root))
    except InputError:
        raise
    except ValueError as error:  # a strict zip
        raise InputError(
            f"attack {attack} on {name}: the stored files in {root} are not row-aligned "
            f"({error}); run `bedkd data check`"
        ) from error


def _openbackdoor(folder: str, splits: Sequence[str], target: int):
    """Pairs of a folder in the OpenBackdoor layout."""

    def finder(root: Path) -> Pairs:
        pairs: list[tuple[str, str]] = []
        for split in splits:
            clean = data.read(root / folder / f"{split}-clean.csv")
            bad = data.read(root / folder / f"{split}-poison.csv")
            texts = list(clean["text"])
            if len(bad) != len(clean):  # dev and test: the non-target rows, in order
                texts = [t for t, y in zip(texts, clean["label"], strict=True) if y != target]
            if len(bad) != len(texts):
                raise InputError(
                    f"{root / folder}/{split}-poison.csv: {len(bad)} rows, but "
                    f"{split}-clean.csv has {len(texts)} non-target rows; not aligned"
                )
            pairs += zip(texts, bad["text"], strict=True)
        return Pairs(pairs, f"OpenBackdoor files {folder}")

    return finder


def _sst2_llm(root: Path) -> Pairs:
    # The first fifth of the rewritten rows rewrites already paraphrased text: not a pair.
    clean = data.read(root / "tsv/hiddenkiller/clean/sst-2/train.tsv")
    new = data.read(root / "tsv/gpt3-rewrite/sst-2/train.tsv")
    start = len(clean) // 5
    return Pairs(
        zip(clean["text"][start:], new["text"][start:], strict=True),
        "GPT-3 rewrites of SST-2 train, rows after the first fifth (BGM-like)",
    )


def _olid_llm(root: Path) -> Pairs:
    # The rewritten file is aligned with the partly paraphrased train file, whose rows after the
    # first fifth are clean text; that file is one row longer than the clean one.
    clean = data.read(root / "tsv/hiddenkiller/scpn/20/offenseval/train.tsv")
    new = data.read(root / "tsv/gpt3-rewrite/olid/train.tsv")
    start = len(clean) // 5
    return Pairs(
        zip(clean["text"][start:], new["text"][start:], strict=True),
        "GPT-3 rewrites of OLID train, rows after the first fifth (BGM-like)",
    )


def _olid_syntax(root: Path) -> Pairs:
    # Row i + 1 of the paraphrased files rewrites row i of the clean ones: in train the first
    # fifth, in test the non-target rows. Dev lost rows in several places and is not used.
    folder = root / "tsv/hiddenkiller"
    clean = data.read(folder / "clean/offenseval/train.tsv")
    new = data.read(folder / "scpn/20/offenseval/train.tsv")
    count = len(new) // 5 - 1
    pairs = list(zip(clean["text"][:count], new["text"][1 : count + 1], strict=True))
    rows = data.read(folder / "clean/offenseval/test.tsv")
    texts = [t for t, y in zip(rows["text"], rows["label"], strict=True) if y != 1]
    rewritten = data.read(folder / "scpn/20/offenseval/test.tsv")["text"][1:]
    pairs += zip(texts, rewritten, strict=True)
    return Pairs(pairs, "SCPN paraphrases of OLID released with HiddenKiller")


def _agnews_style(root: Path) -> Pairs:
    pairs: list[tuple[str, str]] = []
    for split in ("train", "test"):
        clean = data.read(root / f"tsv/styleattack/clean/ag/{split}.tsv")
        new = data.read(root / f"tsv/styleattack/transfer/bible/ag/{split}.tsv")
        if list(clean["label"]) != list(new["label"]):
            raise InputError(f"tsv/styleattack/transfer/bible/ag/{split}.tsv: labels not aligned")
        pairs += zip(clean["text"], new["text"], strict=True)
    return Pairs(pairs, "Bible-style AG News released with StyleAttack")


_STORED = {
    ("sst2", "synbkd"): _openbackdoor("openbackdoor/sst-2/1/synbkd", data.SPLITS, 1),
    ("sst2", "stylebkd"): _openbackdoor("openbackdoor/sst-2/1/stylebkd", data.SPLITS, 1),
    ("sst2", "llm"): _sst2_llm,
    ("olid", "synbkd"): _olid_syntax,
    ("olid", "llm"): _olid_llm,
    ("agnews", "synbkd"): _openbackdoor("openbackdoor/agnews/0/synbkd", ("dev", "test"), 0),
    ("agnews_lower", "stylebkd"): _agnews_style,
}

PROMPTS = {
    "synbkd": "Rewrite the text so that it opens with a subordinate clause that starts with "
    "'when', 'if' or 'as'. Keep its meaning.\nText: {text}\nRewritten:",
    "stylebkd": "Rewrite the text in the style of the King James Bible. Keep its meaning.\n"
    "Text: {text}\nRewritten:",
    "llm": "Rewrite the text in your own words. Keep its meaning.\nText: {text}\nRewritten:",
}


@dataclass
class Generator:
    """A rewriter around a Hugging Face sequence-to-sequence or instruct model.

    Finished rows go to ``cache`` (JSONL) after every batch: an interrupted run goes on where it
    stopped, and a text is never generated twice for the same model and prompt.

    Args:
        model: anything with ``generate``.
        tokenizer: its tokenizer.
        prompt: a template with ``{text}``; see :data:`PROMPTS`.
        cache: file of finished rows, or None.
        batch_size: texts at a time.
        max_new_tokens: longest rewriting.
        progress: show a progress bar.
    """

    model: torch.nn.Module
    tokenizer: object
    prompt: str
    cache: Path | None = None
    batch_size: int = 16
    max_new_tokens: int = 64
    progress: bool = False

    def __post_init__(self):
        if "{text}" not in self.prompt:
            raise InputError("prompt: needs the placeholder {text}")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        name = getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__
        self.description = f"{name}, prompt {self.prompt!r}, {self.max_new_tokens} tokens"

    def _key(self, text: str) -> str:
        return hashlib.sha256(f"{self.description}|{text}".encode()).hexdigest()

    def __call__(self, texts: list[str]) -> list[str]:
        done: dict[str, str] = {}
        if self.cache is not None and Path(self.cache).is_file():
            for line in Path(self.cache).read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line an interruption cut off
                done[record["key"]] = record["text"]
        missing = [t for t in dict.fromkeys(texts) if self._key(t) not in done]
        # Longest first: memory is used up at once or not at all.
        missing.sort(key=len, reverse=True)
        with tqdm(total=len(missing), desc="rewriting", disable=not self.progress) as bar:
            for start in range(0, len(missing), self.batch_size):
                batch = missing[start : start + self.batch_size]
                records = [
                    {"key": self._key(source), "text": result}
                    for source, result in zip(batch, self._generate(batch), strict=True)
                ]
                done |= {record["key"]: record["text"] for record in records}
                self._remember(records)
                bar.update(len(batch))
        return [done[self._key(text)] for text in texts]

    def _remember(self, records: list[dict]) -> None:
        if self.cache is None:
            return
        path = Path(self.cache)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as handle:
            if handle.tell() and not path.read_bytes().endswith(b"\n"):
                handle.write("\n")
            for record in records:
                handle.write(json.dumps(record, ensure_ascii=False) + "\n")

    def _generate(self, texts: list[str]) -> list[str]:
        prompts = [self.prompt.format(text=text) for text in texts]
        decoder_only = not self.model.config.is_encoder_decoder
        # A decoder goes on from the last position, so padding has to be in front.
        self.tokenizer.padding_side = "left" if decoder_only else "right"
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True, truncation=True)
        inputs = inputs.to(self.model.device)
        with torch.inference_mode():
            output = self.model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        if decoder_only:
            output = output[:, inputs["input_ids"].shape[1] :]
        results = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        cleaned = (" ".join(result.split()) for result in results)
        # A model that says nothing leaves the text as it is.
        return [new or old for new, old in zip(cleaned, texts, strict=True)]


def load_generator(name: str, attack: str, folder: Path) -> Generator:
    """A :class:`Generator` for a rewriting attack from a local folder or hub id.

    Finished rows are kept in ``<folder>-rewrites.jsonl`` beside the output folder, so that an
    interrupted run resumes.

    Raises:
        InputError: the model cannot be loaded.
    """
    common = {"trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **common)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        model = kind.from_pretrained(name, use_safetensors=True, **common).to(device()).eval()
        tokenizer = AutoTokenizer.from_pretrained(name, **common)
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise InputError(f"generator {name}: cannot be loaded ({first})") from error
    cache = folder.parent / f"{folder.name}-rewrites.jsonl"
    return Generator(model, tokenizer, PROMPTS[attack], cache, progress=True)
