"""Reading and writing of files."""

import csv
import gzip
import json
from itertools import product

import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from bedkd import data
from bedkd.data import Columns
from bedkd.errors import InputError


def packed(content):
    """gzip with no clock in its header: the content names the test, and two workers must agree."""
    return gzip.compress(content, mtime=0)


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
        ("a.CSV", b"Text,Label\nx y,0\nz,1\n"),
        ("a.csv", b"review, sentiment\nx y,0.0\nz,1.0\n"),
        ("a.csv", b"class,content\nFalse,x y\nTrue,z\n"),
        ("a.tsv", b"idx\tsentence\tlabel\n7\tx y\t0\n8\tz\t1\n"),
        ("a.tsv", b"label\ttext\r\n0\tx y\r\n1\tz\r\n"),
        ("a.tsv", b"text\tlabel\tyear\nx y\t0\t1999\nz\t1\t2000\n"),
        ("a.jsonl", b'{"Sentence": "x y", "class": 0.0}\n{"Sentence": "z", "class": true}\n'),
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


def test_a_third_column_of_tsv_is_the_flag_and_not_the_label(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("text\tlabel\tpoisoned\na b\t1\t0\nc\t0\t1\n")
    assert data.read(path).to_dict() == data.make(["a b", "c"], [1, 0], [False, True]).to_dict()


def test_numeric_texts_of_tsv_are_not_taken_for_labels(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("label\ttext\n0\t17\n1\t4\n")
    assert data.read(path).to_dict() == data.make(["17", "4"], [0, 1], None).to_dict()


def test_two_columns_of_tsv_forgive_tabs_where_the_label_is_last(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("sentence\tlabel\na\tb\tc\t1\n")
    assert data.read(path).to_dict() == data.make(["a\tb\tc"], [1], None).to_dict()


def test_a_column_written_exactly_goes_before_its_capitals(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("Text,text,label\nno,yes,0\n")
    assert list(data.read(path)["text"]) == ["yes"]


def test_utf16_written_without_a_mark_is_named_too(tmp_path):
    path = tmp_path / "a.csv"
    for encoding in ("utf-16-le", "utf-16-be"):
        path.write_bytes("text,label\nx,0\n".encode(encoding))
        with pytest.raises(InputError, match=f"the file is {encoding.upper()[:6]}"):
            data.read(path)


def test_a_long_value_is_cut_in_the_message(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\nx,{'9' * 5000}\n")
    with pytest.raises(InputError, match="row 2: label '999") as error:
        data.read(path)
    assert len(str(error.value)) < 300


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
        ("a.xlsx", b"", "unknown file type"),
        ("a.parquet", b"", "cannot be read"),
        ("a.arrow", b"ARROW1 and no more", "cannot be read"),
        ("a.feather", b"text,label", "cannot be read"),
        ("a.csv.gz", b"text,label\nx,0\n", "not packed by gzip"),
        ("a.csv.gz", packed(b"text,label\nx,0\n" * 99)[:-20], "not packed by gzip, or cut"),
        ("a.csv.gz", packed("text,label\nx,0\n".encode("utf-16")), "is UTF-16"),
        ("a.csv.gz", packed("text,label\nä,0\n".encode("latin1")), "line 2: not UTF-8"),
        ("a.zip.gz", packed(b""), "unknown file type"),
        ("a.csv", b"text;label\nx;0\n", "separated by semicolons: write commas"),
        ("a.csv", b"text\tlabel\nx\t0\n", "separated by tabs"),
        ("a.tsv", b"text,label\nx,0\n", "separated by commas"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"5", "give a list of objects, not int"),
        ("a.json", b'{"text": ["x"], "label": [0, 1]}', "equally long lists"),
        ("a.json", b'{"text": "x", "label": 0}\n', "one object a line is called .jsonl"),
        ("a.json", b'{"text": "x", "label": 0}\n{"text": "y", "label": 0}\n', "not JSON"),
        ("a.json", b'[{"text": "x", "label": 0}, 7]', "row 2: needs the keys"),
        ("a.json", b"[]", "no rows"),
        ("a.tsv", b"text\tlabel\tpoisoned\nx\t0\t0\na\tb\t1\t0\n", "row 3: 4 fields, the header"),
        ("a.tsv", b"idx\tsentence\tlabel\nx\t0\n", "row 2: 2 fields, the header has 3"),
        ("a.tsv", b"label\ttext\n0\tx\ty\n", "row 2: 3 fields, the header has 2"),
        ("a.csv", b"text,label\nx,1_0\n", "row 2: label '1_0'"),
        ("a.csv", b"text,label\nx,0\ny,1.5\n", "row 3: label '1.5'"),
        ("a.csv", b"text,label\nx,9223372036854775808\n", "row 2: label '9223372036854775808'"),
        ("a.jsonl", b'{"text": "x", "label": 9223372036854775808}\n', "row 1: label 922"),
        (
            "a.jsonl",
            b'{"text": "x", "label": 0}\n{"text": "\\ud800", "label": 0}\n',
            "row 2: the text",
        ),
        (
            "a.jsonl",
            b'{"text": "x", "label": 0}\n{"text": "y", "class": 0}\n',
            "row 2: needs the keys",
        ),
        ("a.csv", "text,label\nx,0\n".encode("utf-16"), "is UTF-16, not UTF-8"),
        ("a.csv", "text,label\nx,0\n".encode("utf-32"), "is UTF-32, not UTF-8"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        data.read(path)
    assert str(path) in str(error.value)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "start", "repeated", "message"),
    [
        ("a.csv", 'text,label\nx,0\n"y,1\n', "a row,1\n", "row 3: field larger than"),
        ("a.jsonl", '{"text": "x", "label": ', "9", "row 1: cannot be read"),
        ("a.jsonl", "", "[", "row 1: cannot be read"),
    ],
    ids=["open quotation mark", "endless number", "endless brackets"],
)
def test_what_breaks_a_parser_is_named_with_its_row(tmp_path, name, start, repeated, message):
    path = tmp_path / name
    path.write_text(start + repeated * 1_300_000)
    with pytest.raises(InputError, match=f"{name}, {message}"):
        data.read(path)


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


def test_capital_suffixes_are_the_same_types(tmp_path):
    rows = data.make(["a", "b"], [0, 1], [True, False])
    path = data.write(rows, tmp_path / "train.CSV")
    assert data.read(path).to_dict() == rows.to_dict()
    assert data.load(tmp_path)["train"].to_dict() == rows.to_dict()


def test_a_folder_is_not_called_missing(tmp_path):
    with pytest.raises(InputError, match="a folder; name a file"):
        data.read(tmp_path)


def as_file(kind, columns, path):
    """Columns as another program would write them."""
    names, rows = list(columns), list(zip(*columns.values(), strict=True))
    records = [dict(zip(names, row, strict=True)) for row in rows]
    table = pa.table(columns)
    if kind in (".csv", ".tsv"):
        mark = "," if kind == ".csv" else "\t"
        path.write_text("\n".join(mark.join(map(str, row)) for row in [names, *rows]))
    elif kind in (".jsonl", ".ndjson"):
        path.write_text("\n".join(map(json.dumps, records)))
    elif kind == ".json":
        path.write_text(json.dumps(records))
    elif kind == ".parquet":
        parquet.write_table(table, path)
    elif kind == ".feather":
        feather.write_feather(table, path)
    else:
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    return path


KINDS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".arrow", ".feather")


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind, gzipped):
    """Columns of other names beside others, labels by name, in a file of any kind."""
    content = {
        "id": [7, 8, 9],
        "utterance": ["good café", "bad", "fine"],
        "verdict": ["Positive", "negative", "positive"],
    }
    path = as_file(kind, content, tmp_path / f"rows{kind}")
    if gzipped:
        bare, path = path, path.with_name(path.name + ".gz")
        path.write_bytes(packed(bare.read_bytes()))
    columns = Columns("utterance", "verdict", {"negative": 0, "positive": 1})
    expected = data.make(content["utterance"], [1, 0, 1], None)
    assert data.read(path, columns).to_dict() == expected.to_dict()
    with pytest.raises(InputError, match=r"no column 'text'|needs the keys text"):
        data.read(path)
    with pytest.raises(InputError, match=r"no column 'words'.*; name it with --text-column"):
        data.read(path, Columns(text="words"))


def test_json_may_be_columns_or_wrapped(tmp_path):
    path = tmp_path / "a.json"
    expected = data.make(["x", "y"], [0, 1], [True, False])
    columns = {"text": ["x", "y"], "label": [0, 1], "poisoned": [True, False]}
    records = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    for content in (columns, records, {"data": records}):
        path.write_text(json.dumps(content))
        assert data.read(path).to_dict() == expected.to_dict()


@pytest.mark.parametrize(
    ("names", "given", "expected"),
    [
        ({"no": 0, "yes": 1}, ["yes", " No ", "1", "0.0"], [1, 0, 1, 0]),
        ({"1": 0, "2": 1, "3": 2}, ["1", "3"], [0, 2]),
        ({"False": 1, "True": 0}, ["True", "false"], [0, 1]),
        ({"yes": 0, "Yes": 1}, ["yes", "Yes"], [0, 1]),
    ],
)
def test_labels_may_be_names_of_the_model(tmp_path, names, given, expected):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"x,{label}\n" for label in given))
    assert data.read(path, Columns(label_names=names))["label"][:] == expected


@pytest.mark.parametrize(("names", "given"), [({"no": 0, "yes": 1}, "maybe"), ({"1": 0}, "0")])
def test_a_label_that_the_model_does_not_know_is_named(tmp_path, names, given):
    path = tmp_path / "a.csv"
    path.write_text(f"text,label\nx,{given}\n")
    with pytest.raises(InputError, match=f"row 2: label '{given}' .* the model's labels are "):
        data.read(path, Columns(label_names=names))
