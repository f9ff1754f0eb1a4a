"""The most suspicious rows: what is shown of them, and what comes back corrected."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from bedkd import Case, Parts, data
from bedkd.detectors import Detection
from bedkd.errors import InputError
from bedkd.suspects import poison_share, ranked, read_review, top_suspects, write_suspects


@pytest.fixture
def found(case, task):
    """What a perfect detector says of the toy task."""
    flags = np.array(task.train["poisoned"], bool)
    scores = flags + np.linspace(0, 0.5, len(flags))
    return Detection(scores, flags, 1.0, True)


def test_the_trigger_is_marked_and_little_else(case, found):
    """By what the model believes alone, no word being named."""
    top = top_suspects(case, found, [])
    assert [suspect.row for suspect in top] == ranked(found)[:10].tolist()
    told = [suspect.to_dict()["words"] for suspect in top]
    assert sum("cf" in words for words in told) >= 8
    assert sum(map(len, told)) <= 15
    for suspect in top:
        text = " ".join(piece for piece, _ in suspect.pieces)
        assert text == case.untrusted[suspect.row]["text"]


def test_suspected_words_are_marked_whatever_the_model_says(case, found):
    top = top_suspects(case, found, ["word3"])
    pieces = [piece for suspect in top for piece in suspect.pieces]
    assert any(piece == "word3" for piece, _ in pieces)
    assert all(told for piece, told in pieces if piece == "word3")


def test_long_rows_and_texts_without_spaces_are_shown_in_pieces(victim, tokenizer, task):
    texts = ["word1 " * 500, "好" * 90, ""]
    rows = data.make(texts, [1, 1, 0], None)
    case = Case(victim, tokenizer, task.clean["dev"], rows, Parts(4, 4, 4), max_length=32)
    flags = np.ones(3, bool)
    top = top_suspects(case, Detection(np.array([3.0, 2, 1]), flags, 0.0, True), [])
    assert [len(suspect.pieces) for suspect in top] == [39, 1, 0]
    assert [suspect.spaced for suspect in top] == [True, False, True]


def test_without_a_verdict_no_row_is_accused(case):
    assert top_suspects(case, Detection.undecided(case, ["more"]), []) == []


@pytest.mark.parametrize(
    ("above", "bad", "expected"),
    [(0, True, 0.2), (16, True, 0.1667), (0, False, None), (None, True, None)],
)
def test_the_share_of_poison_is_what_clean_rows_do_not_explain(above, bad, expected):
    flagged = np.arange(500) < 100
    details = {} if above is None else {"null": {"rows": 400, "above": above}}
    share = poison_share(Detection(flagged * 1.0, flagged, 1.0, bad, details=details))
    if expected is None:
        assert share is None
    else:
        assert share["value"] == pytest.approx(expected, abs=1e-4)
        assert share["low"] < share["value"] <= share["high"] <= 0.2


def written(case, found):
    handle = io.StringIO()
    write_suspects(handle, case, found)
    return handle.getvalue()


def test_every_row_is_written_once_the_most_suspicious_first(case, found):
    rows = list(csv.DictReader(io.StringIO(written(case, found))))
    assert [int(row["row"]) for row in rows] == ranked(found).tolist()
    assert sorted(int(row["row"]) for row in rows) == list(range(320))
    for row in rows:
        index = int(row["row"])
        assert float(row["score"]) == pytest.approx(found.scores[index], abs=1e-6)
        assert row["poisoned"] == row["flagged"] == str(int(found.flagged[index]))
        assert row["text"] == case.untrusted[index]["text"]


def test_formulas_and_hidden_characters_of_rows_are_texts_in_the_file(case, found):
    texts = ['=HYPERLINK("http://x.example")', "+1", " @SUM(A1)", "-2\r\n=3", "\u202eabc", "a,b"]
    hostile = data.make(texts, [0] * 6, None)
    case = replace(case, untrusted=hostile)
    found = Detection(np.arange(6.0)[::-1], np.zeros(6, bool), 9.0, False)
    text = written(case, found)
    assert all(character.isprintable() or character == "\n" for character in text)
    cells = [row["text"] for row in csv.DictReader(io.StringIO(text))]
    assert cells == [f"'{texts[0]}", "'+1", "' @SUM(A1)", r"'-2\r\n=3", r"\u202eabc", "a,b"]


def review(case, found, path, **marks):
    """The file with some marks of a person."""
    rows = list(csv.DictReader(io.StringIO(written(case, found))))
    for row in rows:
        row["poisoned"] = marks.get(f"row{row['row']}", row["poisoned"])
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_a_persons_corrections_decide(case, found, tmp_path):
    flagged = np.flatnonzero(found.flagged)
    first, other = int(flagged[0]), int(np.flatnonzero(~found.flagged)[0])
    path = review(case, found, tmp_path / "r.csv", **{f"row{first}": "0", f"row{other}": "TRUE"})
    read = read_review(path, case)
    expected = found.flagged.copy()
    expected[[first, other]] = False, True
    assert np.array_equal(read.flagged, expected)
    np.testing.assert_allclose(read.scores, found.scores, atol=1e-6)
    assert read.is_backdoored
    assert read.details == {"reviewed": len(flagged), "trigger_words": ["cf"]}


def test_a_spreadsheets_semicolons_and_a_part_of_the_rows_will_do(case, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("\ufeffRow;Poisoned;score\n5;1;0,5\n\n7;0;-1\n", encoding="utf-8")
    read = read_review(path, case)
    assert np.flatnonzero(read.flagged).tolist() == [5]
    assert (read.scores[5], read.scores[7], read.scores[0]) == (0.5, -1.0, -1.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("row,poisoned\n5,0\n", "no row is marked as poisoned, so there is nothing to repair"),
        ("row,poisoned\n", "no row is marked"),
        ("row,mark\n5,1\n", "no column 'poisoned'"),
        ("", "no column 'row'"),
        ("row,poisoned\n320,1\n", "row 2: row 320 of 0 to 319"),
        ("row,poisoned\n5,1\n5,1\n", "row 3: row 5 again"),
        ("row,poisoned\n-1,1\n", "row 2: '-1' is not a number of a row"),
        (f"row,poisoned\n{'9' * 5000},1\n", "row 2: '999"),
        ("row,poisoned\n5,yes\n", "row 2: poisoned is 'yes'; use 0 or 1"),
        ("row,poisoned,score\n5,1,high\n", "row 2: score 'high' is not a number"),
        ("row,poisoned,label\n5,1,7\n", "this is the review of other rows"),
        ("row,poisoned\n5,1,1\n", "row 2: 3 fields, the header has 2"),
        ('row,poisoned\n"5,1\n' + "x" * 11_000_000, "row 2: field larger than"),
        (b"row,poisoned\n\xff,1\n", "cannot be read as UTF-8"),
    ],
)
def test_a_review_that_cannot_be_used_is_named_with_its_row(case, tmp_path, content, message):
    path = tmp_path / "r.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        read_review(path, case)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert len(str(error.value)) < 400


def test_a_missing_review_is_named(case, tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: no such file"):
        read_review(tmp_path / "none.csv", case)
