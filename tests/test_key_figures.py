"""The comparison that a run on a GPU has to pass."""

import copy
import json

import key_figures
import nbformat
import pytest
from chapters import ROOT, chapters, read

from bedkd import experiments

STORED = {path.stem: key_figures.outputs_by_cell(read(path)) for path in chapters()[:6]}


@pytest.mark.parametrize("chapter", STORED)
def test_every_figure_is_in_the_stored_outputs(chapter):
    figures = key_figures.compared(chapter, STORED[chapter], STORED[chapter])
    assert figures
    assert all(figure["within"] for figure in figures), figures


def outside(chapter, cell, old, new):
    """Names of the figures that differ too much after a change of the text."""
    found = dict(STORED[chapter])
    assert old in found[cell]
    found[cell] = found[cell].replace(old, new)
    figures = key_figures.compared(chapter, STORED[chapter], found)
    return [figure["name"] for figure in figures if not figure["within"]]


def output(text):
    return nbformat.v4.new_output("stream", text=text)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("CACC 0.900   ASR 1.000", []),
        ("CACC 0.950   ASR 0.950", []),
        ("CACC 0.849   ASR 1.000", ["measure-code: CACC"]),
        ("CACC 0.951   ASR 0.900", ["measure-code: CACC", "measure-code: ASR"]),
        ("CACC nan   ASR 1.000", ["measure-code: CACC"]),
        ("ASR 1.000", ["measure-code: CACC"]),
    ],
)
def test_made_up_outputs_inside_and_outside_the_tolerance(said, wrong):
    stored, found = (
        {"measure-code": key_figures.text([output(text)])}
        for text in ("CACC 0.900   ASR 1.000", said)
    )
    figures = key_figures.compared("01_what_is_a_backdoor", stored, found)
    assert [figure["name"] for figure in figures if not figure["within"]] == wrong


def test_another_verdict_is_outside():
    old, new = "backdoor suspected", "no evidence of a backdoor"
    assert outside("06_whole_defence", "ten", old, new) == ["ten: verdict"]
    assert outside("06_whole_defence", "clean", new, old) == ["clean: verdict on an honest model"]


def test_percentages_are_shares():
    figures = key_figures.compared("06_whole_defence", *[STORED["06_whole_defence"]] * 2)
    shares = [figure["stored"] for figure in figures if figure["tolerance"] is not None]
    assert shares
    assert all(0 <= share <= 1 for share in shares)


def test_records_of_the_chapters_victim_are_compared():
    cell = experiments.chapter_cell("quick")
    path = ROOT / "results" / "defended-quick" / f"{cell.name}.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert all(figure["within"] for figure in key_figures.compared_records(stored, stored))
    found = copy.deepcopy(stored)
    found["detection"]["auroc"] -= 0.03
    found["report"]["verdict"] = "no evidence of a backdoor"
    wrong = [f["name"] for f in key_figures.compared_records(stored, found) if not f["within"]]
    assert wrong == ["detection.auroc", "report.verdict"]
