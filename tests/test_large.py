"""Sets too large for memory: read, scanned and resumed in parts, with the same result."""

import gzip
import hashlib
import json
from dataclasses import replace
from functools import partialmethod

import numpy as np
import pytest

from bedkd import data, purify
from bedkd.case import Case
from bedkd.data import rows as data_rows
from bedkd.detectors import Content, DirectionalMapping, TriggerProbe, Wording
from bedkd.errors import InputError
from bedkd.run import Run
from bedkd.training import batches
from bedkd.training.batches import EncodedTexts


@pytest.fixture
def parted(monkeypatch):
    """Scans of 37 rows at a time."""
    monkeypatch.setattr("bedkd.case.SCANNED", 37)


def again(case):
    """The same case with nothing computed yet."""
    return replace(case)


def test_a_set_is_read_in_parts_that_hold_every_row_once(case, parted):
    parts = case.scans
    assert [len(part) for part in parts[:-1]] == [37] * (len(parts) - 1)
    assert np.concatenate(parts).tolist() == list(range(len(case.untrusted)))
    whole = case.encoded_untrusted
    read = [ids.tolist() for part in parts for ids in case.read(part).ids]
    assert read == [ids.tolist() for ids in whole.ids]
    labels = np.concatenate([case.read(part).labels for part in parts])
    assert labels.tolist() == whole.labels.tolist()


def test_parts_change_neither_flags_nor_verdict_nor_repair(case, acting_preset, monkeypatch):
    whole = purify(case, acting_preset.detector, acting_preset.repair)
    monkeypatch.setattr("bedkd.case.SCANNED", 37)
    parts = purify(again(case), acting_preset.detector, acting_preset.repair)
    assert whole.detection.is_backdoored
    assert parts.detection.flagged.tolist() == whole.detection.flagged.tolist()
    assert parts.detection.scores == pytest.approx(whole.detection.scores, abs=1e-4)
    assert parts.repaired.rows.tolist() == whole.repaired.rows.tolist()
    assert parts.outcome.agreement == whole.outcome.agreement
    assert parts.case.cut_share == whole.case.cut_share


@pytest.mark.parametrize("detector", [Content(), Wording(min_seeds=2), TriggerProbe(rows=20)])
def test_single_evidence_is_the_same_in_parts(case, detector, monkeypatch):
    whole = detector.detect(case)
    monkeypatch.setattr("bedkd.case.SCANNED", 37)
    parts = detector.detect(again(case))
    assert parts.flagged.tolist() == whole.flagged.tolist()
    assert parts.scores == pytest.approx(whole.scores, abs=1e-4)


def mapped(case, run):
    return DirectionalMapping(epochs=1).map(case, run).untrusted.p_given


def content(case, run):
    return Content().detect(case, run).scores


@pytest.mark.parametrize(("work", "step"), [(mapped, "read"), (content, "embedded")])
def test_what_was_interrupted_goes_on_with_the_next_part(
    work, step, case, parted, tmp_path, monkeypatch
):
    whole = work(again(case), Run())
    run, asked, real = Run(tmp_path), [], getattr(Case, step)

    def watch(case, part, most=99):
        if len(asked) == most:
            raise KeyboardInterrupt
        asked.append(part[0])
        return real(case, part)

    monkeypatch.setattr(Case, step, partialmethod(watch, most=2))
    with pytest.raises(KeyboardInterrupt):
        work(again(case), run)
    assert asked == [0, 37]
    monkeypatch.setattr(Case, step, watch)
    rest = work(again(case), run)
    assert asked == [part[0] for part in case.scans]  # none of them twice
    assert np.array_equal(rest, whole)


def test_of_very_many_rows_a_classifier_learns_from_some(reviews_case, monkeypatch):
    """Which ones, their content decides, and not where they stand."""
    case, backwards = reviews_case(), np.arange(200)[::-1]
    turned = reviews_case(
        case.untrusted.select(backwards)["text"][:], case.labels[backwards].tolist()
    )
    assert case.some(np.arange(200)).tolist() == list(range(200))
    monkeypatch.setattr("bedkd.case.LEARNT", 30)
    few = case.some(np.arange(200))
    assert len(few) == 30
    assert few.tolist() == sorted(few)
    assert set((199 - turned.some(np.arange(200))).tolist()) == set(few.tolist())
    assert case.some(few[:20]).tolist() == few[:20].tolist()


def test_texts_are_tokenised_a_few_at_a_time(tokenizer, monkeypatch):
    texts = [f"word{i} good" for i in range(25)]
    whole = EncodedTexts(tokenizer, texts)
    monkeypatch.setattr(batches, "TOKENIZED", 4)
    parts = EncodedTexts(tokenizer, texts)
    assert [ids.tolist() for ids in parts.ids] == [ids.tolist() for ids in whole.ids]


def test_a_large_file_is_kept_on_disk_and_read_like_a_small_one(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv.gz"
    lines = ["text,label,poisoned", *(f'"film {i}, ""fine""",{i % 3},{i % 2}' for i in range(25))]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    small = data.read(path)
    monkeypatch.setattr("bedkd.data.formats.IN_MEMORY", 10)
    large = data.read(path)
    assert not small.cache_files
    assert large.cache_files
    assert large.features == small.features
    assert large.to_dict() == small.to_dict()
    assert data.fingerprint_rows(large) == data.fingerprint_rows(small)


def test_a_bad_row_far_down_is_named(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    path.write_text("text,label\n" + "film,0\n" * 25 + "film,what\n")
    monkeypatch.setattr("bedkd.data.formats.IN_MEMORY", 10)
    with pytest.raises(InputError, match=r"rows.csv, row 27: label 'what'"):
        data.read(path)


def test_what_is_wrong_with_the_source_is_not_blamed_on_the_disk(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv.gz"
    lines = [
        "text,label",
        *(f"film {i} {hashlib.md5(bytes([i])).hexdigest()},0" for i in range(99)),
    ]
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-300])
    monkeypatch.setattr("bedkd.data.formats.IN_MEMORY", 10)
    with pytest.raises(InputError, match="not packed by gzip, or cut short"):
        data.read(path)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    class Full:
        name = str(tmp_path / "missing")

    monkeypatch.setattr(data_rows, "_temporary_folder", lambda: Full)
    parts = [(["a"], [0], [None]), (["b"], [1], [None])]
    with pytest.raises(InputError, match="cannot be written"):
        data_rows.make_large(iter(parts))


def test_the_hash_of_rows_is_that_of_their_json():
    rows = data.make(['a "fine"\nfilm', "caf\N{LATIN SMALL LETTER E WITH ACUTE}"], [1, 0], None)
    content = json.dumps([rows["text"][:], [1, 0]])
    assert data.fingerprint_rows(rows) == hashlib.sha256(content.encode()).hexdigest()
