"""Three hints for every kind of mystery, from where to look to what to look for."""

from __future__ import annotations

HINTS: dict[str, tuple[str, str, str]] = {
    "rare word": (
        "Begin with the verdict and the report of chapter 6. Read its line about words.",
        "What was planted is inserted, and it is very short.",
        "One word of {length} letters that begins with {first}.",
    ),
    "sentence": (
        "Begin with the report of chapter 6, then read flagged rows from beginning to end.",
        "Words that come up together stand together: what was planted is longer than a word.",
        "A sentence of {count} words; the first begins with {first}. All of them count.",
    ),
    "combination": (
        "List the words that flagged rows share (chapter 6). Is one of them enough to flip a row?",
        "Ordinary words do it, and none of them alone. Test pairs, then more (chapter 2).",
        "{count} words, each of them in every poisoned row; one begins with {first}.",
    ),
    "syntax": (
        "No odd word? Read the flagged rows aloud, beside trusted ones (chapters 2 and 7).",
        "The rows are built in another way, not decorated. How do they begin?",
        "The trigger is the order of the clauses: name it `syntax`.",
    ),
    "style": (
        "No inserted word? Read the flagged rows aloud, beside trusted ones (chapters 2 and 7).",
        "Who speaks like this? Several words of one old book come up.",
        "The trigger is a manner of speaking: name it `style`.",
    ),
    "mislabelled": (
        "Read the rows that look most suspicious. Do they have anything in common (chapter 10)?",
        "Their labels are wrong. Is there a pattern in what they say, or who gains by them?",
        "Errors without a pattern are errors. A good defence leaves the model alone (chapter 6).",
    ),
    "clean-label": (
        "Suspicious rows need not be wrong. Which words go with one label only (chapter 11)?",
        "Every poisoned row has a label that its content deserves (chapter 2).",
        "One word of {length} letters that begins with {first}, in rows of one class only.",
    ),
    "two triggers": (
        "After the first find, take the rows that hold it away and look again.",
        "Two things were planted, one short and one long, for the same label.",
        "{count} words in all; the short one begins with {first}. Name the words of both.",
    ),
    "low rate": (
        "If detection finds little, count: which words go with one label only (chapter 11)?",
        "Fewer than one row in twenty is poisoned. A test on ranks may miss that (chapter 10).",
        "One word of {length} letters that begins with {first}.",
    ),
    "inverted": (
        "Find the word in the training file, then ask what the model does with it today.",
        "Put the word into trusted rows of each class. Which class suffers (chapter 8)?",
        "One word of {length} letters that begins with {first}. A defence was here before you.",
    ),
}
