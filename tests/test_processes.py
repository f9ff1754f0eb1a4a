"""Two processes, as ``torchrun`` and ``accelerate launch`` start them, do what one does."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from bedkd.presets import Preset


@pytest.fixture
def outputs(commands, victim, checkpoint, files, tmp_path):
    """Detects, repairs and evaluates with this number of processes; where its files are."""
    # Bounded punishing and no content: no sentence encoder, which is slow beside toy models.
    parts, detector, repair = commands.preset
    detector = replace(detector, content=None, fdr=0.7)
    commands.preset = Preset(parts, detector, replace(repair, punish="bounded"))
    model = checkpoint(victim, "victim")
    given = ["--trusted", files / "dev-clean.csv", "--untrusted", files / "train.csv"]
    given += ["--model", model, "--config", "quick", "--json", "--quiet"]

    def outputs(processes):
        folder = tmp_path / f"by{processes}"
        judged = ["evaluate", "--model", folder / "model", "--clean", files / "test-clean.csv"]
        for words in (
            ["detect", *given, "--output", folder / "scores.csv"],
            ["purify", *given, "--output", folder / "model"],
            [*judged, "--poisoned", files / "test-poison.csv", "--json", "--quiet"],
        ):
            ends = commands.run(*words, processes=processes)
            assert ends == [0] * processes, "\n".join(map(commands.said, ["err"] * processes))
            for other in range(1, processes):
                assert commands.said("out", other) == ""
        (folder / "evaluation.json").write_text(commands.said("out"))
        return folder

    return outputs


def test_two_processes_find_what_one_finds(outputs):
    one, two = outputs(1), outputs(2)
    files = [sorted(p.relative_to(by) for p in by.rglob("*")) for by in (one, two)]
    assert files[0] == files[1]
    assert not [path for path in files[1] if "partial" in str(path) or path.name.startswith(".")]
    first, second = scores(one), scores(two)
    np.testing.assert_allclose(first[:, 0], second[:, 0], rtol=0, atol=1e-5)
    assert 0 < first[:, 1].sum() < len(first)
    assert np.array_equal(first[:, 1], second[:, 1])
    first, second = (json.loads((by / "evaluation.json").read_text()) for by in (one, two))
    assert {key: first[key] for key in ("cacc", "asr")} == {k: second[k] for k in ("cacc", "asr")}
    first, second = (json.loads((by / "model" / "report.json").read_text()) for by in (one, two))
    assert first["changed"]
    assert first["repair_rows"] == second["repair_rows"]
    assert len(first["repair_history"]) == len(second["repair_history"])


def scores(folder):
    with open(folder / "scores.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    return np.array([[float(row["score"]), int(row["flagged"])] for row in rows])
