"""ONION: does a text become more fluent when one of its words is left out?

Source: Qi et al. 2021, *ONION: A Simple and Effective Defense Against Textual Backdoor Attacks*.

Kept: the suspicion of a word is the perplexity of the text with it compared with that without it,
under a language model that knows nothing of the suspect model. Changed: the difference is one of
log-perplexities, as perplexities of short texts are huge; a row's score is that of its most
suspicious word, and trusted rows set the threshold. The paper takes words out of test inputs; here
whole rows are flagged. The language model is SmolLM2 in place of GPT-2. It costs a forward pass for
each word. A rewritten text is as fluent as any, or more: this method does not see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bedkd import language_model
from bedkd.case import Case
from bedkd.detectors.base import Rival
from bedkd.errors import at_least
from bedkd.run import Run
from bedkd.text import as_read, leave_one_out


@dataclass(frozen=True)
class Onion(Rival):
    """Score of a row: the largest drop in log-perplexity when one word is left out; 0 for a row of
    fewer than two words, of which nothing would be left to compare.

    Attributes:
        batch_size: texts in a forward pass of the language model, at least 1.

    Example:
        >>> Onion(fpr=0.1)  # needs the extra bedkd[lm]
        Onion(fpr=0.1, min_flagged=16, batch_size=16)
    """

    batch_size: int = 16

    def __post_init__(self):
        super().__post_init__()
        at_least(self, batch_size=1)

    def score(self, case: Case, run: Run) -> tuple[np.ndarray, np.ndarray, dict]:
        """Drops of both sets."""
        sets = [
            [as_read(text, case.tokenizer, case.max_length) for text in rows["text"]]
            for rows in (case.untrusted, case.divided.all)
        ]
        both = self.drops([*sets[0], *sets[1]], case, run)
        return both[: len(sets[0])], both[len(sets[0]) :], {}

    def drops(self, texts: Sequence[str], case: Case, run: Run) -> np.ndarray:
        """Largest drop of R texts, (R,)."""
        shorter = [leave_one_out(text, case.tokenizer) for text in texts]
        shorter = [row if len(row) > 1 else [] for row in shorter]
        # Sorted and without repetitions: batches must not depend on the order of rows.
        every = sorted({*texts, *(text for row in shorter for text in row)})
        values = language_model.perplexities(
            every, batch_size=self.batch_size, max_length=case.max_length, progress=run.progress
        )
        known = dict(zip(every, np.log(values), strict=True))
        pairs = zip(texts, shorter, strict=True)
        return np.array([known[t] - min(known[s] for s in row) if row else 0.0 for t, row in pairs])
