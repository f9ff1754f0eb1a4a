"""The report of ``bedkd purify`` as one HTML file that needs no other, from one template."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from bedkd.detectors.base import Detection
from bedkd.escaping import visible
from bedkd.report import findings, next_step, sections
from bedkd.suspects import Suspect

BARS = 40
SHOWN_PIECES, SHOWN_LENGTH = 120, 80  # of a row, so that one row does not fill the page
INLINE = re.compile(r"`([^`]*)`|\*\*(.+?)\*\*|\*(.+?)\*|\\(.)", re.S)


def purification_page(report: dict, detection: Detection, suspects: Sequence[Suspect]) -> str:
    """The whole page. Whatever comes from files is escaped, and nothing is loaded from elsewhere.

    Args:
        report: as ``report.json``, see :meth:`bedkd.purify.Purified.to_dict`.
        detection: for the figure of the scores.
        suspects: the rows to show.
    """
    environment = Environment(
        loader=PackageLoader("bedkd"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "visible": visible}
    return environment.get_template("purification.html.jinja").render(
        report=report,
        findings=findings(report),
        next_step=next_step(report),
        sections=sections(report),
        suspects=[(suspect, _shown(suspect)) for suspect in suspects],
        histogram=None if detection.cannot_tell else histogram(detection),
        shares=_shares(report["outcome"]),
    )


def inline(text: str) -> Markup:
    """A line of our Markdown as HTML: code, bold, italics, escapes; everything else is escaped.

    >>> str(inline("**so** `<b>` \\\\<i"))
    '<strong>so</strong> <code>&lt;b&gt;</code> &lt;i'
    """
    parts, end = [], 0
    for found in INLINE.finditer(text):
        parts.append(escape(text[end : found.start()]))
        code, strong, emphasis, literal = found.groups()
        if code is not None:
            parts.append(Markup("<code>{}</code>").format(code))
        elif strong is not None:
            parts.append(Markup("<strong>{}</strong>").format(inline(strong)))
        elif emphasis is not None:
            parts.append(Markup("<em>{}</em>").format(inline(emphasis)))
        else:
            parts.append(escape(literal))
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def _shown(suspect: Suspect) -> list[tuple[str, bool]]:
    """The pieces of a row, those in the middle left out where there are many."""
    pieces = [(visible(piece)[:SHOWN_LENGTH], told) for piece, told in suspect.pieces]
    if len(pieces) > SHOWN_PIECES:
        half = SHOWN_PIECES // 2
        pieces = [*pieces[:half], ("…", False), *pieces[-half:]]
    return pieces


def histogram(detection: Detection) -> dict:
    """Where the scores of flagged and of other rows lie: shares of the width and, on a logarithmic
    scale, of the height of a figure.

    Returns:
        ``bars``, each ``(kind, x, width, height)`` with 0 to 1, the ends ``low`` and ``high`` of
        the axis, the largest count ``most`` and the ``threshold``'s place or None.
    """
    scores = detection.scores
    low, high = (float(x) for x in (scores.min(), scores.max()))
    edges = np.linspace(low, high if high > low else low + 1, BARS + 1)
    counts = {
        kind: np.histogram(scores[rows], edges)[0]
        for kind, rows in (("clean", ~detection.flagged), ("flagged", detection.flagged))
    }
    most = max(int(count.max()) for count in counts.values())
    bars = [
        (kind, place / BARS, 1 / BARS, float(np.log1p(count) / np.log1p(most)))
        for kind, numbers in counts.items()
        for place, count in enumerate(numbers)
        if count
    ]
    place = (detection.threshold - edges[0]) / (edges[-1] - edges[0])
    inside = bool(np.isfinite(place) and 0 <= place <= 1)
    return {
        "bars": bars,
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "most": most,
        "threshold": float(place) if inside else None,
    }


def _shares(outcome: dict | None) -> list[tuple[str, dict, dict]]:
    """What is drawn before and after: name and two shares with intervals."""
    if outcome is None:
        return []
    names = [
        ("accuracy, held-out trusted rows", "accuracy"),
        ("flagged rows given their label", "given"),
    ]
    found = [(name, outcome[f"{key}_before"], outcome[f"{key}_after"]) for name, key in names]
    if (planted := outcome["planted"]) is not None:
        shares = planted["target_before"], planted["target_after"]
        found.append(("trigger words in clean rows: target label", *shares))
    return [entry for entry in found if all(share["n"] for share in entry[1:])]
