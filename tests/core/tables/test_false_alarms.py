"""Simulated runs, written and read like real ones: planted shifts are found, and nulls stay null."""

from pathlib import Path

import pytest

from psi_core import Run
from psi_core.tables import table_rows
from tests.recorded import record_run

RUNS = 200
NOTHING = ("no change", "no more than noise")


def verdicts(folder: Path, seed: int, **planted: float) -> dict[str, dict[str, str]]:
    """The verdict of every layer of one simulated run, by condition; benign has none."""
    options = {"epsilon": 0.03, "controls": "sign-noise,sign-noise-2", "images": 100, "chunk": 100}
    directory = record_run(folder, seed=seed, **options, **planted)
    found: dict[str, dict[str, str]] = {}
    for row in table_rows(Run(directory), "layers"):
        found.setdefault(str(row["condition"]), {})[str(row["layer"])] = str(row["verdict"])
    return found


@pytest.mark.parametrize("noise_shift", [0.0, 0.01])
def test_of_runs_without_an_effect_at_most_6_percent_claim_one(noise_shift: float, tmp_path: Path) -> None:
    """In any of three layers: with a shift that noise makes too, and without any."""
    alarms = {"fgsm@0.03": 0, "sign-noise@0.03": 0, "sign-noise-2@0.03": 0}
    for seed in range(RUNS):
        found = verdicts(tmp_path, seed, shift=0.0, noise_shift=noise_shift)
        for condition in alarms:
            alarms[condition] += any(verdict not in NOTHING for verdict in found[condition].values())
        if noise_shift:
            assert found["fgsm@0.03"]["conv1"] != "no change"
    assert max(alarms.values()) <= 0.06 * RUNS, alarms


def test_planted_shifts_are_found_in_their_layer_and_no_other(tmp_path: Path) -> None:
    found = [verdicts(tmp_path, seed, shift=0.01, noise_shift=0.002) for seed in range(20)]
    for each in found:
        assert each["fgsm@0.03"]["conv1"].startswith("sparser by 0.0")
        assert each["sign-noise@0.03"]["conv1"] in NOTHING
    elsewhere = [each["fgsm@0.03"][layer] for each in found for layer in ("conv2", "fc1")]
    assert sum(verdict not in NOTHING for verdict in elsewhere) <= 2
