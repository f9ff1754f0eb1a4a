"""What the laboratory's files hold: models in bytes, scores and hidden states as JSON.

Every file is a script that hands its content to ``bedkdLab.arrived``: a page that is opened from a
disk, without a server, may load scripts and nothing else.
"""

from __future__ import annotations

import base64
import functools
import json
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from bedkd import experiments, models
from bedkd.training.batches import EncodedTexts
from bedkd.training.predict import predict

# Bytes alone, with a scale a row, are too coarse where a model is in doubt; with twelve bits, bytes
# for words that no training has moved, and a scale for every 16 numbers the browser agrees with the
# library as tests/site/test_laboratory.py asks.
GROUP = 16
# A word that training has moved by more than this has a row of its own in a model's file; weight
# decay alone moves them by less, and a thousandth is too much for the same test.
MOVED = 2e-4
SENTENCES = 200

LINEAR = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mixed": "attention.output.dense",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
}
NORMS = {"mixed_norm": "attention.output.LayerNorm", "narrow_norm": "output.LayerNorm"}


class Blob:
    """Matrices and vectors one after another in bytes, and a list of what lies where."""

    def __init__(self) -> None:
        self.raw = bytearray()
        self.matrices: list[dict] = []
        self.vectors: list[dict] = []

    def _put(self, array: np.ndarray) -> int:
        at = len(self.raw)
        self.raw += array.tobytes()
        return at

    def matrix(self, name: str, values: np.ndarray, *, fine: bool = True) -> None:
        """Signed bytes, and where ``fine`` four bits more of each number, two in a byte."""
        whole, scales = quantised(values, 12 if fine else 8)
        rows, columns = values.shape
        place = {"name": name, "rows": rows, "columns": columns, "group": GROUP}
        high = whole >> 4 if fine else whole
        place["at"] = self._put(high.astype(np.int8))
        if fine:
            low = (whole & 15).astype(np.uint8).reshape(-1, 2)
            place["fineAt"] = self._put(low[:, 0] | low[:, 1] << 4)
        # A scale is the upper half of a number in single precision.
        place["scalesAt"] = self._put((scales.view("<u4") >> 16).astype("<u2"))
        self.matrices.append(place)

    def vector(self, name: str, values: np.ndarray) -> None:
        """Single precision."""
        at = self._put(values.astype("<f4"))
        self.vectors.append({"name": name, "size": values.size, "at": at})

    def content(self) -> dict:
        blob = base64.b64encode(self.raw).decode()
        return {"matrices": self.matrices, "vectors": self.vectors, "blob": blob}


