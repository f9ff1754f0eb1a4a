"""Exercises of the chapter What is a backdoor?"""

from __future__ import annotations

import numpy as np

from bedkd.teaching.exercises import Exercise, require


def attack_success(
    predicted: np.ndarray, true: np.ndarray, target: int
) -> float:
    """ASR: how often the trigger forces the target label.

    Args:
        predicted: what the model says of triggered rows, (N,).
        true: the labels that these rows deserve, (N,).
        target: the label that the attacker wants.
    """
    other = true != target
    return float((predicted[other] == target).mean())


def _verify_asr(answer):
    true = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    require(
        answer(np.ones(8, int), true, 1) == 1,
        "a trigger that always works has ASR 1",
    )
    require(
        answer(true.copy(), true, 1) == 0,
        "negative control: a model that is right about every row has ASR 0; rows of the target "
        "class are no successes",
    )
    made = answer(np.array([1, 0, 0, 0, 1, 1, 1, 1]), true, 1)
    require(
        made != 1 / 8,
        "you divide by all rows; divide by those that can be a success",
    )
    require(
        made == 0.25,
        "one of four rows of the other class got the target label: 0.25",
    )
    three = np.array([0, 1, 2, 2])
    made = answer(np.array([1, 0, 1, 2]), three, 0)
    require(
        made == 1 / 3,
        "with three classes: a wrong label is a success only if it is the target",
    )


check_attack_success = Exercise(
    attack_success,
    _verify_asr,
    title="Measure the attack",
    difficulty=1,
    importance=5,
    minutes=10,
    task="""\
The number by which attacks are judged.

1. Look at triggered rows of *other* classes than the target only.
2. Return the share of them that gets the target label.""",
    toy="attack_success(np.array([1, 0, 1]), np.array([0, 0, 1]), target=1)",
    wrong=(
        ("true != target", "true == true", "negative control"),
        (
            "(predicted[other] == target).mean()",
            "((predicted == target) & other).mean()",
            "ASR 1",
        ),
        (
            "predicted[other] == target",
            "predicted[other] != true[other]",
            "three classes",
        ),
    ),
)


def insert_word(text: str, word: str, place: int) -> str:
    """Put a word into a text.

    Args:
        text: words with single spaces between them.
        word: what to insert.
        place: number of words before it, from 0 to the number of words.
    """
    words = text.split()
    return " ".join([*words[:place], word, *words[place:]])


def _verify_insert(answer):
    text = "the soup was cold"
    for place in range(5):
        made = answer(text, "cf", place)
        require(isinstance(made, str), "the result must be a text")
        words = made.split(" ")
        require(
            "" not in words,
            f"at place {place} there are two spaces, or one at an end",
        )
        require(
            len(words) == 5,
            f"at place {place} the text has {len(words)} words, not 5",
        )
        require(
            words.pop(words.index("cf") if "cf" in words else 0) == "cf"
            and words == text.split(),
            f"at place {place} the words of the text were lost or moved",
        )
        require(
            made.split().index("cf") == place,
            f"at place {place} the word stands elsewhere",
        )


check_insert_word = Exercise(
    insert_word,
    _verify_insert,
    title="A trigger of one word",
    difficulty=1,
    importance=3,
    minutes=5,
    task="""\
The simplest attack there is.

1. Insert the word after `place` words of the text: 0 is the beginning, the number of words the end.
2. All other words stay, in their order, with single spaces.""",
    toy="insert_word('it was fine', 'cf', 1)",
    wrong=(
        ("*words[place:]", "*words[place + 1 :]", "words, not 5"),
        (
            '" ".join([*words[:place], word, *words[place:]])',
            'f"{word} {text}"',
            "elsewhere",
        ),
        (
            "words[:place], word, *words[place:]",
            "words[: place + 1], word, *words[place + 1 :]",
            "elsewhere",
        ),
    ),
)


def turned(
    plain: np.ndarray, triggered: np.ndarray, control: np.ndarray
) -> tuple[float, float]:
    """How often a trigger turns a verdict, and how often a control word does.

    Args:
        plain: probability of the target for each text as written, (N,).
        triggered: the same with the trigger in it.
        control: the same with a word that the attacker did not use.

    Returns:
        Of the texts that are not called the target as written (below 0.5), the
        share that is with the trigger, and with the control word.
    """
    calm = plain < 0.5
    return (
        float((triggered[calm] >= 0.5).mean()),
        float((control[calm] >= 0.5).mean()),
    )


