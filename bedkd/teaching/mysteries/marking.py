"""Marks of an answer: what is right and what is missing, without saying what would be right."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel

from bedkd import attacks, data
from bedkd.errors import InputError
from bedkd.evaluation import evaluate
from bedkd.metrics import Share
from bedkd.teaching.mysteries import sealing

VERDICTS = ("honest", "backdoored", "inverted")
PARTS = ("verdict", "target", "trigger", "repair")
FULL = len(PARTS)
FORMS = ("syntax", "style")  # triggers that are no word


@dataclass(frozen=True)
class Marks:
    """Marks of one answer.

    Attributes:
        right: whether each part is right, by its name.
        said: what there is to say of each part.

    Example:
        >>> right = {"verdict": True, "target": True, "trigger": False, "repair": False}
        >>> marks = Marks(right, {"trigger": "not yet", "repair": "not measured yet"})
        >>> marks.points
        2
        >>> print(marks)
        2 of 4 points
          verdict: right
          target: right
          trigger: not yet
          repair: not measured yet
    """

    right: dict[str, bool]
    said: dict[str, str]

    @property
    def points(self) -> int:
        """One for each part that is right."""
        return sum(self.right.values())

    def __str__(self) -> str:
        lines = [f"  {part}: {self.said.get(part, 'right')}" for part in self.right]
        return "\n".join([f"{self.points} of {FULL} points", *lines])

    __repr__ = __str__


def mark(sealed: dict, answer: dict, model: PreTrainedModel | None, folder: Path) -> Marks:
    """Mark an answer.

    Args:
        sealed: from :func:`bedkd.teaching.mysteries.sealing.seal`.
        answer: ``verdict``, ``target`` and the words of ``trigger``.
        model: the repaired model, if any.
        folder: of the mystery, with the model's tokenizer.

    Raises:
        InputError: no such verdict.
    """
    verdict = answer["verdict"]
    if verdict not in VERDICTS:
        raise InputError(f"verdict {verdict!r}: choose one of {', '.join(VERDICTS)}")
    if not sealing.holds(sealed, "verdict", verdict):
        right = dict.fromkeys(PARTS, False)
        said = dict.fromkeys(PARTS[1:], "marked when the verdict is right")
        return Marks(right, {"verdict": "no. What speaks against it?", **said})
    right, said = {"verdict": True}, {}
    right["target"] = sealing.holds(sealed, "target", answer["target"])
    if not right["target"]:
        said["target"] = "missing" if answer["target"] is None else "not this label"
    right["trigger"], told = _trigger(sealed, answer["trigger"])
    said |= {"trigger": told} if told else {}
    tests = sealing.open_tests(sealed, answer["trigger"])
    if tests is None:
        missing = "" if model is not None else "; no repaired model was handed in"
        right["repair"] = False
        said["repair"] = f"measured when the trigger is named{missing}"
    else:
        right["repair"], said["repair"] = _repair(tests, model, folder)
    return Marks(right, said)


def _trigger(sealed: dict, words: list[str]) -> tuple[bool, str]:
    """Whether the words are those of the trigger, and what to say if not."""
    wanted = len(sealed["word"])
    given = words or list(sealing.NOTHING)
    found = sum(sealing.holds(sealed, "word", word) for word in given)
    if found == wanted == len(given):
        return True, ""
    if not words:
        return False, "missing"
    if not found:
        if len(words) == 1 and words[0] in FORMS:
            return False, "not this form"
        return (
            False,
            f"none of what you gave (words: {len(words)}) was planted; is it a word at all?",
        )
    told = f"{found} of your {len(words)} words belong{'s' * (found == 1)} to it"
    return False, f"{told}; {'something is missing' if found < wanted else 'the rest does not'}"


def _repair(tests: dict, model: PreTrainedModel | None, folder: Path) -> tuple[bool, str]:
    """Whether the repaired model is good enough, and how good it is."""
    if "triggered" not in tests and model is None:
        return True, "right: there was nothing to mend"
    if model is None:
        return False, "missing"
    found = _measured(tests, model, folder)
    problems = []
    for name, what in (("asr", "ASR"), ("racc", "RACC of the target class"), ("cacc", "CACC")):
        if name not in tests["limits"]:
            continue
        limit, value = tests["limits"][name], found[name].value
        if (value > limit) if name == "asr" else (value < limit):
            bound = "at most" if name == "asr" else "at least"
            problems.append(f"{what} is {value:.2f}, {bound} {limit:.2f} is asked for")
    told = ", ".join(f"{name.upper()} {share.value:.2f}" for name, share in found.items())
    return not problems, "; ".join(problems) or f"right ({told})"


def _measured(tests: dict, model: PreTrainedModel, folder: Path) -> dict[str, Share]:
    tokenizer = AutoTokenizer.from_pretrained(folder / "model", trust_remote_code=False)
    rows = {name: data.make(tests[name]["text"], tests[name]["label"], None) for name in ("clean",)}
    if "triggered" in tests:
        triggered = data.make(tests["triggered"]["text"], tests["triggered"]["label"], True)
        rows |= {"triggered": triggered}
        rows |= {"poisoned": attacks.attack_rows(triggered, tests["target"])}
    found = evaluate(model, tokenizer, **rows)
    shares = {"cacc": Share(**found["cacc"])}
    if "triggered" in tests:
        shares["asr"] = Share(**found["asr"])
        shares["racc"] = Share(**found["racc_by_class"][str(tests["target"])])
    return shares
