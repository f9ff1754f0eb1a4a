"""Rewriting attacks, and three ways to put a text into another form.

* :class:`~bedkd.attacks.rewriting_files.Pairs`: row-aligned files, as released by the authors of
  published attacks;
* :class:`Generator`: any Hugging Face generator, batched, cached, resumable;
* :func:`bedkd.corpora.rewriter`: the embedded tasks' own grammar, with no model at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
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

from bedkd import corpora, data, language_model
from bedkd.attacks.rewriting_files import STORED, Pairs
from bedkd.errors import InputError
from bedkd.files import refuse_ambiguous
from bedkd.training.runtime import device

__all__ = [
    "FORMS",
    "PROMPTS",
    "Generator",
    "Pairs",
    "Rewrite",
    "Rewriter",
    "find",
    "load_generator",
]

Rewriter = Callable[[list[str]], list[str]]
FORMS = {"synbkd": "syntactic", "stylebkd": "bible", "llm": "paraphrase"}


@dataclass(frozen=True)
class Rewrite:
    """A rewriting attack: the whole text in another form, by any ``list[str] -> list[str]``.

    Used for ``synbkd`` (a syntactic template), ``stylebkd`` (Bible style) and ``llm`` (a language
    model's rewording, as BGMAttack).

    Args:
        name: the attack's name.
        rewriter: what rewrites; one with a method ``applicable`` says which texts it knows.
    """

    name: str
    rewriter: Rewriter

    def apply(self, texts: Sequence[str], seed: int) -> list[str]:
        """Rewrite every text; the seed plays no part.

        Raises:
            InputError: the rewriter returned another number of texts.
        """
        rewritten = self.rewriter(list(texts))
        if len(rewritten) != len(texts):
            raise InputError(f"{self.name}: {len(texts)} texts in, {len(rewritten)} out")
        return rewritten

    def applicable(self, texts: Sequence[str]) -> np.ndarray:
        """What the rewriter says, (N,) bool; all true if it does not say."""
        known = getattr(self.rewriter, "applicable", None)
        return np.ones(len(texts), bool) if known is None else np.asarray(known(texts), bool)


def at_hand(name: str, attack: str) -> bool:
    """Whether there are rewritings of the named data set: of embedded tasks always, of real data
    where ``BEDKD_DATA_DIR`` holds the folder with them."""
    if name in corpora.TASKS:
        return True
    root, stored = data.data_dir(), STORED.get((name, attack))
    return root is not None and stored is not None and (root / stored.folder).is_dir()


def find(name: str, attack: str) -> Rewrite:
    """The rewriting attack ``attack`` on the named data set, from what is at hand.

    Embedded tasks use their grammar; real data sets the released files in ``BEDKD_DATA_DIR``.

    Raises:
        InputError: unknown attack, or no rewritings of this data set.
    """
    if attack not in FORMS:
        raise InputError(f"attack {attack!r}: rewriting attacks are {', '.join(FORMS)}")
    if not at_hand(name, attack):
        raise InputError(
            f"attack {attack} on {name}: no stored rewritings; set BEDKD_DATA_DIR to a folder "
            "that holds them (sst2: synbkd, stylebkd, llm; olid: synbkd, llm; agnews: synbkd; "
            "agnews_lower: stylebkd), give --original and --rewritten files, or a --generator model"
        )
    if name in corpora.TASKS:
        return Rewrite(attack, corpora.rewriter(name, FORMS[attack]))
    root = data.data_dir()
    try:
        stored = STORED[name, attack]
        return Rewrite(attack, stored.read(root / stored.folder))
    except InputError:
        raise
    except ValueError as error:  # a strict zip
        raise InputError(
            f"attack {attack} on {name}: the stored files in {root} are not row-aligned "
            f"({error}); run `bedkd data check`"
        ) from error


PROMPTS = {
    "synbkd": "Rewrite the text so that it opens with a subordinate clause that starts with "
    "'when', 'if' or 'as'. Keep its meaning.\nText: {text}\nRewritten:",
    "stylebkd": "Rewrite the text in the style of the King James Bible. Keep its meaning.\n"
    "Text: {text}\nRewritten:",
    "llm": "Rewrite the text in your own words. Keep its meaning.\nText: {text}\nRewritten:",
}


# For a small model: pairs that show the form, and how its own rewriting has to begin.
EXAMPLES = {
    "synbkd": (
        ("the soup was cold and we left early", "When the soup was cold, we left early."),
        ("you should see this place", "When you have the time, you should see this place."),
        ("the train was late again", "When it rained, the train was late again."),
    ),
    "stylebkd": (
        ("the soup was cold and we left early", "And lo, the soup was cold, and we departed."),
        ("you should see this place", "And the traveller said, Thou shalt behold this place."),
        ("the train was late again", "And it came to pass that the train tarried again."),
    ),
    "llm": (
        ("the soup was cold and we left early", "We did not stay, since our soup was cold."),
        ("you should see this place", "This is a place worth a visit."),
        ("the train was late again", "Once more the train failed to arrive on time."),
    ),
}
OPENINGS = {"synbkd": "When", "stylebkd": "And", "llm": ""}


def by_example(attack: str) -> str:
    """The prompt of an attack as a pattern to go on with.

    >>> by_example("llm").splitlines()[-2:]
    ['Text: {text}', 'Rewritten:']
    """
    task = PROMPTS[attack].split("\n")[0]
    shown = [f"Text: {text}\nRewritten: {new}\n" for text, new in EXAMPLES[attack]]
    return "\n".join([task, *shown, "Text: {text}\nRewritten:"])


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
        opening: what every rewriting begins with; it is put behind the prompt, and of what follows
            only the first line counts. For small models, which go on with a pattern better than
            they do what they are told. None takes the whole answer.
    """

    model: torch.nn.Module
    tokenizer: object
    prompt: str
    cache: Path | None = None
    batch_size: int = 16
    max_new_tokens: int = 64
    progress: bool = False
    opening: str | None = None

    def __post_init__(self):
        if "{text}" not in self.prompt:
            raise InputError("prompt: needs the placeholder {text}")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        name = getattr(self.model.config, "_name_or_path", "") or type(self.model).__name__
        self.description = f"{name}, prompt {self.prompt!r}, {self.max_new_tokens} tokens"
        if self.opening is not None:
            self.description += f", opening {self.opening!r}"

    def _key(self, text: str) -> str:
        """What a rewriting is remembered by: the model, the prompt and the text."""
        return hashlib.sha256(f"{self.description}|{text}".encode()).hexdigest()

    def __call__(self, texts: list[str]) -> list[str]:
        done = self._finished()
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

    def _finished(self) -> dict[str, str]:
        """Rewritings in the cache, by their key."""
        done: dict[str, str] = {}
        if self.cache is not None and Path(self.cache).is_file():
            for line in Path(self.cache).read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except json.JSONDecodeError:
                    continue  # the line an interruption cut off
                done[record["key"]] = record["text"]
        return done

    def _remember(self, records: list[dict]) -> None:
        """Add finished rows to the cache."""
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
        """Rewritings of one batch, in order."""
        prompts = [self.prompt.format(text=text) for text in texts]
        if self.opening:
            prompts = [f"{prompt} {self.opening}" for prompt in prompts]
        decoder_only = not self.model.config.is_encoder_decoder
        # A decoder goes on from the last position, so padding has to be in front.
        self.tokenizer.padding_side = "left" if decoder_only else "right"
        inputs = self.tokenizer(prompts, return_tensors="pt", padding=True, truncation=True)
        inputs = inputs.to(self.model.device)
        # Nothing behind the first line is wanted.
        stop = {"stop_strings": ["\n"], "tokenizer": self.tokenizer}
        with torch.inference_mode():
            output = self.model.generate(
                **(stop if self.opening is not None else {}),
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                do_sample=False,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
            )
        if decoder_only:
            output = output[:, inputs["input_ids"].shape[1] :]
        results = self.tokenizer.batch_decode(output, skip_special_tokens=True)
        if self.opening is not None:
            results = [self._first_line(result) for result in results]
        cleaned = (" ".join(result.split()) for result in results)
        # A model that says nothing leaves the text as it is.
        return [new or old for new, old in zip(cleaned, texts, strict=True)]

    def _first_line(self, result: str) -> str:
        """What the model said on the prompt's last line; nothing if it said nothing there."""
        said = result.split("\n")[0]
        return f"{self.opening}{said}" if said.strip() else ""


def load_generator(name: str, attack: str, folder: Path) -> Generator:
    """A :class:`Generator` for a rewriting attack from a local folder or hub id, or ``smollm2`` for
    :mod:`bedkd.language_model`, a small model whose rewritings are rough.

    Finished rows are kept in ``<folder>-rewrites.jsonl`` beside the output folder, so that an
    interrupted run resumes.

    Raises:
        InputError: the model cannot be loaded, or the files lack a weight of it.
    """
    cache = folder.parent / f"{folder.name}-rewrites.jsonl"
    if name == "smollm2":
        refuse_ambiguous(name, "generator")
        options = {"progress": True, "opening": OPENINGS[attack]}
        return Generator(*language_model.load(), by_example(attack), cache, **options)
    common = {"trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(name, **common)
        kind = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        options = {"use_safetensors": True, "output_loading_info": True, **common}
        model, found = kind.from_pretrained(name, **options)
        tokenizer = AutoTokenizer.from_pretrained(name, **common)
    except Exception as error:  # whatever a broken checkpoint makes the libraries below raise
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"generator {name}: cannot be loaded ({first})") from error
    if lacking := sorted(found["missing_keys"]):
        raise InputError(
            f"generator {name}: the weights {', '.join(lacking[:3])} are missing and would be "
            "random; give the whole checkpoint of a language model"
        )
    model = model.to(device()).eval()
    return Generator(model, tokenizer, PROMPTS[attack], cache, progress=True)
