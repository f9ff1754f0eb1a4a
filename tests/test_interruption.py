"""A run that is killed or interrupted goes on, and ends as if nothing had happened."""

import hashlib
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace

import pytest

from bedkd.cli.defend import AIM_MISSED  # how a repair of so few cycles ends
from bedkd.presets import Preset

KILLS = int(os.environ.get("BEDKD_KILLS", "4"))  # `tools/kills.py` asks for more
PASSES = 2 + 4  # of the mapping student, and cycles of distillation


@pytest.fixture
def purify(commands, victim, checkpoint, files, tmp_path):
    """The words of ``bedkd purify`` of the toy victim into a folder of that name."""
    # Bounded punishing and no content: no sentence encoder, which is slow beside toy models.
    parts, detector, repair = commands.preset
    repair = replace(repair, punish="bounded", cycles=4, stop_margin=None)
    commands.preset = Preset(parts, replace(detector, content=None), repair)
    model = checkpoint(victim, "victim")

    def words(name):
        given = ["--trusted", files / "dev-clean.csv", "--untrusted", files / "train.csv"]
        output = tmp_path / "outputs" / name
        return ["purify", "--model", model, *given, "--config", "quick", "--output", output]

    return words


@pytest.fixture
def undisturbed(commands, purify):
    """Output and duration of a run that nobody disturbs."""
    commands.start(*purify("whole"))
    start = time.monotonic()
    assert commands.wait() == [AIM_MISSED], commands.said()
    assert passes(commands) == PASSES
    return purify("whole")[-1], time.monotonic() - start


def passes(commands):
    """How many training passes were finished since last asked."""
    done = len(commands.log.read_text().splitlines())
    commands.log.unlink()
    return done


def found(folder):
    """Checksums of the files of an output and its report without times."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    for key in ("seconds", "cpu_seconds", "date"):
        del report[key]
    sums = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name not in ("report.json", "report.html")
    }
    page = (folder / "report.html").read_text(encoding="utf-8")
    return sums, report, page[: page.index("<footer>")]  # times stand in the foot


def assert_same(output, whole):
    """The same files, and nothing else beside them."""
    assert found(output) == found(whole)
    assert "model.safetensors" in found(whole)[0]
    assert {path.name for path in output.parent.iterdir()} == {"whole", "cut"}


def test_a_run_killed_at_random_moments_ends_the_same(
    commands, purify, undisturbed, record_property
):
    """Killed up to three times, early moments more often than late ones, and then left alone; then
    the next run, until there were enough kills."""
    whole, seconds = undisturbed
    rng, output, kills, runs = random.Random("moments"), purify("cut")[-1], 0, 0
    while kills < KILLS:
        runs, ends = runs + 1, []
        while kills < KILLS and AIM_MISSED not in ends and len(ends) < 3:
            process, moment = commands.start(*purify("cut")), 0.8 * seconds * rng.random() ** 3
            time.sleep(moment)
            commands.send(process, signal.SIGKILL)
            ends += commands.wait()
            if ends[-1] == -signal.SIGKILL:
                kills += 1
                state = output.with_name("cut.partial")
                left = sorted(path.stem for path in state.glob("*.safetensors"))
                record_property("kill", {"run": runs, "at": moment / seconds, "state": left})
        if AIM_MISSED not in ends:
            assert commands.run(*purify("cut")) == [AIM_MISSED], commands.said()
        assert_same(output, whole)
        shutil.rmtree(output)
    record_property("runs", runs)


def test_a_run_killed_before_any_file_is_in_place_ends_the_same(commands, purify, undisturbed):
    """Every attempt comes one file further than the last; some die among the output's files."""
    whole, _ = undisturbed
    output, half = purify("cut")[-1], 0
    for count in range(1, 20):
        if commands.run(*purify("cut"), die=count) == [AIM_MISSED]:
            break
        half += output.is_dir()
    assert half > 0
    assert count > 3
    assert_same(output, whole)


@pytest.mark.parametrize(("number", "finished"), [(signal.SIGTERM, 1), (signal.SIGINT, 4)])
def test_a_run_goes_on_after_its_last_finished_pass(
    commands, purify, undisturbed, number, finished
):
    whole, _ = undisturbed
    output = purify("cut")[-1]
    process = commands.start(*purify("cut"), "--quiet", "--json", hold=finished)
    while not commands.log.with_suffix(".held").exists():
        time.sleep(0.05)
    commands.send(process, number)
    (status,) = commands.wait()
    assert status == 130
    assert commands.said().splitlines() == [
        "bedkd: interrupted; nothing half-written, the same command goes on where it stopped"
    ]
    assert not output.exists()
    assert passes(commands) == finished
    if finished > 2:  # a finished detection is not made again from what it was made from
        output.with_name("cut.partial").joinpath("mapping.safetensors").unlink()
    assert commands.run(*purify("cut")) == [AIM_MISSED], commands.said()
    assert passes(commands) == PASSES - finished
    assert_same(output, whole)
