"""What the pages say of the checks that take too long for the suite is what was measured."""

import json

from chapters import ROOT


def check(name):
    path = ROOT / "results" / "checks" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8"))


def page(name):
    return " ".join((ROOT / "book" / f"{name}.md").read_text(encoding="utf-8").split())


def test_killed_runs_ended_as_the_page_says():
    found = check("kills")
    assert found["identical"]
    assert found["kills"] == len(found["moments"]) >= 25
    behind = sum("detection" in moment["state"] for moment in found["moments"])
    assert 5 <= behind <= found["kills"] - 5
    fell = f"{found['kills'] - behind} of the moments fell before the detection was through"
    assert f"{fell}, {behind} behind it" in page("mended")
    assert f"at {found['kills']} random moments over {found['runs']} runs" in page("mended")


def test_plans_were_as_cautious_as_the_page_says():
    found = check("plan")
    repaired, honest = (found[name]["of_lower"] for name in ("poisoned", "honest"))
    assert f"the work took {repaired:.2f} times its lower end where" in page("how_to_use")
    assert f"and {honest:.2f} times where it was honest" in page("how_to_use")
