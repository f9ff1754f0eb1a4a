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


def test_plans_held_as_the_page_says():
    found, said = check("plan"), []
    for name in ("poisoned", "honest"):
        least, most = found[name]["estimate"]
        assert least < found[name]["seconds"] < most
        said += [found[name]["seconds"], least, most]
    repaired = (
        "the work took {:.0f} seconds, between {:.0f} and {:.0f}, where the model was repaired"
    )
    honest = "and {:.0f}, between {:.0f} and {:.0f}, where it was honest"
    assert f"{repaired}, {honest}".format(*said) in page("how_to_use")
