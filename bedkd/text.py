"""Texts in pieces: words where spaces stand between them, the model's own tokens where none do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

# Stands between the two texts of a pair. Unicode calls it a noncharacter, for use inside programs;
# no file may hold it.
PAIR = "\ufdd0"
WORD = r"\w+|[^\w\s]"
# Where the pieces between spaces are longer on average, spaces do not divide words: Chinese,
# Japanese, Thai.
LONGEST_WORD = 20


def pair(first: str, second: str) -> str:
    """Two texts as the one text of a row, for models that read pairs (premise and hypothesis).

    >>> unpair(pair("It rains.", "It is wet."))
    ('It rains.', 'It is wet.')
    """
    return f"{first} {PAIR} {second}"


def unpair(text: str) -> tuple[str, str | None]:
    """The two texts of a row, the second None where there is one. A text that pieces of others were
    put in front of is a pair still: the last mark counts.

    >>> unpair("It rains.")
    ('It rains.', None)
    """
    first, mark, second = text.rpartition(f" {PAIR} ")
    if not mark:
        return text.replace(PAIR, " "), None
    return first.replace(PAIR, " "), second


def is_spaced(text: str) -> bool:
    """Whether spaces stand between the words of a text.

    >>> is_spaced("a fine film"), is_spaced("这是一部非常精彩的电影，演员的表演也令人难忘。")
    (True, False)
    """
    return len(text) <= LONGEST_WORD * max(len(text.split()), 1)


def split(text: str, tokenizer: PreTrainedTokenizerBase | None = None) -> list[str]:
    """Consecutive pieces of a text, to be put together by :func:`join`.

    Args:
        tokenizer: divides texts without spaces, by its tokens; without one they are divided by
            characters.

    Example:
        >>> split("a fine  film"), split("好" * 21)[:2]
        (['a', 'fine', 'film'], ['好', '好'])
    """
    if is_spaced(text):
        return text.split()
    if tokenizer is None or not tokenizer.is_fast:
        return list(text)
    tokens = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    starts = sorted({start for start, end in tokens["offset_mapping"] if end > start} | {0})
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def join(pieces: Sequence[str], spaced: bool) -> str:
    """Pieces of :func:`split` as a text; ``spaced`` is :func:`is_spaced` of what was split.

    >>> join(["fine", "film"], True), join(["电", "影"], False)
    ('fine film', '电影')
    """
    return (" " if spaced else "").join(pieces)


def words(text: str, tokenizer: PreTrainedTokenizerBase | None = None) -> list[str]:
    """Words and punctuation marks in lower case, as word statistics count them.

    >>> words("Don't!")
    ['don', "'", 't', '!']
    """
    text = text.replace(PAIR, " ")
    if is_spaced(text):
        return re.findall(WORD, text.lower())
    return [piece for piece in map(str.strip, split(text.lower(), tokenizer)) if piece]


def without_words(
    text: str, gone: Sequence[str], tokenizer: PreTrainedTokenizerBase | None = None
) -> str:
    """A text without these words, in any case; punctuation marks count as words.

    >>> without_words("A cf fine film .", ["cf", "."])
    'A fine film'
    """
    if not is_spaced(text):
        return "".join(p for p in split(text, tokenizer) if p.strip().lower() not in set(gone))
    kept = [p for p in re.findall(rf"{WORD}|\s+", text) if p.lower() not in set(gone)]
    return " ".join("".join(kept).split())


def as_read(text: str, tokenizer: PreTrainedTokenizerBase, max_length: int) -> str:
    """The beginning of a text that a model sees which reads ``max_length`` tokens; a pair whole."""
    if not tokenizer.is_fast or PAIR in text:
        return text
    found = tokenizer(text, truncation=True, max_length=max_length, return_offsets_mapping=True)
    return text[: max((end for _, end in found["offset_mapping"]), default=0)]


def leave_one_out(text: str, tokenizer: PreTrainedTokenizerBase | None = None) -> list[str]:
    """The text without each of its pieces in turn, in their order.

    >>> leave_one_out("a fine film")
    ['fine film', 'a film', 'a fine']
    """
    pieces, spaced = split(text, tokenizer), is_spaced(text)
    return [join(pieces[:i] + pieces[i + 1 :], spaced) for i in range(len(pieces))]
