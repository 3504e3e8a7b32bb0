"""Summaries of runs: the numbers of the tables, without scipy.stats, and soon again."""

import subprocess
import sys
import time
from dataclasses import astuple

import numpy as np
import pytest

from psi_core import Run, load_run
from psi_core.runs.chunks import chunk_path, read_arrays
from psi_core.tables.registry import table_rows
from psi_core.tables.summary import RunSummary, headline_condition, run_summary
from tests.recorded import record_run, rewrite_chunk


@pytest.mark.parametrize("shift", [0.05, -0.05])
def test_a_summary_says_what_the_tables_say(own_folders, shift):
    run = load_run(record_run(own_folders, epsilon="0.03,0.1,0.01", shift=shift, silent=4))
    summary = run_summary(run)
    conditions = {row["condition"]: row["accuracy_percent"] for row in table_rows(run, "conditions")}
    rows = [row for row in table_rows(run, "layers") if row["condition"] == "fgsm@0.1"]
    beyond = [row for row in rows if row["verdict"].startswith("beyond noise")]
    largest = max(beyond, key=lambda row: abs(row["delta_sd"]))
    assert headline_condition(run) == "fgsm@0.1"
    assert summary.accuracy_percent == pytest.approx(conditions["benign"])
    assert summary.attacked_accuracy_percent == pytest.approx(conditions["fgsm@0.1"])
    assert (summary.shift_layer, summary.shift) == (largest["layer"], pytest.approx(largest["delta_mean"]))
    assert (summary.delta_sd, summary.noise) == (largest["delta_sd"], largest["noise"])
    assert (summary.control, summary.shift_control) == (
        largest["control"],
        pytest.approx(largest["delta_control_mean"]),
    )
    assert summary.shift * shift > 0


def change_fc1(directory, attacked, noise=None):
    """Sets the PSI of fc1 under the attack and under sign-noise to the benign one plus so much."""
    arrays = read_arrays(chunk_path(directory, 0))
    arrays["psi"][1, 2] = arrays["psi"][0, 2] + np.float32(attacked)
    if noise is not None:
        arrays["psi"][2, 2] = arrays["psi"][0, 2] + np.float32(noise)
    rewrite_chunk(directory, 0, arrays)


@pytest.mark.parametrize("shift", [0.05, 0.0])
def test_what_noise_does_too_is_not_the_headline(own_folders, shift):
    directory = record_run(own_folders, images=25, controls="sign-noise", shift=shift)
    change_fc1(directory, 0.25, 0.25)
    summary = run_summary(load_run(directory))
    if shift:
        assert (summary.shift_layer, summary.noise) == ("conv1", "sign-noise@0.03")
        assert summary.shift == pytest.approx(shift, abs=0.01)
        assert summary.delta_sd > 0.2
        change_fc1(directory, 0.25, 0.3)
        assert run_summary(load_run(directory)).shift_layer == "conv1", "less than noise is not beyond it"
    assert (summary.shift_layer is None) == (shift == 0)
    assert summary.has_noise


def test_without_noise_the_largest_shift_told_from_benign_is(own_folders):
    directory = record_run(own_folders, images=25, controls="anti-fgsm")
    change_fc1(directory, 0.25)
    summary = run_summary(load_run(directory))
    assert (summary.shift_layer, summary.shift) == ("fc1", pytest.approx(0.25, abs=0.01))
    assert (summary.delta_sd, summary.noise, summary.has_noise) == (None, None, False)
    quiet = run_summary(load_run(record_run(own_folders, images=25, controls="none", shift=0.0)))
    assert (quiet.shift_layer, quiet.shift, quiet.has_noise) == (None, None, False)


def test_a_layer_silent_without_the_attack_has_no_shift(own_folders):
    directory = record_run(own_folders, images=25, controls="sign-noise", shift=0.0)
    change_fc1(directory, 0.25, 0.0)
    assert run_summary(load_run(directory)).shift_layer == "fc1"
    arrays = read_arrays(chunk_path(directory, 0))
    arrays["psi"][0, 2, :16] = np.nan
    rewrite_chunk(directory, 0, arrays)
    assert run_summary(load_run(directory)).shift_layer is None, "nine images are too few"


def test_silent_images_are_left_out_of_the_shift(own_folders):
    directory = record_run(own_folders, images=25, silent=14, controls="none")
    change_fc1(directory, 0.25)
    summary = run_summary(load_run(directory))
    assert (summary.shift_layer, summary.shift) == ("fc1", pytest.approx(0.25))


def test_what_is_not_there_is_none(own_folders):
    assert run_summary(load_run(record_run(own_folders, chunks=[], finished=False))) == RunSummary()
    predicted = run_summary(load_run(record_run(own_folders, labels="predicted")))
    assert (predicted.accuracy_percent, predicted.attacked_accuracy_percent) == (None, None)
    assert predicted.shift_layer == "conv1"


def test_a_damaged_run_is_summed_up_as_nothing(own_folders):
    directory = record_run(own_folders)
    (directory / "chunks" / "00001.npz").write_bytes(b"torn")
    assert run_summary(Run(directory)) == RunSummary()


def test_the_second_time_no_chunk_is_read(own_folders, monkeypatch):
    directory = record_run(own_folders)
    first = run_summary(Run(directory))
    monkeypatch.setattr("psi_core.runs.run.read_chunk", None)
    assert run_summary(Run(directory)) == first
    assert all(part is not None for part in astuple(first))


def test_ten_thousand_images_take_a_moment_and_no_scipy_stats(own_folders):
    directory = record_run(own_folders, images=10_000, chunk=500, epsilon="0.03,0.1")
    taken = []
    for _ in range(3):  # Of a busy machine, the quietest moment counts.
        run = Run(directory)
        began = time.process_time()
        run_summary(run)
        taken.append(time.process_time() - began)
    assert min(taken) < 0.2
    script = "import sys; from psi_core.tables.summary import run_summary; from psi_core import Run;"
    script += " from pathlib import Path"
    script += f"; run_summary(Run(Path({str(directory)!r}))); sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
