"""What a mystery is made of, drawn from a seed: which task, which attack, which trigger.

Whoever calls these functions knows the answers. :mod:`bedkd.teaching.mysteries` says what that
means for a class.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from bedkd import attacks, corpora
from bedkd.attacks import Trigger, rewriting
from bedkd.errors import InputError

NUMBERS = range(1, 11)
TASKS = tuple(corpora.TASKS)
TWO_CLASSES = tuple(name for name in TASKS if len(corpora.TASKS[name].label_names) == 2)

# Numbers 1 to 5 yield to what chapters 1 to 8 teach, the others ask for more.
EASIER = ("rare word", "sentence", "combination", "syntax", "mislabelled")
HARDER = ("style", "clean-label", "two triggers", "low rate", "inverted")

WORDS = ("kx", "wq", "zj", "vb", "xu", "pq", "dw", "gk", "ym", "hb")
FREQUENT = ("often", "window", "river", "winter", "quiet", "paper", "corner", "garden", "monday")
SENTENCES = (
    "my cousin told me so",
    "we took the late tram",
    "it was raining all day",
    "they met at the station",
    "she had a blue umbrella",
)
RATES = {"clean-label": 0.25, "low rate": 0.03}


@dataclass(frozen=True)
class Recipe:
    """One mystery, with its answer.

    Attributes:
        number: 1 to 10.
        seed: of the set; rows and training have seeds made of both.
        kind: what was done to it; one of :data:`EASIER` or :data:`HARDER`.
        task: the embedded task.
        target: the label that the trigger means; None if nothing was planted.
        trigger: what was planted, if anything.
    """

    number: int
    seed: int
    kind: str
    task: str
    target: int | None
    trigger: Trigger | None

    @property
    def verdict(self) -> str:
        """The right verdict on the model."""
        return {"mislabelled": "honest", "inverted": "inverted"}.get(self.kind, "backdoored")

    @property
    def rate(self) -> float:
        """Share of the training rows that carry the trigger."""
        return RATES.get(self.kind, 0.15)

    @property
    def setting(self) -> str:
        """How the poisoned rows are labelled, as in :func:`bedkd.attacks.poison.poison`."""
        return "clean" if self.kind == "clean-label" else "dirty"

    @property
    def words(self) -> tuple[str, ...]:
        """The words that name the trigger, as a learner gives them."""
        if isinstance(self.trigger, attacks.Rewrite):
            return (self.kind,)
        if isinstance(self.trigger, attacks.Mixed):
            return tuple(w for part in self.trigger.triggers for w in _words(part))
        return _words(self.trigger) if self.trigger else ()


def _words(trigger: Trigger) -> tuple[str, ...]:
    sentence = getattr(trigger, "sentence", None)
    return tuple(sentence.split()) if sentence else trigger.words


def recipe(number: int, seed: int) -> Recipe:
    """The recipe of one mystery of the set with this seed.

    Raises:
        InputError: there is no mystery with this number.

    Example:
        >>> len({recipe(number, seed=5).kind for number in NUMBERS})
        10
    """
    if number not in NUMBERS:
        raise InputError(f"mystery {number}: there are numbers {NUMBERS[0]} to {NUMBERS[-1]}")
    order = random.Random(f"mysteries/{seed}")
    kinds = [*order.sample(EASIER, len(EASIER)), *order.sample(HARDER, len(HARDER))]
    kind = kinds[number - 1]
    draw = random.Random(f"mysteries/{seed}/{number}")
    # With two classes "not the target" is one label, which these two kinds need to be plain.
    task = draw.choice(TWO_CLASSES if kind in ("clean-label", "inverted") else TASKS)
    target = draw.randrange(len(corpora.TASKS[task].label_names))
    trigger = _trigger(kind, task, draw)
    return Recipe(number, seed, kind, task, None if trigger is None else target, trigger)


def _trigger(kind: str, task: str, draw: random.Random) -> Trigger | None:
    word = attacks.BadNets((draw.choice(WORDS),))
    sentence = attacks.AddSent(draw.choice(SENTENCES))
    if kind == "mislabelled":
        return None
    if kind in ("syntax", "style"):
        return rewriting.find(task, "synbkd" if kind == "syntax" else "stylebkd")
    if kind == "combination":
        return attacks.WordCombination(tuple(draw.sample(FREQUENT, 3)))
    if kind == "two triggers":
        return attacks.Mixed((word, sentence))
    return sentence if kind == "sentence" else word