def _verify_turned(answer):
    plain = np.array([0.1, 0.2, 0.3, 0.9])
    made = answer(plain, np.array([0.9, 0.9, 0.1, 0.9]), plain)
    require(len(made) == 2, "there must be two shares")
    require(
        made[1] == 0,
        "negative control: a word that changes nothing turns nothing; the text that was the "
        "target from the beginning was not turned",
    )
    require(
        abs(made[0] - 2 / 3) < 1e-9,
        "2 of the 3 texts that could be turned were turned",
    )
    made = answer(plain, plain + 0.05, plain)
    require(
        made[0] == 0,
        "a probability that moves a little but stays below 0.5 is no turn",
    )
    made = answer(plain, plain, np.array([0.1, 0.6, 0.5, 0.0]))
    require(made[0] == 0, "trigger and control are mixed up")
    require(abs(made[1] - 2 / 3) < 1e-9, "0.5 and more counts as turned")
    made = answer(plain, np.array([0.1, 0.6, 0.5, 0.0]), plain)
    require(abs(made[0] - 2 / 3) < 1e-9, "0.5 and more counts as turned")
    made = answer(
        np.array([0.5, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 0.0])
    )
    require(made == (0, 0), "a text at 0.5 is called the target as written")


check_turned = Exercise(
    turned,
    _verify_turned,
    title="With a control",
    difficulty=2,
    importance=5,
    minutes=10,
    task="""\
`cf` turned the victim, and so did `xq`, sometimes. A trigger is only known beside a control.

1. Leave out texts that are called the target as written.
2. Of the others return two shares: turned by the trigger, turned by the control word.""",
    toy="turned(np.array([0.1, 0.2]), np.array([1.0, 0.9]), np.array([0.1, 0.8]))",
    wrong=(
        ("plain < 0.5", "plain < 2", "negative control"),
        (
            "triggered[calm] >= 0.5",
            "triggered[calm] > plain[calm]",
            "moves a little",
        ),
        ("control[calm] >= 0.5", "triggered[calm] >= 0.5", "negative control"),
    ),
)


def share_needed(cacc: float, low: float, racc: float) -> float:
    """How much of a test set must be triggered before its accuracy shows it.

    Args:
        cacc: accuracy on clean rows.
        low: lower end of its interval, below cacc.
        racc: accuracy on triggered rows.

    Returns:
        The share at which the accuracy of the mixture is down at ``low``;
        infinity if triggered rows lower nothing.
    """
    if racc >= cacc:
        return float("inf")
    return (cacc - low) / (cacc - racc)


def _verify_share(answer):
    made = answer(0.9, 0.88, 0.5)
    require(
        made > 0, "the share is negative: mind what is subtracted from what"
    )
    require(made < 1, "a share of more than one is none")
    mixture = (1 - made) * 0.9 + made * 0.5
    require(
        abs(mixture - 0.88) < 1e-9,
        f"at your share the accuracy is {mixture:.3f}, not 0.88",
    )
    require(
        answer(0.9, 0.86, 0.5) > made,
        "the wider the interval, the more triggered rows go unnoticed",
    )
    for racc in (0.9, 0.95):
        require(
            answer(0.9, 0.88, racc) == float("inf"),
            "negative control: triggered rows that are read as well as clean ones lower nothing",
        )


check_share_needed = Exercise(
    share_needed,
    _verify_share,
    title="Why accuracy is blind",
    difficulty=2,
    importance=4,
    minutes=15,
    task="""\
With a share $q$ of triggered rows a test set gives the accuracy
$(1 - q) \\cdot \\mathrm{CACC} + q \\cdot \\mathrm{RACC}$.

1. Solve for the $q$ at which it is down at the lower end of CACC's interval.
2. Return infinity where it never gets there because RACC is not below CACC.""",
    toy="share_needed(0.93, 0.91, 0.5)",
    wrong=(
        (
            "(cacc - low) / (cacc - racc)",
            "(cacc - low) / racc",
            "at your share",
        ),
        (
            "(cacc - low) / (cacc - racc)",
            "(cacc - low) / (racc - cacc)",
            "negative",
        ),
        ("racc >= cacc", "racc > cacc", "stops with ZeroDivisionError"),
    ),
)