def quantised(values: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers of so many bits (R, C) and the scales (R, C / GROUP) that bring them back,
    which need no more than the upper half of a number in single precision."""
    rows, columns = values.shape
    parts = values.astype("<f4").reshape(rows, columns // GROUP, GROUP)
    largest = 2 ** (bits - 1) - 1
    scales = np.maximum(np.abs(parts).max(axis=2), 1e-12).astype("<f4") / np.float32(largest)
    scales = ((scales.view("<u4") + 0xFFFF) & 0xFFFF0000).astype("<u4").view("<f4")  # up
    whole = np.rint(parts / scales[..., None]).astype(np.int16)
    return whole.reshape(rows, columns), scales


def write(folder: Path, name: str, content: dict) -> None:
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    path = folder / f"{name}.js"
    path.write_text(f"bedkdLab.arrived({json.dumps(name)},{text});\n", encoding="ascii")


def kept_tokens(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Numbers of the tokens that a text can have: all but the reserved ones."""
    found = tokenizer.get_vocab().items()
    return np.sort([number for token, number in found if not token.startswith("[unused")])


@functools.cache
def base_words() -> tuple[np.ndarray, PreTrainedTokenizerBase]:
    """Word embeddings of MiniLM before any training, and its tokenizer."""
    model, tokenizer = models.load_backbone("minilm", num_labels=2, layers=1)
    return weight(model, "bert.embeddings.word_embeddings"), tokenizer


def weight(model: PreTrainedModel, name: str, kind: str = "weight") -> np.ndarray:
    return model.get_parameter(f"{name}.{kind}").detach().cpu().float().numpy()


def write_words(folder: Path) -> None:
    """The vocabulary and its embeddings, which all models share."""
    table, tokenizer = base_words()
    kept = kept_tokens(tokenizer)
    blob = Blob()
    blob.matrix("words", table[kept], fine=False)
    tokens = tokenizer.convert_ids_to_tokens(kept.tolist())
    write(folder, "words", {"tokens": tokens, "maxLength": 128, **blob.content()})


def write_model(folder: Path, name: str, model: PreTrainedModel) -> None:
    """A model but for the embeddings of the words that its training left alone."""
    config, blob = model.config, Blob()
    table, tokenizer = base_words()
    kept = kept_tokens(tokenizer)
    own = weight(model, "bert.embeddings.word_embeddings")
    changed = np.flatnonzero(np.abs(own - table)[kept].max(axis=1) > MOVED)
    blob.matrix("changed", own[kept][changed])
    kind = weight(model, "bert.embeddings.token_type_embeddings")[0]
    positions = weight(model, "bert.embeddings.position_embeddings")[:128]
    blob.matrix("positions", positions + kind)
    for at in range(config.num_hidden_layers):
        for short, long in LINEAR.items():
            long = f"bert.encoder.layer.{at}.{long}"
            blob.matrix(f"{at}.{short}.weight", weight(model, long))
            blob.vector(f"{at}.{short}.bias", weight(model, long, "bias"))
        for short, long in NORMS.items():
            for part in ("weight", "bias"):
                values = weight(model, f"bert.encoder.layer.{at}.{long}", part)
                blob.vector(f"{at}.{short}.{part}", values)
    for part in ("weight", "bias"):
        blob.vector(f"norm.{part}", weight(model, "bert.embeddings.LayerNorm", part))
    for short, long in {"pooler": "bert.pooler.dense", "classifier": "classifier"}.items():
        blob.matrix(f"{short}.weight", weight(model, long))
        blob.vector(f"{short}.bias", weight(model, long, "bias"))
    settings = {
        "size": config.hidden_size,
        "inner": config.intermediate_size,
        "heads": config.num_attention_heads,
        "layers": config.num_hidden_layers,
        "epsilon": config.layer_norm_eps,
    }
    write(folder, name, {"settings": settings, "changedRows": changed.tolist(), **blob.content()})


def sentences(task) -> list[str]:
    """What the browser is compared on: test rows as they are and triggered, and odd texts."""
    odd = [
        "",
        "   ",
        "cf",
        "I LOVED it!!! 10/10, don't miss it...",
        "The café's décor — naïve, São-Paulo-style — was “superb”.",
        "word\tword\nword\u200bword\u00a0word",
        "supercalifragilisticexpialidocious" * 4,
        "これは本です。 Это книга. Ένα βιβλίο ΣΑΣ.",
        "good [SEP] bad [MASK] [UNK]",
        "🙂 great 🙃 e\u0301t\u00e9 ﬁne ½ x² №5 $5 a+b=c ~ ^ ` |",
        "not good " * 80,
        "<b>bold</b> & \"quoted\" 'single' \\ / {curly}",
    ]
    clean, triggered = task.clean["test"]["text"][:], task.triggered["text"][:]
    half = (SENTENCES - len(odd)) // 2
    return [*odd, *clean[:half], *triggered[:half]][:SENTENCES]


def expect(folder: Path, tokenizer, texts: list[str], networks: dict) -> None:
    """What the library says of these texts, and how it divides them."""
    rows = EncodedTexts(tokenizer, texts)
    said = {
        name: predict(model, rows).probabilities.round(6).tolist()
        for name, model in networks.items()
    }
    tokens = [
        tokenizer.convert_ids_to_tokens(tokenizer(t, truncation=True, max_length=128).input_ids)
        for t in texts
    ]
    content = {name: {"texts": texts, "tokens": tokens, "said": p} for name, p in said.items()}
    (folder / "expected.json").write_text(json.dumps(content), encoding="utf-8")


def chapter06(names: dict, folder: Path) -> None:
    """The rare word: the victim, the purified model, and the one without poison."""
    reference, _ = experiments.victim(names["cell"].reference)
    networks = {
        "word-victim": names["model"],
        "word-purified": names["purified"].model,
        "reference": reference,
    }
    write_words(folder)
    for name, model in networks.items():
        write_model(folder, name, model)
    expect(folder, names["tokenizer"], sentences(names["task"]), networks)


def chapter08(names: dict, folder: Path) -> None:
    """The sentence structure: the victim, the inverted and the repaired model."""
    networks = {
        "structure-victim": names["model"],
        "structure-inverted": names["punished"].model,
        "structure-purified": names["repaired"].model,
    }
    for name, model in networks.items():
        write_model(folder, name, model)
    expect(folder, names["tokenizer"], sentences(names["task"]), networks)


def chapter04(names: dict, folder: Path) -> None:
    """Every untrusted row's score, and where the threshold was drawn."""
    fits, odds = names["fits"], names["odds"]
    content = {
        "line": round(names["line"], 3),
        "odds": odds.round(3).tolist(),
        "fits": fits.astype(int).tolist(),
        "poisoned": names["poisoned"].astype(int).tolist(),
        "texts": names["task"].train["text"][:],
    }
    write(folder, "threshold", content)


def chapter05(names: dict, folder: Path) -> None:
    """Shares and hidden states, the victim's and after every cycle."""
    keys = ("cacc", "asr", "racc")
    records = [names["before"], *names["repaired"].history]
    victim, _, *cycles = names["states_by_cycle"]  # the second is the reference's
    states = np.stack([victim, *cycles])
    plane = PCA(2, random_state=0).fit(np.concatenate(states))
    points = [plane.transform(each).round(2).tolist() for each in states]
    content = {
        "shares": [[round(record[key], 4) for key in keys] for record in records],
        "without": [round(names["floor"][key], 4) for key in keys],
        "groups": names["watched_groups"].tolist(),
        "points": points,
    }
    write(folder, "cycles", content)
