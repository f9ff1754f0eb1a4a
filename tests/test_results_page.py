"""The results page says what the results files say, and every file carries its provenance."""

import json

import pytest
import results_page
from chapters import ROOT

FILES = sorted((ROOT / "results").rglob("*.json"))
SHARES = ("cacc", "asr", "racc", "cacc_reference", "asr_floor", "racc_ceiling")


def test_the_page_is_what_the_results_say():
    assert results_page.PAGE.read_text(encoding="utf-8") == results_page.page(), "make results"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_result_has_its_provenance(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in ("command", "versions", "device", "date", "backbone"):
        assert record[key], key
    assert record["seed"] == record["cell"]["seed"]
    for stage in {"undefended", "defended"} & record.keys():
        for key in SHARES:
            share = record[stage][key]
            assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1
            assert share["n"] > 0


@pytest.mark.parametrize(
    ("values", "text"), [([0.5], "50.0"), ([0.4, 0.6], "50.0 ± 14.1"), ([None], "–"), ([], "–")]
)
def test_means_and_spreads(values, text):
    assert results_page.cell_text(values) == text
