"""Reading, writing and naming of data sets."""

import csv
from itertools import product

import datasets
import pytest
from datasets import Dataset, DatasetDict

from bedkd import data
from bedkd.errors import InputError
from bedkd.files import sha256

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


def same(one, two):
    return all(list(one[c]) == list(two[c]) for c in ("text", "label", "poisoned"))


@pytest.mark.parametrize(
    ("suffix", "flags"), [*product(("csv", "jsonl"), (True, False, None)), ("tsv", None)]
)
def test_what_is_written_is_read_back(tmp_path, suffix, flags):
    texts = [
        t for t in AWKWARD if suffix != "tsv" or (not set(t) & set("\t\r\n") and t == t.strip())
    ]
    rows = data.make(texts, [i % 3 for i in range(len(texts))], flags)
    path = data.write(rows, tmp_path / f"rows.{suffix}")
    assert same(data.read(path), rows)


def test_mixed_flags_survive(tmp_path):
    rows = data.make(["a", "b", "c"], [0, 1, 0], [True, False, None])
    for suffix in ("csv", "jsonl"):
        assert same(data.read(data.write(rows, tmp_path / f"rows.{suffix}")), rows)


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
    assert same(data.read(path), data.make(["x y", "z"], [0, 1], None))


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


def test_embedded_task_has_the_sizes_asked_for():
    splits = data.load("topics", seed=2, train=40, dev=8, test=12)
    assert {k: len(v) for k, v in splits.items()} == {"train": 40, "dev": 8, "test": 12}
    assert set(splits["train"]["label"]) == {0, 1, 2, 3}
    assert not any(splits["train"]["poisoned"])
    assert same(splits["dev"], data.load("topics", seed=2, train=4, dev=8, test=4)["dev"])


@pytest.fixture
def no_files(monkeypatch):
    monkeypatch.delenv("BEDKD_DATA_DIR", raising=False)


@pytest.fixture
def hub(monkeypatch, no_files):
    """A hub that holds what the test puts into it, and remembers what it was asked for."""
    asked, content = [], {}

    def load_dataset(identifier, config=None, *, revision=None, **rest):
        asked.append((identifier, config, revision, rest))
        if identifier not in content:
            raise ConnectionError("no network\nand more")
        return content[identifier]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked, content


def hub_rows(count):
    return Dataset.from_dict({"sentence": [f"row {i}" for i in range(count)], "label": [0] * count})


def test_named_set_comes_from_the_hub_at_its_pinned_revision(hub):
    asked, content = hub
    content["stanfordnlp/sst2"] = DatasetDict(train=hub_rows(60), validation=hub_rows(5))
    splits = data.load("sst2")
    revision = data.SOURCES["sst2"].revision
    assert asked == [("stanfordnlp/sst2", None, revision, {})]
    assert {k: len(v) for k, v in splits.items()} == {"train": 50, "dev": 10, "test": 5}
    assert not set(splits["train"]["text"]) & set(splits["dev"]["text"])


def test_every_hub_source_is_pinned_to_a_commit():
    pinned = [source.revision for source in data.SOURCES.values() if source.hub]
    assert pinned
    assert all(len(r) == 40 and set(r) <= set("0123456789abcdef") for r in pinned)


def test_hub_id_with_a_revision(hub):
    asked, content = hub
    content["me/mine"] = DatasetDict(train=hub_rows(4), dev=hub_rows(2), test=hub_rows(3))
    assert {k: len(v) for k, v in data.load("me/mine@abc").items()} == {
        "train": 4,
        "dev": 2,
        "test": 3,
    }
    assert asked[0][2] == "abc"


@pytest.mark.parametrize("name", sorted(data.SOURCES))
def test_where_nothing_is_there_the_error_says_what_to_do(hub, name):
    with pytest.raises(InputError) as error:
        data.load(name)
    message = str(error.value)
    assert all(word in message for word in ("BEDKD_DATA_DIR", "reviews", f"data {name}"))
    assert "\n" not in message
    if data.SOURCES[name].hub:
        assert "no network" in message


def test_unknown_name(no_files):
    with pytest.raises(InputError, match=r"data sst3: no such file.*sst2.*reviews"):
        data.load("sst3")


