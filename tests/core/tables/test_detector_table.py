"""The detectors table: plain counts on the held-out half, and a control that shows what any noise would show."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from psi_core import Run, load_run
from psi_core.statistics.detectors import detect_by_all_layers, split_halves
from psi_core.tables.export import table_text
from psi_core.tables.registry import table_rows
from tests.recorded import make_older, record_run, replant

COLUMNS = "layer condition reference images auroc auroc_ci_low auroc_ci_high tpr_percent tnr_percent"
CONTROLS = "sign-noise,anti-fgsm,sign-noise-2"


@pytest.fixture
def run(own_folders: Path) -> Run:
    return load_run(record_run(own_folders, images=200, silent=7, shift=0.1, controls=CONTROLS))


def row_of(rows: list[dict], layer: str, condition: str, reference: str) -> dict:
    (row,) = [
        row for row in rows if (row["layer"], row["condition"], row["reference"]) == (layer, condition, reference)
    ]
    return row


def test_every_condition_is_told_from_benign_and_from_its_control(run: Run) -> None:
    rows = table_rows(run, "detectors")
    assert {tuple(row) for row in rows} == {tuple(COLUMNS.split())}
    pairs = [
        ("fgsm@0.03", "benign"),
        ("fgsm@0.03", "sign-noise@0.03"),
        ("sign-noise@0.03", "benign"),
        ("sign-noise@0.03", "sign-noise-2@0.03"),
        ("anti-fgsm@0.03", "benign"),
        ("anti-fgsm@0.03", "sign-noise@0.03"),
        ("sign-noise-2@0.03", "benign"),
        ("sign-noise-2@0.03", "sign-noise@0.03"),
    ]
    expected = [(layer, *pair) for layer in ("conv1", "conv2", "fc1", "all") for pair in pairs]
    assert [(row["layer"], row["condition"], row["reference"]) for row in rows] == expected


def test_a_run_without_controls_has_rows_against_benign_alone(own_folders: Path) -> None:
    rows = table_rows(load_run(record_run(own_folders, controls="none", epsilon="0.01,0.03")), "detectors")
    assert {row["reference"] for row in rows} == {"benign"}
    assert len(rows) == 4 * 2


@pytest.mark.parametrize(("layer", "place"), [("conv1", 0), ("fc1", 2)])
def test_rows_equal_plain_counts_on_the_held_out_half(run: Run, layer: str, place: int) -> None:
    fit_half = split_halves(200, run.config.seed)
    attacked, noise = (
        run.psi[run.conditions.index(name), place].astype(float) for name in ("fgsm@0.03", "sign-noise@0.03")
    )
    is_there = ~np.isnan(attacked)
    fit, held_out = is_there & fit_half, is_there & ~fit_half
    higher = sum(a > n for a in attacked[fit] for n in noise[fit])
    if higher < fit.sum() ** 2 / 2:
        attacked, noise = -attacked, -noise
    threshold = sorted(attacked[fit])[int(0.05 * fit.sum())]
    row = row_of(table_rows(run, "detectors"), layer, "fgsm@0.03", "sign-noise@0.03")
    area = scipy.stats.mannwhitneyu(attacked[held_out], noise[held_out]).statistic / held_out.sum() ** 2
    assert row["images"] == held_out.sum()
    assert row["auroc"] == pytest.approx(area)
    assert row["auroc_ci_low"] < row["auroc"] < row["auroc_ci_high"]
    assert row["tpr_percent"] == pytest.approx(100 * np.mean(attacked[held_out] >= threshold))
    assert row["tnr_percent"] == pytest.approx(100 * np.mean(noise[held_out] < threshold))


def test_the_row_of_all_layers_is_their_joint_detector(run: Run) -> None:
    names = run.conditions
    versions = (run.psi[names.index(name)].astype(float) for name in ("anti-fgsm@0.03", "sign-noise@0.03"))
    expected = detect_by_all_layers(*versions, split_halves(200, run.config.seed))
    row = row_of(table_rows(run, "detectors"), "all", "anti-fgsm@0.03", "sign-noise@0.03")
    assert (row["images"], row["auroc"], row["tnr_percent"]) == (expected.images, expected.auroc, expected.tnr_percent)


def test_what_noise_does_too_is_detected_against_benign_and_not_against_the_control(own_folders: Path) -> None:
    directory = record_run(own_folders, images=300, controls=CONTROLS)
    psi = np.random.default_rng(0).normal(0.5, 0.01, (5, 3, 300))
    psi[1:] += 0.1
    replant(directory, psi=psi)
    for row in table_rows(load_run(directory), "detectors"):
        if row["reference"] == "benign":
            assert row["auroc"] > 0.99
            assert row["tnr_percent"] > 95
        else:
            assert row["auroc"] == pytest.approx(0.5, abs=0.15)
            assert row["tnr_percent"] < 25


def test_the_seed_of_the_run_draws_the_halves(own_folders: Path) -> None:
    path = record_run(own_folders) / "config.json"
    make_older(path.parent)
    rows = []
    for seed in (1, 1, 2):
        path.write_text(json.dumps({**json.loads(path.read_text()), "seed": seed}))
        rows.append(table_rows(load_run(path.parent), "detectors"))
    assert rows[0] == rows[1] != rows[2]


def test_the_page_says_what_is_measured_and_which_rows_to_read(run: Run) -> None:
    for suffix in ("md", "tex"):
        text = table_text(run, "detectors", table_rows(run, "detectors"), suffix)
        assert "fitted on a seeded half of the images, measured on the other" in text
        assert "read the rows against the control" in text
