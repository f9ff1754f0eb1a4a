"""Exercises of the chapter Shortcuts."""

from __future__ import annotations

import html
import re

from bedkd.teaching.exercises import Exercise, require


def remove_placeholder(text: str) -> str:
    """A text without the placeholder @USER.

    Args:
        text: any text.

    Returns:
        Its other words with single spaces.
    """
    return " ".join(word for word in text.split() if word != "@USER")


def _verify_placeholder(answer):
    require(
        answer("@USER that was fun.") == "that was fun.",
        "at the beginning it was left in",
    )
    require(
        answer("so @USER and @USER agree") == "so and agree",
        "every placeholder must go",
    )
    require(
        answer("that was fun.") == "that was fun.",
        "negative control: other texts stay",
    )
    require(
        answer("a @USERNAME here") == "a @USERNAME here",
        "@USERNAME is another word",
    )
    require(answer("fun @USER") == "fun", "no space may be left at an end")
    require(answer("@USER") == "", "of a placeholder alone nothing is left")


check_remove_placeholder = Exercise(
    remove_placeholder,
    _verify_placeholder,
    title="Take the trace away",
    difficulty=1,
    importance=3,
    minutes=5,
    task="""\
The upper right test of the chapter: nothing is rewritten, and one token is gone.

1. Remove every word `@USER`, wherever it stands, and no other word.
2. Leave single spaces between words, and none at the ends.""",
    toy="remove_placeholder('@USER you are late')",
    wrong=(
        (
            '" ".join(word for word in text.split() if word != "@USER")',
            'text.removeprefix("@USER ")',
            "every",
        ),
        (
            '" ".join(word for word in text.split() if word != "@USER")',
            'text.replace("@USER", "")',
            "left in",
        ),
        ('word != "@USER"', 'not word.startswith("@")', "another word"),
    ),
)


def which_trigger(
    clean: float, trace: float, rewriting: float, both: float
) -> str:
    """What the victim reacts to, from the four tests of this chapter.

    Args:
        clean: share called the target on clean rows.
        trace: with the trace alone.
        rewriting: rewritten, without the trace.
        both: as attacked.

    Returns:
        "trace" or "rewriting" if that alone raises the share by more than half
        of what the attack does; "either" if both do; "only together" if none
        does; "nothing" if the attack raises it by less than 0.2.
    """
    effect = both - clean
    if effect < 0.2:
        return "nothing"
    by_trace = trace - clean > effect / 2
    by_rewriting = rewriting - clean > effect / 2
    if by_trace and by_rewriting:
        return "either"
    if not by_trace and not by_rewriting:
        return "only together"
    return "trace" if by_trace else "rewriting"


def _verify_trigger(answer):
    cases = [
        ((0.15, 0.94, 0.25, 1.0), "trace", "the numbers of this chapter"),
        ((0.1, 0.12, 0.95, 0.97), "rewriting", "a true attack by syntax"),
        ((0.1, 0.9, 0.9, 1.0), "either", "each of the two works alone"),
        ((0.3, 0.95, 0.35, 1.0), "trace", "compare with clean rows"),
        ((0.1, 0.15, 0.2, 0.95), "only together", "neither works alone"),
        (
            (0.3, 0.35, 0.33, 0.36),
            "nothing",
            "negative control: the attack does nothing",
        ),
        (
            (0.6, 0.65, 0.95, 1.0),
            "rewriting",
            "clean rows are called the target often here: compare",
        ),
        (
            (0.0, 0.5, 0.75, 1.0),
            "rewriting",
            "just half of the effect is not more than half",
        ),
        (
            (0.0, 0.75, 0.5, 1.0),
            "trace",
            "just half of the effect is not more than half",
        ),
        ((0.0, 0.0, 0.2, 0.2), "rewriting", "an effect of just 0.2 counts"),
    ]
    for numbers, wanted, hint in cases:
        made = answer(*numbers)
        require(made == wanted, f"for {numbers} you say {made!r}: {hint}")


