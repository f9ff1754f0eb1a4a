"""Whatever a file holds, it is read or refused in one line; whatever a row holds, it is shown as
text."""

import csv
import gzip
import html
import io
import json

import markupsafe
import numpy as np
import pytest

from bedkd import data, escaping
from bedkd.data import Columns
from bedkd.data.readers import READERS
from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.page import inline
from bedkd.suspects import HEADER, read_review
from bedkd.text import PAIR, pair, unpair

hypothesis = pytest.importorskip("hypothesis", reason="needs hypothesis, of the extra dev")
st = hypothesis.strategies

FAST = hypothesis.settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters=PAIR), max_size=30)
FIELDS = st.sampled_from([*b"text,label\t;|\"'\n\r\\{}[]:0123456789.-", 0, 0xFF, 0xEF, 0xBB, 0xBF])
BYTES = st.binary(max_size=120) | st.lists(FIELDS, max_size=80).map(bytes)
STARTS = [
    b"",
    b"text,label\n",
    b"text\tlabel\n",
    b'{"text": "x", "label": 0}\n',
    b"ARROW1",
    b"PAR1",
]


def read_or_refuse(read):
    """What was read, or the message."""
    try:
        return read(), None
    except InputError as error:
        return None, escaping.visible(error)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", READERS)
def test_any_bytes_are_read_or_refused_in_one_line(kind, packed, tmp_path):
    path = tmp_path / f"a{kind}{'.gz' if packed else ''}"

    @FAST
    @hypothesis.given(st.sampled_from(STARTS), BYTES, st.booleans())
    def check(start, rest, whole):
        content = start + rest
        if packed:
            content = gzip.compress(content)[: None if whole else -4]
        path.write_bytes(content)
        columns = Columns(label_names={"no": 0, "yes": 1})
        rows, message = read_or_refuse(lambda: data.read(path, columns))
        if rows is None:
            assert message.startswith(str(path))
            assert len(message) < 600
        else:
            assert len(rows) > 0
            assert all(label >= 0 for label in rows["label"])

    check()


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".json", ".parquet"])
def test_any_text_comes_back_as_it_was(kind, tmp_path):
    path = tmp_path / f"a{kind}"

    @FAST
    @hypothesis.given(st.lists(TEXTS, min_size=1, max_size=4))
    def check(texts):
        rows = data.make(texts, [0] * len(texts), None)
        if kind == ".parquet":
            rows.to_parquet(path)
        elif kind == ".json":
            path.write_text(json.dumps(list(rows)), encoding="utf-8")
        else:
            data.write(rows, path)
        assert data.read(path)["text"][:] == texts

    check()


@FAST
@hypothesis.given(TEXTS, TEXTS)
def test_any_two_texts_come_apart_again(first, second):
    assert unpair(pair(first, second)) == (first, second)


@FAST
@hypothesis.given(st.text(max_size=40))
def test_any_text_is_shown_and_never_acts(text):
    shown = escaping.visible(text)
    assert shown.isprintable()
    cell = escaping.cell(text)
    assert cell.isprintable()
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@"))
    assert json.loads(escaping.as_json({"text": text})) == {"text": text}
    assert escaping.as_json({"text": text}).isprintable()
    code = str(inline(escaping.code(text)))
    assert "<" not in code.removeprefix("<code>").removesuffix("</code>")
    # What Markdown makes of the escaped text is the text.
    page = str(inline(escaping.markdown(text)))
    assert "<" not in page
    assert html.unescape(page) == html.unescape(str(markupsafe.escape(shown)))


def test_any_review_is_read_or_refused_in_one_line(case, tmp_path):
    path = tmp_path / "review.csv"
    value = st.sampled_from(["0", "1", "-1", "319", "320", "", "x", "1e9", "nan", "²", "9" * 30])

    @FAST
    @hypothesis.given(st.lists(st.lists(value, min_size=2, max_size=4), max_size=4), BYTES)
    def check(rows, rest):
        handle = io.StringIO()
        csv.writer(handle).writerows([HEADER[:3], *rows])
        path.write_bytes(handle.getvalue().encode() + rest)
        found, message = read_or_refuse(lambda: read_review(path, case))
        if found is None:
            assert len(message) < 600
        else:
            assert isinstance(found, Detection)
            assert np.isfinite(found.scores).all()
            assert found.flagged.any()

    check()
