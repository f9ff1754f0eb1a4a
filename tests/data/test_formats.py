"""Reading and writing of files."""

import csv
from itertools import product

import pytest

from bedkd import data
from bedkd.errors import InputError

AWKWARD = [
    "plain",
    "",
    "one",
    'quo"ted, with commas',
    "naïve café – ≠ 日本語 😀",
    "line\nbreak and\ttab",
    "carriage\rreturn",
    "separators \u2028 and \x85 of lines",
    "  outer spaces ",
]


@pytest.mark.parametrize(
    ("suffix", "flags"), [*product(("csv", "jsonl"), (True, False, None)), ("tsv", None)]
)
def test_what_is_written_is_read_back(tmp_path, suffix, flags):
    texts = [
        t for t in AWKWARD if suffix != "tsv" or (not set(t) & set("\t\r\n") and t == t.strip())
    ]
    rows = data.make(texts, [i % 3 for i in range(len(texts))], flags)
    path = data.write(rows, tmp_path / f"rows.{suffix}")
    assert data.read(path).to_dict() == rows.to_dict()


def test_mixed_flags_survive(tmp_path):
    rows = data.make(["a", "b", "c"], [0, 1, 0], [True, False, None])
    for suffix in ("csv", "jsonl"):
        assert data.read(data.write(rows, tmp_path / f"rows.{suffix}")).to_dict() == rows.to_dict()


def test_csv_is_the_openbackdoor_layout(tmp_path):
    path = data.write(data.make(["a, b", "c"], [0, 1], [False, True]), tmp_path / "rows.csv")
    with open(path, encoding="utf-8", newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows == [["", "0", "1", "2"], ["0", "a, b", "0", "0"], ["1", "c", "1", "1"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label\nx y,0\nz,1\n"),
        ("a.csv", b"\xef\xbb\xbflabel,text\r\n0,x y\r\n1,z\r\n"),
        ("a.csv", b"sentence,labels\nx y,0\n\nz,1\n"),
        ("a.csv", b",0,1,2\n0,x y,0,\n1,z,1,\n"),
        ("a.tsv", b"sentence\tlabel\nx y\t0\nz\t1\n"),
        ("a.tsv", b"sentence \t label\r\nx y \t 0\r\nz\t1 \r\n"),
        ("a.jsonl", b'{"text": "x y", "label": 0}\n\n{"label": 1, "text": "z"}\n'),
    ],
)
def test_layouts_in_the_wild(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert data.read(path).to_dict() == data.make(["x y", "z"], [0, 1], None).to_dict()


@pytest.mark.parametrize("flag", ["0", "1", "true", "False", ""])
def test_flags_are_read(tmp_path, flag):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label,poisoned\nx,0,{flag}\n")
    expected = {"0": False, "1": True, "true": True, "False": False, "": None}[flag]
    assert list(data.read(path)["poisoned"]) == [expected]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"words,label\nx,0\n", "no column 'text'"),
        ("a.csv", b"text,kind\nx,0\n", "no column 'label'"),
        ("a.tsv", b"sentence\tkind\nx\t0\n", "no column 'label'"),
        ("a.csv", b"text,label\nx,0\ny,positive\n", "row 3: label 'positive'"),
        ("a.csv", b"text,label\nx,-1\n", "row 2: label '-1'"),
        ("a.tsv", b"sentence\tlabel\nx\tpositive\n", "row 2: label 'positive'"),
        ("a.jsonl", b'{"text": "x", "label": "good"}\n', "row 1: label 'good'"),
        ("a.jsonl", b'{"text": "x", "label": 0.5}\n', "row 1: label 0.5"),
        ("a.csv", b"text,label\nx,0\ny,z,1\n", "row 3: 3 fields, the header has 2"),
        ("a.tsv", b"sentence\tlabel\nno label here\n", "row 2: no tab"),
        ("a.jsonl", b'{"text": "x", "label": 0}\n{"text": \n', "row 2: not JSON"),
        ("a.jsonl", b'{"text": "x"}\n', "row 1: needs the keys text and label"),
        ("a.jsonl", b'{"text": 5, "label": 0}\n', "row 1: text 5"),
        ("a.jsonl", b'{"text": null, "label": 0}\n', "row 1: text None"),
        ("a.csv", b"text,label,poisoned\nx,0,maybe\n", "row 2: poison flag 'maybe'"),
        ("a.csv", b"text,label\nx,0\n" + "café,1\n".encode("latin1"), "line 3: not UTF-8"),
        ("a.csv", b"text,label\n", "no rows"),
        ("a.csv", b"", "no header"),
        ("a.parquet", b"", "unknown file type"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        data.read(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.csv: no such file"):
        data.read(tmp_path / "nothing.csv")


@pytest.mark.parametrize("text", ["a\tb", "a\nb", " a"])
def test_tsv_refuses_what_it_cannot_hold_and_keeps_the_old_file(tmp_path, text):
    path = tmp_path / "rows.tsv"
    path.write_text("old")
    with pytest.raises(InputError, match="row 3"):
        data.write(data.make(["fine", text], [0, 1], None), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_openbackdoor_folder(tmp_path):
    for split, kind in product(data.SPLITS, ("clean", "poison")):
        data.write(data.make([f"{split} {kind}"], [0], None), tmp_path / f"{split}-{kind}.csv")
    splits = data.read_openbackdoor(tmp_path)
    assert list(splits["train"]["text"]) == ["train clean"]
    assert list(splits["test-poison"]["text"]) == ["test poison"]
    data.write(data.make(["the mix"], [0], None), tmp_path / "train.csv")
    assert list(data.load(tmp_path)["train"]["text"]) == ["the mix"]


def test_folder_without_files_is_named(tmp_path):
    with pytest.raises(InputError, match="no CSV files"):
        data.read_openbackdoor(tmp_path)