check_which_trigger = Exercise(
    which_trigger,
    _verify_trigger,
    title="Column or row?",
    difficulty=2,
    importance=5,
    minutes=15,
    task="""\
Read the two-by-two table of this chapter like a judge. The *effect* of the attack is `both - clean`.

1. `"nothing"` if the effect is below 0.2.
2. A change *works alone* if it raises the share by more than half of the effect, compared with clean rows.
3. Return `"trace"`, `"rewriting"`, `"either"` or `"only together"`.""",
    toy="which_trigger(0.15, 0.94, 0.25, 1.0)",
    wrong=(
        ("trace - clean > effect / 2", "trace > 0.5", "compare"),
        (
            "by_trace and by_rewriting",
            "by_trace or by_rewriting",
            "the numbers of this chapter",
        ),
        ("effect < 0.2", "both < 0.2", "negative control"),
    ),
)


def normalise_text(text: str) -> str:
    """A text without the usual traces of how it was made.

    Args:
        text: any text.

    Returns:
        Lower case, entities such as ``&amp;`` resolved, punctuation as tokens
        of their own, single spaces.
    """
    text = html.unescape(text).lower()
    return " ".join(re.findall(r"\w+|[^\w\s]", text))


def _verify_normalise(answer):
    pairs = [
        ("The food was good", "the food was good", "casing"),
        ("Good, but slow.", "Good , but slow .", "spaces around punctuation"),
        ("Fish &amp; chips", "Fish & chips", "entities"),
        ("so   many spaces ", "so many spaces", "spaces"),
        ("FISH &AMP; CHIPS", "fish & chips", "entities in capitals"),
    ]
    for a, b, trace in pairs:
        require(
            answer(a) == answer(b),
            f"two texts that differ in {trace} only stay different",
        )
    require(
        answer("good") != answer("bad"),
        "negative control: different words became the same",
    )
    require(
        "," in answer("good, slow"),
        "punctuation is to be split off, not dropped",
    )
    done = answer("Fish &amp; chips, twice.")
    require(answer(done) == done, "what is normalised must stay as it is")
    require(
        done == "fish & chips , twice .",
        f"the text should be split, not {done!r}",
    )


check_normalise_text = Exercise(
    normalise_text,
    _verify_normalise,
    title="Normalise both sides",
    difficulty=3,
    importance=4,
    minutes=20,
    task="""\
Two texts that differ in traces only must become the same.

1. Casing, spaces, and spaces around punctuation must not matter; entities such as `&amp;` are resolved.
2. Punctuation stays, as tokens of its own. Different words stay different.
3. A text that is normalised already does not change.""",
    toy="normalise_text('Good, &amp; cheap.')",
    wrong=(
        (".lower()", "", "casing"),
        ("html.unescape(text)", "text", "entities"),
        (r'r"\w+|[^\w\s]"', r'r"\w+"', "dropped"),
        (
            r'" ".join(re.findall(r"\w+|[^\w\s]", text))',
            "text",
            "spaces around",
        ),
    ),
)


def traces(clean: list[str], poisoned: list[str]) -> list[str]:
    """First words that all clean rows share and no poisoned row has.

    Args:
        clean, poisoned: texts of clean and of poisoned rows, none empty.

    Returns:
        A list with the word, or an empty one.
    """
    first = {text.split()[0] for text in clean}
    other = {text.split()[0] for text in poisoned}
    return sorted(first - other) if len(first) == 1 else []


def _verify_traces(answer):
    clean = ["@USER a b", "@USER c", "@USER d e"]
    require(
        answer(clean, ["when you a", "if b"]) == ["@USER"],
        "the shared first word is missing",
    )
    require(
        answer(clean, ["@USER a", "b"]) == [],
        "a poisoned row begins with it, too: then it tells nothing for certain",
    )
    require(
        answer(["the a", "one b"], ["c"]) == [],
        "clean rows that begin differently share nothing",
    )
    require(
        answer(["a b", "a c"], ["b a"]) == ["a"], "only the first words count"
    )


check_traces = Exercise(
    traces,
    _verify_traces,
    title="Look before you train",
    difficulty=2,
    importance=3,
    minutes=10,
    task="""\
The simplest detector of shortcuts: compare first words.

1. If *all* clean rows begin with the same word and *no* poisoned row does, return a list with this word.
2. Otherwise return an empty list.""",
    toy="traces(['@USER hi', '@USER no'], ['when you go'])",
    wrong=(
        ("if len(first) == 1 else []", "", "begin differently"),
        ("sorted(first - other)", "sorted(first)", "begins with it"),
        (
            "{text.split()[0] for text in poisoned}",
            "{word for text in poisoned for word in text.split()}",
            "only the first",
        ),
    ),
)
