"""Data sets by name, their places and their checksums."""

import datasets
import pytest
from datasets import Dataset, DatasetDict

from bedkd import data
from bedkd.errors import InputError
from bedkd.files import sha256


def test_embedded_task_has_the_sizes_asked_for():
    splits = data.load("topics", seed=2, train=40, dev=8, test=12)
    assert {k: len(v) for k, v in splits.items()} == {"train": 40, "dev": 8, "test": 12}
    assert set(splits["train"]["label"]) == {0, 1, 2, 3}
    assert not any(splits["train"]["poisoned"])
    assert (
        splits["dev"].to_dict()
        == data.load("topics", seed=2, train=4, dev=8, test=4)["dev"].to_dict()
    )


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
    assert splits["dev"].to_dict() == data.load("agnews", seed=3)["dev"].to_dict()
    assert splits["dev"].to_dict() != data.load("agnews", seed=4)["dev"].to_dict()
    where = {record["name"]: record["from"] for record in data.available()}
    assert where["agnews"] == "BEDKD_DATA_DIR"
    assert where["sst2"].startswith("hub stanfordnlp/sst2@")
    assert where["reviews"] == "embedded"


def test_stored_data_are_cut_to_at_most_the_size_asked_for(local_agnews):
    whole, cut = data.load("agnews", seed=3), data.load("agnews", seed=3, test=4, train=99)
    assert cut["train"].to_dict() == whole["train"].to_dict()
    assert len(cut["test"]) == 4
    places = [list(whole["test"]["text"]).index(text) for text in cut["test"]["text"]]
    assert places == sorted(set(places))
    assert cut["test"].to_dict() == data.load("agnews", seed=3, test=4)["test"].to_dict()
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


def saved_rows(labels, **columns):
    texts = [f"row {i}" for i in range(len(labels))]
    return Dataset.from_dict({"sentence": texts, "label": labels, **columns})


def test_a_saved_folder_of_splits_is_loaded(tmp_path):
    splits = DatasetDict(
        {
            "train": saved_rows([0, 1, 1], poisoned=[False, True, None]).with_format("numpy"),
            "validation": saved_rows([1]),
            "test-clean": saved_rows([0, 1]),
            "test": saved_rows([-1, -1]),
            "unsupervised": saved_rows([7]),
        }
    )
    splits.save_to_disk(tmp_path / "saved")
    loaded = data.load(tmp_path / "saved")
    assert {k: list(v["label"]) for k, v in loaded.items()} == {
        "train": [0, 1, 1],
        "dev": [1],
        "test-clean": [0, 1],
    }
    assert loaded["train"].to_dict()["poisoned"] == [False, True, None]
    assert loaded["train"].features == data.FEATURES


def test_a_saved_data_set_is_loaded_as_train(tmp_path):
    saved_rows([0, 1]).save_to_disk(tmp_path / "saved")
    loaded = data.load(tmp_path / "saved", train=1)
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (saved_rows([0, -1]), "split train, row 1: label -1"),
        (saved_rows(["good"]), "split train, row 0: label 'good'"),
        (Dataset.from_dict({"words": ["a"], "label": [0]}), "no column 'text'"),
        (saved_rows([-1]), "no train, dev or test split with labels"),
    ],
)
def test_a_saved_row_that_cannot_be_used_is_named(tmp_path, rows, message):
    rows.save_to_disk(tmp_path / "saved")
    with pytest.raises(InputError, match=f"saved.*{message}"):
        data.load(tmp_path / "saved")


def test_a_damaged_saved_folder_is_named(tmp_path):
    saved_rows([0, 1]).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("*.arrow")).write_bytes(b"not arrow")
    with pytest.raises(InputError, match="saved: a folder of save_to_disk that cannot be loaded"):
        data.load(tmp_path / "saved")


def test_a_row_of_the_hub_that_cannot_be_used_is_named(hub):
    _, content = hub
    content["me/mine"] = DatasetDict(train=saved_rows(["good", "bad"]))
    with pytest.raises(InputError, match="me/mine, split train, row 0: label 'good'"):
        data.load("me/mine")


def test_hidden_labels_of_the_hub_are_left_out(hub):
    _, content = hub
    content["me/mine"] = DatasetDict(
        train=saved_rows([0, 1]), dev=saved_rows([1]), test=saved_rows([-1])
    )
    assert sorted(data.load("me/mine")) == ["dev", "train"]


def test_names_of_a_saved_folder_are_not_the_models_numbers(tmp_path):
    """What one program calls class 0 may be class 1 of the model; the names decide."""
    features = datasets.Features(
        {"body": datasets.Value("string"), "stars": datasets.ClassLabel(names=["good", "bad"])}
    )
    rows = Dataset.from_dict({"body": ["x", "y"], "stars": [0, 1]}, features=features)
    rows.save_to_disk(tmp_path / "saved")
    known = data.Columns("body", "stars", {"bad": 0, "good": 1})
    assert data.load(tmp_path / "saved", columns=known)["train"]["label"][:] == [1, 0]
    unknown = data.Columns("body", "stars")
    assert data.load(tmp_path / "saved", columns=unknown)["train"]["label"][:] == [0, 1]
