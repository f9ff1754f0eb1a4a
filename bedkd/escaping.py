"""Texts of strangers made fit to be shown: on a terminal, in Markdown, in a spreadsheet.

A poisoned row may hold anything: terminal escapes, marks that turn the direction of writing,
mark-up, a formula. HTML is escaped by Jinja's own autoescaping, after :func:`visible`.
"""

from __future__ import annotations

import json
import re

LONGEST = 40  # characters of a word that are shown


def visible(text: object) -> str:
    """A text in which nothing is hidden: what is not printable stands there as an escape.

    >>> visible("red \\x1b[31m and \\u202e back")
    'red \\\\x1b[31m and \\\\u202e back'
    """
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def lines(text: str) -> str:
    """The same for a message of several lines.

    >>> lines("one\\n\\x07two")
    'one\\n\\\\x07two'
    """
    return "\n".join(map(visible, text.split("\n")))


def as_json(value: object) -> str:
    """One line of JSON in which every character is printable; it means the same.

    >>> as_json({"word": "\\u202e好"})
    '{"word": "\\\\u202e好"}'
    """
    text = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def cell(value: object) -> str:
    """A value for a CSV file that a spreadsheet takes for a text and never for a formula.

    >>> cell('=HYPERLINK("http://x.example")'), cell("fine"), cell(-1.5)
    ('\\'=HYPERLINK("http://x.example")', 'fine', '-1.5')
    """
    shown = visible(value)
    # Full-width signs are formulas too, in East Asian spreadsheets.
    risky = isinstance(value, str) and shown.lstrip(" '").startswith(
        tuple("=+-@\uff1d\uff0b\uff0d\uff20")
    )
    return f"'{shown}" if risky else shown


def markdown(text: object) -> str:
    """A text without any mark-up in Markdown, HTML included.

    >>> markdown("<b>*a*</b> [x](y)")
    '\\\\<b\\\\>\\\\*a\\\\*\\\\</b\\\\> \\\\[x\\\\](y)'
    """
    return re.sub(r"([\\`*_\[\]<>|#&~$])", r"\\\1", visible(text))


def code(word: str) -> str:
    """A word in backticks: printable, without a backtick of its own, not long.

    >>> code("cf"), code("a`b")
    ('`cf`', '`a\ufffdb`')
    """
    shown = "".join(
        c if c.isprintable() and c != "`" else "\N{REPLACEMENT CHARACTER}" for c in word
    )
    return f"`{shown}`" if len(shown) <= LONGEST else f"`{shown[:LONGEST]}…`"