@pytest.fixture
def local_agnews(tmp_path, monkeypatch):
    """A data folder that holds one named set, flagged as released files are."""
    for split, count in (("train", 24), ("test", 6)):
        rows = data.make(
            [f"{split} {i}" for i in range(count)], [i % 4 for i in range(count)], True
        )
        data.write(rows, tmp_path / data.SOURCES["agnews"].local[split])
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    return tmp_path


def test_local_files_come_first_and_dev_is_cut_from_train(local_agnews):
    splits = data.load("agnews", seed=3)
    assert {k: len(v) for k, v in splits.items()} == {"train": 20, "dev": 4, "test": 6}
    assert len({*splits["train"]["text"], *splits["dev"]["text"]}) == 24
    assert not any(splits["train"]["poisoned"])
    assert same(splits["dev"], data.load("agnews", seed=3)["dev"])
    assert not same(splits["dev"], data.load("agnews", seed=4)["dev"])
    where = {record["name"]: record["from"] for record in data.available()}
    assert where["agnews"] == "BEDKD_DATA_DIR"
    assert where["sst2"].startswith("hub stanfordnlp/sst2@")
    assert where["reviews"] == "embedded"


def test_stored_data_are_cut_to_at_most_the_size_asked_for(local_agnews):
    whole, cut = data.load("agnews", seed=3), data.load("agnews", seed=3, test=4, train=99)
    assert same(cut["train"], whole["train"])
    assert len(cut["test"]) == 4
    places = [list(whole["test"]["text"]).index(text) for text in cut["test"]["text"]]
    assert places == sorted(set(places))
    assert same(cut["test"], data.load("agnews", seed=3, test=4)["test"])
    draws = {tuple(data.load("agnews", seed=s, test=3)["test"]["text"]) for s in range(9)}
    assert len(draws) > 1
    with pytest.raises(InputError, match="no split 'valid'"):
        data.load("agnews", valid=3)


def test_check_tells_intact_from_changed_and_missing(local_agnews):
    files = sorted(path for path in local_agnews.rglob("*.csv"))
    lines = [f"{sha256(path)}  {path.relative_to(local_agnews)}" for path in files]
    (local_agnews / "SHA256SUMS").write_text("\n".join([*lines, f"{'0' * 64}  gone.csv"]) + "\n")
    files[0].write_text("changed")
    assert [record["state"] for record in data.check()] == ["changed", "ok", "missing"]


def test_check_without_a_folder_or_a_list(no_files, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="BEDKD_DATA_DIR is not set"):
        data.check()
    monkeypatch.setenv("BEDKD_DATA_DIR", str(tmp_path))
    with pytest.raises(InputError, match="SHA256SUMS: missing"):
        data.check()


def test_balanced_split(toy):
    rows = toy.rows(40, classes=4)
    drawn, rest = data.balanced_split(rows, 3, seed=1)
    assert sorted(drawn["label"]) == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert {*drawn["text"], *rest["text"]} == set(rows["text"])
    assert len(drawn) + len(rest) == 40
    assert list(drawn["text"]) == [t for t in rows["text"] if t in set(drawn["text"])]
    assert same(drawn, data.balanced_split(rows, 3, seed=1)[0])
    assert not same(drawn, data.balanced_split(rows, 3, seed=2)[0])
    with pytest.raises(InputError, match="label 0: 10 rows, 11 asked for"):
        data.balanced_split(rows, 11, seed=1)


def test_number_of_labels(toy):
    assert data.num_labels(toy.rows(8), toy.rows(8, classes=4)) == 4
    assert data.num_labels(data.make(["a"], [0], None)) == 2


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("@USER @USER a film -LRB- of sorts -RRB-", "A film (of sorts)"),
        ("it 's  good .", "It's good."),
        ("this is n't it , we 'll see", "This isn't it, we'll see"),
        ("fish &amp; chips URL", "Fish & chips"),
        ("“so‘ it’s", "\"so' it's"),
        ("", "  "),
    ],
)
def test_normalising_makes_the_traces_of_a_corpus_equal(one, two):
    assert data.normalise(one) == data.normalise(two)
    assert data.normalise(data.normalise(one)) == data.normalise(one)


def test_normalising_keeps_words_apart_and_labels(toy):
    assert data.normalise("A user's curl, 日本") == "a user ' s curl , 日本"
    rows = data.make(["Yes @USER"], [1], True)
    assert same(data.normalised(rows), data.make(["yes"], [1], True))
