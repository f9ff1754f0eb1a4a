"""The results page says what the results files say, and every file carries its provenance."""

import json

import comparison_page
import default_choices
import ledger_page
import performance_page
import pytest
import results_page
import status_page
from chapters import ROOT

from bedkd.files import read_json
from bedkd.presets import PRESETS
from bedkd.purify import settings as purify_settings

FILES = [
    p
    for p in sorted((ROOT / "results").rglob("*.json"))
    if p.parent.name not in ("status", "checks", "decoders")
]
SHARES = ("cacc", "asr", "racc", "cacc_reference", "asr_floor", "racc_ceiling")


@pytest.mark.parametrize(
    "maker",
    [results_page, ledger_page, comparison_page, performance_page, status_page],
    ids=lambda maker: maker.__name__,
)
def test_the_page_is_what_the_results_say(maker):
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page(), "make results"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_result_has_its_provenance(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    for key in ("command", "versions", "device", "date", "backbone"):
        assert record[key], key
    if path.parent.name != "performance":  # some of what is timed there is no cell
        assert record["seed"] == record["cell"]["seed"]
    if path.parent.name.startswith("clean-"):
        assert record["report"]["changed"] == (record["report"]["verdict"] == "backdoor suspected")
        assert record["cacc_before"]["n"] == record["cacc_after"]["n"] > 0
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


def defended(seed, asr, floor, attack="badnets"):
    """A record of a defended cell, as far as the ledger reads it."""
    return {
        "cell": {
            "dataset": "sst2",
            "attack": attack,
            "seed": seed,
            "rate": 0.2,
            "normalise": False,
        },
        "defended": {"asr": {"value": asr}, "asr_floor": {"value": floor}},
    }


def test_a_limit_on_the_mean_and_one_on_each_cell():
    records = [defended(0, 0.11, 0.10), defended(1, 0.25, 0.10)]
    mean, each = (
        limit
        for limit in ledger_page.LIMITS
        if limit.text.startswith("ASR above its floor") and not limit.at_least
    )
    assert mean.measured(records) == ("8.0 ± 9.9", False)
    assert mean.measured(records[:1]) == ("1.0", True)
    assert each.measured(records) == ("15.0 (SST-2 BadNets, seed 1)", False)
    assert each.measured([]) == ("–", None)


def test_cells_without_rows_of_the_target_class_are_left_out_of_its_limit():
    record = defended(0, 0.1, 0.1)
    record["task"] = {"target": 1}
    record["defended"] |= {"racc_by_class": {"0": {"value": 1}}, "racc_ceiling_by_class": {}}
    assert ledger_page.LIMITS[-1].measured([record]) == ("–", None)


def test_the_ledger_counts_or_names_every_cell_on_real_data():
    records = [
        r for r in results_page.load("defended-default") if r["cell"]["dataset"] != "reviews"
    ]
    counted, outside = ledger_page.cells("default"), ledger_page.outside()
    assert any(r["cell"]["attack"] == "mixed" for r in counted)
    for record in records:
        rate = f"{ledger_page.name(record)} with rate {record['cell']['rate']:g}"
        assert (record in counted) != (rate in outside)


@pytest.mark.parametrize("preset", ["default", "cycles", "paper"])
def test_stored_cells_were_measured_with_the_settings_that_the_preset_has(preset):
    for record in results_page.load(f"defended-{preset}"):
        assert results_page.up_to_date(record), ledger_page.name(record)


def test_forecasts_are_scored_over_poisoned_and_honest_models(monkeypatch):
    def judged(p, changed):
        return {"cell": {"dataset": "sst2"}, "report": {"p_value": p, "changed": changed}}

    poisoned = [judged(0.1, True), judged(0.4, False), judged(0.2, True), judged(None, False)]
    monkeypatch.setattr(ledger_page, "load", lambda stage: poisoned)
    said = ledger_page.forecasts([judged(0.8, False)])
    assert "Of 5 verdicts on real data, at all poison rates, 4 have a p-value" in said
    assert f"score of {(0.01 + 0.16 + 0.04 + 0.04) / 4:.3f} " in said
    assert f"read as certain, have {1 / 4:.3f}" in said
    assert f"poisoned models has {(3 * 0.0625 + 0.5625) / 4:.3f}" in said


def test_settings_of_a_repair_count_only_where_something_was_repaired():
    today = purify_settings(*PRESETS["cycles"]())
    detector, repair = today["detector"], today["repair"]

    def fresh(changed, **other):
        found = {"changed": changed, "settings": today | other}
        return results_page.up_to_date({"preset": "cycles", "report": found})

    assert fresh(True)
    assert not fresh(True, repair=repair | {"cycles": 5})
    assert fresh(False, repair=repair | {"cycles": 5})
    assert not fresh(False, detector=detector | {"fdr": 0.5})


def test_means_over_different_cells_come_with_a_warning(monkeypatch):
    both = [defended(0, 0.1, 0.1), defended(1, 0.1, 0.1)]
    found = {"default": both[:1], "cycles": both, "paper": both}
    monkeypatch.setattr(ledger_page, "cells", found.get)
    assert ledger_page.unequal().startswith("`default` has been measured on 1 of the 2 cells")
    assert "`cycles`" not in ledger_page.unequal()
    monkeypatch.setattr(ledger_page, "cells", lambda preset: both)
    assert ledger_page.unequal() == ""


def test_what_stands_behind_the_means_is_what_the_ledger_says():
    found = ledger_page.cells("default")
    far = [r["cell"]["attack"] for r in sorted(found, key=ledger_page.above_floor)[:3]]
    assert (far[0], far[1:]) == ("synbkd", ["addsent"] * 2)
    least = min(found, key=lambda r: ledger_page.target_class(r) or 0)
    assert ledger_page.name(least) == "SST-2 LLM rewrite (BGM-like), seed 1"
    assert -8 < ledger_page.target_class(least) < -7
    for preset in ("default", "cycles"):
        losses = [ledger_page.loss(r) for r in ledger_page.cells(preset)]
        assert sum(lost < 0 for lost in losses) > 0.6 * len(losses)
    (style,) = (
        r
        for r in found
        if (r["cell"]["dataset"], r["cell"]["attack"]) == ("agnews_lower", "stylebkd")
    )
    assert style["mapping_auroc"] < 0.65 < 0.95 < style["detection"]["auroc"]


def test_normalised_text_is_named_and_not_counted_twice():
    cell = defended(0, 0.1, 0.1)["cell"]
    assert ledger_page.counts(cell)
    cell["normalise"] = True
    assert not ledger_page.counts(cell)
    assert ledger_page.name({"cell": cell}) == "SST-2 BadNets, normalised text, seed 0"


def test_conditions_are_in_the_order_of_their_values():
    def record(**conditions):
        return {"cell": {"dataset": "sst2", "attack": "badnets"}, "conditions": conditions}

    runs = [record(trusted_rows=n, max_suspects=None) for n in (10, 160, 20)]
    runs.append(record(max_suspects=4))
    ordered = [results_page.changed_text(r) for r in sorted(runs, key=results_page.condition)]
    expected = [f"trusted rows {n}" for n in (10, 20, 160)]
    assert ordered == ["max suspects 4", *expected]


def test_both_presets_were_judged_on_the_same_victims():
    ours, paper = (
        {ledger_page.name(r): r for r in ledger_page.cells(p)} for p in ("cycles", "paper")
    )
    assert ours.keys() == paper.keys()
    for name, record in ours.items():
        assert record["undefended"] == paper[name]["undefended"], name


def test_a_run_on_a_gpu_is_on_the_status_page():
    figures = [{"within": True}, {"within": False}]
    run = {
        "device": "Some card",
        "precision": "bf16",
        "date": "2030-01-02 03:04 UTC",
        "versions": {"torch": "9.9", "bedkd": "0.1.0"},
        "measured": {"seconds": 5.5, "figures": figures},
        "chapters": {"01_what_is_a_backdoor": {"seconds": 7.0, "figures": figures[:1]}},
    }
    said = status_page.runs([run])
    assert "Some card, bf16, torch 9.9, 2030-01-02" in said
    assert "| chapter 01 | 7 | 1 of 1 |" in said
    assert "| 6 | 1 of 2 |" in said
    assert "owed" in status_page.runs([])


def test_seconds_of_chapters_are_on_the_status_page():
    run = {"device": "Some CPU", "cores": 2, "profile": "quick", "date": "2030-01-02 03:04 UTC"}
    run |= {"whole": 90.0, "chapters": {"02_poisoning": {"seconds": 31.4}}}
    other = run | {"profile": "full", "chapters": {"01_what": {"seconds": 7.0}}}
    said = status_page.times([run, other])
    assert "| 1 what |  | 7 |\n| 2 poisoning | 31 |  |" in said
    assert "1. quick profile, Some CPU, 2 cores, 2030-01-02: 1.5 minutes for all" in said
    assert "owed" in status_page.runs([run])
    assert "Not timed yet" in status_page.times([])


def test_clean_environments_are_on_the_status_page():
    chapters = {
        "01": {"passed": True, "says": ["quick profile on cpu", "2 sentences do not fit"]},
        "02": {"passed": False, "says": []},
    }
    versions = {"torch": "2.6.0", "transformers": "5.0.0"}
    colab = {"set": "oldest", "installed_from": "whl", "versions": versions, "chapters": chapters}
    full = {"chapters": {"01": {"problem": None, "sentences_that_do_not_fit": 3}}}
    said = status_page.elsewhere([colab, full])
    line = "| oldest, from a whl: torch 2.6.0, transformers 5.0.0 | 1 of 2 | 2 |"
    assert f"{line}\n| full profile, stand-ins | 1 of 1 | 3 |" in said


def planted(asr, racc, seconds):
    """A defended cell as far as the comparison reads it; floor 10 %, ceiling 90 %."""
    shares = {"asr": asr, "asr_floor": 0.1, "racc": racc, "racc_ceiling": 0.9}
    shares |= {"cacc": 0.85, "cacc_reference": 0.86}
    after = {key: {"value": value} for key, value in shares.items()}
    after |= {"racc_by_class": {"1": {"value": racc}}, "racc_ceiling_by_class": {}}
    report = {"flagged": 40, "cpu_seconds": {"repair": seconds}, "repair_history": [{}]}
    cell = {"dataset": "sst2", "attack": "badnets", "seed": 0, "rate": 0.2}
    found = {"precision": {"value": 0.875}}
    said = {"cell": cell, "defended": after, "report": report, "detection": found}
    return {**said, "task": {"target": 1}}


def test_the_comparison_measures_every_method_against_retraining(monkeypatch):
    runs = {
        "defended-default": [planted(0.16, 0.84, 50.0)],
        "defended-retrain": [planted(0.12, 0.86, 200.0)],
        "defended-rga": [],
    }
    monkeypatch.setattr(comparison_page, "load", lambda stage, folder=None: runs.get(stage, []))
    cells = comparison_page.compared()
    assert list(cells) == ["SST-2, BadNets, seed 0"]
    rows = [line.split("|")[1:-1] for line in comparison_page.summary(cells).splitlines()[4:-1]]
    found = [[entry.strip() for entry in row] for row in rows]
    assert found == [
        ["retrain", "6.0", "2.0", "4.0", "0.0", "0.0", "200", "100 %"],
        ["**default**", "12.0", "6.0", "6.0", "-2.0", "0.0", "50", "25 %"],
    ]
    row = comparison_page.repair_row("default", runs["defended-default"][0])
    assert row[1:5] == ["16.0 (10.0)", "84.0 (90.0)", "–", "85.0 (86.0)"]
    assert row[5:] == ["–", "50", "–"]


def test_the_passes_bear_out_what_the_comparison_says_of_them():
    runs = {
        (r["seed"], r["later"]): r
        for r in read_json(default_choices.CHECKS / "passes.json")["runs"]
    }
    ways = {way for _, way in runs}
    whole, half, quarter = "all again", "half of all clean rows", "a quarter of them"
    assert ways == {whole, half, quarter, "the default's"}
    for seed in {seed for seed, _ in runs}:
        given = {
            way: [past["flagged_given_label"] for past in runs[seed, way]["passes"]] for way in ways
        }
        expected = runs[seed, whole]["passes"][0]["expected_rate"]
        assert all(rates[0] > expected + 0.2 for rates in given.values())  # one is not enough
        ours, seconds = given["the default's"], {w: runs[seed, w]["cpu_seconds"] for w in ways}
        assert ours[1] < given[whole][1] - 0.1
        assert seconds["the default's"] < 0.9 * seconds[whole]
        assert given[half][1] > expected + 0.15 > given[half][2]
        assert given[quarter][1] < expected + 0.05
        for kind in ("flagged", "clean"):
            kept = {way: runs[seed, way]["spans"][f"{kind}_in_target"] for way in ways}
            assert kept[quarter] < min(kept[way] for way in ways - {quarter}) - 0.1


def test_a_later_pass_leads_too_far_and_the_student_goes_less_far():
    ways = read_json(default_choices.CHECKS / "passes.json")["ways"]
    assert {(way["attack"], way["seed"]) for way in ways} == {("synbkd", 1), ("llm", 1)}
    for way in ways:
        last, aim = way["passes"][-1], way["passes"][-1]["expected_rate"] + 0.05
        assert last["flagged_given_label"] < way["kept_given_label"] <= aim
        assert way["passes"][-2]["flagged_given_label"] > aim
        assert way["kept_share"] == 0.25
        more = {
            name: way[name]["flagged_in_others"] - way[name]["clean_in_others"]
            for name in ("spans", "spans_whole")
        }
        assert more["spans"] > 0
        assert (more["spans_whole"] < 0) == (way["attack"] == "synbkd")


def test_words_in_half_of_the_presumed_clean_rows_do_what_the_comparison_says():
    runs = {
        (r["cell"], r["share"]): r
        for r in read_json(default_choices.CHECKS / "planted.json")["runs"]
    }
    cells = {name for name, _ in runs}
    insertions = {name for name in cells if "llm" not in name}
    assert (len(cells), len(insertions)) == (4, 3)

    def lost(name, share):
        return runs[name, share]["own_bare"]["value"] - runs[name, share]["own_after"]["value"]

    def above(name, share):
        run = runs[name, share]
        return run["flagged_given_label"] - run["expected_rate"]

    for name in insertions:
        assert lost(name, 0.0) > 0.09 > 0.07 > lost(name, 0.5)
        assert abs(above(name, 0.5)) < 0.06
    assert all(above(name, 0.5) > 0.05 for name in cells - insertions)


def test_what_a_default_misses_comes_first(monkeypatch):
    records = {"default": planted(0.1, 0.9, 50.0), "retrain": planted(0.1, 0.9, 200.0)}
    # A cell that no rival was measured on counts, too, and one of another rate does not.
    alone, rare = planted(0.17, 0.9, 50.0), planted(0.9, 0.9, 50.0)
    rare["cell"] = {**rare["cell"], "rate": 0.01}
    runs = [records["default"], alone, rare]
    monkeypatch.setattr(comparison_page, "load", lambda stage, folder=None: runs)
    lines = comparison_page.asked({"a cell": records}).splitlines()
    assert "25 % of drop-and-retrain's seconds with 1 pass (cells: 1)" in " ".join(lines)
    rows = [[entry.strip() for entry in line.split("|")[1:-1]] for line in lines if "≤" in line]
    missed = [row for row in rows if row[3] == "**no**"]
    assert (
        rows[:4]
        == missed
        == [
            ["ASR above its floor, mean", "≤ 2", "3.5", "**no**"],
            ["ASR above its floor, worst cell", "≤ 6", "7.0", "**no**"],
            ["clean rows among the flagged, %, mean", "≤ 5", "12.5", "**no**"],
            ["clean rows among the flagged, %, worst cell", "≤ 8", "12.5", "**no**"],
        ]
    )


def test_who_wins_is_who_ends_nearest_on_either_side_of_the_floor(monkeypatch):
    runs = {
        "defended-default": [planted(0.13, 0.88, 50.0)],
        "defended-retrain": [planted(0.10, 0.86, 200.0)],
        "defended-rga": [planted(0.01, 0.90, 90.0)],
    }
    monkeypatch.setattr(comparison_page, "load", lambda stage, folder=None: runs.get(stage, []))
    line = "| SST-2, BadNets, seed 0 | 3 | retrain | 4.0 | 5.0 | 4.0 |"
    assert line in comparison_page.nearest(comparison_page.compared())


def test_a_repair_that_met_another_victim_is_named(monkeypatch):
    records = {name: planted(0.1, 0.9, 50.0) for name in ("retrain", "nad")}
    for record in records.values():
        record["undefended"] = record["defended"]
        record["detection"]["recall"] = {"value": 0.5}
    assert "earlier victim" not in comparison_page.each({"a cell": records}, "###")
    records["nad"]["defended"]["asr_floor"] = {"value": 0.2}
    said = comparison_page.each({"a cell": records}, "###")
    assert "on an earlier victim of the same settings: `nad`." in said


def test_a_cell_without_its_yardstick_is_not_compared(monkeypatch):
    runs = {"defended-default": [planted(0.16, 0.84, 50.0)]}
    monkeypatch.setattr(comparison_page, "load", lambda stage, folder=None: runs.get(stage, []))
    assert comparison_page.compared() == {}


def test_seconds_are_compared_with_those_of_the_same_turn():
    """Twice as slow a machine in the second turn changes nothing of the ratios."""
    after = {"asr": 0.2, "racc": 0.8, "cacc": 0.9}

    def runs(way, *seconds):
        parts = {"detection": 1.0, "repair": 2.0, "outcome": 3.0} if way == "default" else {}
        common = {"way": way, "parts": parts, "after": after}
        return [{**common, "repeat": k, "cpu_seconds": s} for k, s in enumerate(seconds)]

    before = dict.fromkeys(("asr_floor", "racc_ceiling", "cacc_reference"), 0.5) | after
    record = {"cell": {"dataset": "sst2", "attack": "badnets"}, "seed": 0, "device": "a core"}
    record |= {"command": "x", "victim": before}
    record["runs"] = runs("released", 80.0, 160.0) + runs("default", 10.0, 20.0)
    lines = performance_page.speed(record).splitlines()
    rows = [[entry.strip() for entry in line.split("|")[1:-1]] for line in lines[4:7]]
    assert rows[0][1:4] == ["120 ± 57", "–", "1.0 ± 0.0"]
    assert rows[1][1:4] == ["15 ± 7", "1 ± 0 + 2 ± 0 + 3 ± 0", "8.0 ± 0.0"]
    assert rows[1][4:] == ["20.0 ± 0.0", "80.0 ± 0.0", "90.0 ± 0.0"]
    assert rows[2][4:] == ["20.0 (50.0)", "80.0 (50.0)", "90.0 (50.0)"]


def test_growth_is_the_slope_beyond_what_every_run_takes():
    def runs(key, sizes, seconds):
        return [{key: n, "cpu_seconds": s} for n, s in zip(sizes, seconds, strict=True)]

    rows = runs("rows", (1, 10, 100, 1000), (5.0, 7.0, 25.0, 205.0))
    assert performance_page.slope(rows, "rows", 5.0) == pytest.approx(1.0)
    squares = runs("tokens", (1, 2, 4), (3.0, 12.0, 48.0))
    assert performance_page.slope(squares, "tokens", 0.0) == pytest.approx(2.0)
    assert performance_page.slope(rows[:2], "rows", 5.0) is None


def test_a_resumed_run_with_other_bytes_is_called_so():
    run = {"rows": 1_000_000, "parts_before_the_kill": 10, "same_bytes": False}
    run |= {name: {"cpu_seconds": 2.0} for name in ("whole", "killed", "rest")}
    text = performance_page.growth_section({"resume": {"runs": [run]}})
    assert "were NOT those of a run" in " ".join(text.split())


def test_long_documents_are_found_and_repaired_as_the_page_says():
    path = ROOT / "results" / "checks" / "long-documents.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    page = " ".join((ROOT / "book" / "mended.md").read_text(encoding="utf-8").split())

    def shares(result, *keys):
        return [f"{100 * result[key]['value']:.1f}" for key in keys]

    before = shares(found["before"], "asr", "asr_floor", "racc", "racc_ceiling")
    start = "ASR {} % (floor {}) and RACC {} % (ceiling {}) before, ".format(*before)
    for preset, said in (("quick", start), ("default", "With `cycles`: ")):
        done, after = found[preset]["purify"], found[preset]["after"]
        assert done["verdict"] == "backdoor suspected"
        assert done["outcome"]["reached"]
        assert "{}{} % and {} % after".format(said, *shares(after, "asr", "racc")) in page
        assert after["asr"]["low"] < after["asr_floor"]["high"]  # within chance
    assert round(100 * found["default"]["after"]["asr_floor"]["value"]) == 1
    done = found["default"]["purify"]
    cycles, minutes = len(done["repair_history"]), done["cpu_seconds"]["repair"] / 60
    assert f"all of its {cycles} cycles, {minutes:.0f} minutes of processor time" in page
    assert done["settings"]["repair"]["cycles"] == cycles
    assert found["read at 128"]["verdict"] == "cannot tell"


@pytest.mark.parametrize(("factor", "met"), [(9.0, "yes"), (7.0, "**no**")])
@pytest.mark.parametrize(("racc", "turned"), [(0.5, True), (0.8, False)])
def test_ratios_stand_against_what_was_asked(factor, met, racc, turned):
    """And the page says that the trigger is turned round only where it is."""

    def run(way, seconds):
        parts = {} if way == "released" else {"detection": 60, "repair": 30, "outcome": 10}
        after = {"asr": 0.01, "racc": racc, "cacc": 0.9}
        return {"way": way, "repeat": 0, "cpu_seconds": seconds, "parts": parts, "after": after}

    ways = [run("released", 100 * factor), run("paper", 100 * factor), run("default", 100)]
    text = performance_page.together([{"runs": ways, "victim": {"asr_floor": 0.1}}])
    line = next(
        line for line in text.splitlines() if line.startswith("| `default` | the recipe as")
    )
    assert line.endswith(f"| {factor} ({factor}) | 8 | {met} |")
    assert ("turned round" in text) == turned
    assert "detection takes 60 %, the repair 30 %" in text


def test_a_cell_that_is_not_finished_is_shown_and_not_counted(monkeypatch):
    (record, *_) = performance_page.records("speed-*")
    begun = {**record, "runs": record["runs"][:1]}
    for runs, counted in (([record], True), ([begun], False)):
        monkeypatch.setattr(
            performance_page, "records", lambda kind, runs=runs: runs * kind.startswith("speed")
        )
        text = performance_page.page()
        assert "the recipe as it was released" in text
        assert ("### All cells together" in text) == counted
