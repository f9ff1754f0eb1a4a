"""A disk that is full: one line, nothing half-written, and the run goes on when there is room."""

import os
import shutil
import subprocess
from dataclasses import replace

import pytest

from bedkd.cli.defend import AIM_MISSED
from bedkd.presets import Preset


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root and its capability")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_one_line_and_the_run_goes_on(commands, victim, checkpoint, files, disk):
    # Bounded punishing and no content: no sentence encoder, which is slow beside toy models.
    parts, detector, repair = commands.preset
    repair = replace(repair, punish="bounded", stop_margin=None)
    commands.preset = Preset(parts, replace(detector, content=None), repair)
    model = checkpoint(victim, "victim")
    given = ["--trusted", files / "dev-clean.csv", "--untrusted", files / "train.csv"]
    words = ["purify", "--model", model, *given, "--config", "quick", "--output", disk / "out"]
    full = disk / "full"
    for room in (20_000, 300_000):
        with open(full, "wb") as handle:
            handle.truncate(0)
            handle.write(b"\0" * (shutil.disk_usage(disk).free - room))
        assert commands.run(*words, "--quiet") == [2]
        (line,) = commands.said().splitlines()
        assert line.startswith(f"bedkd: {disk}/out")
        assert "cannot be written" in line
        assert not (disk / "out").exists()
    full.unlink()
    assert commands.run(*words, "--quiet") == [AIM_MISSED], commands.said()
    assert (disk / "out" / "model.safetensors").is_file()
    assert {path.name for path in disk.iterdir()} == {"out"}
