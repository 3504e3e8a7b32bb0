"""--measure of show and export: the numbers and the words are those of the measure asked for."""

import json

import numpy as np
import pytest

from psi_core.runs.finding import load_run
from psi_core.statistics.histograms import display_edges
from psi_core.tables.columns import readable
from psi_core.tables.registry import View, table_rows
from psi_tui.shell.report import markdown_report, report_parts
from tests.recorded import record_run


@pytest.mark.parametrize("measure", ["active_fraction", "mean_response", "n_eff", "hoyer"])
def test_tables_are_of_the_measure(psi, own_folders, measure):
    record_run(own_folders)
    asked = ("show", "latest", "--measure", measure, "--json")
    assert json.loads(psi(*asked).out) == json.loads(
        json.dumps(table_rows(load_run("latest"), "layers", View(measure=measure)))
    )
    rows = json.loads(psi(*asked, "--table", "histogram", "--bins", 3).out)
    assert rows == json.loads(json.dumps(table_rows(load_run("latest"), "histogram", View(bins=3, measure=measure))))


def test_the_screen_names_the_measure(psi, own_folders, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    record_run(own_folders)
    out = psi("show", "latest", "--measure", "n_eff").out
    assert "N_eff ± sd" in out
    assert "sparser (lower) by" in out
    assert "N_eff: Effective number of active units" in out
    assert "PSI" not in out
    assert "hoyer_mean" in psi("show", "latest", "--measure", "hoyer", "--format", "csv").out
    assert "| Hoyer |" in psi("show", "latest", "--measure", "hoyer", "--format", "md").out


def test_the_shift_beyond_noise_stands_beside_that_from_benign(psi, own_folders):
    record_run(own_folders)
    for measure in ("psi", "hoyer"):
        lines = psi("show", "latest", "--measure", measure).out.splitlines()
        assert "from benign [95 % CI]  beyond, sd" in lines[1]
        (row,) = [
            row for row in table_rows(load_run("latest"), "layers", View(measure=measure)) if row["layer"] == "conv1"
        ][1:2]
        (line,) = [line for line in lines if line.startswith("conv1")][1:2]
        assert line.split("]  ")[1].split()[0] == f"{row['delta_sd']:+.3f}"


def test_the_p_beside_it_is_its_own_on_the_page_too(psi, own_folders, monkeypatch):
    run = load_run(record_run(own_folders, controls="sign-noise,gaussian", shift=0.004))
    row = next(row for row in table_rows(run, "layers") if row["condition"] == "fgsm@0.03")
    p = readable(row["p_noise_holm"], "p")
    assert p != readable(row["p_holm"], "p")
    monkeypatch.setenv("COLUMNS", "200")
    lines = psi("show", "latest").out.splitlines()
    assert "  beyond, sd  " in lines[1] and "  p noise  AUROC" in lines[1]
    (line,) = [line for line in lines if line.startswith("conv1")][1:2]
    assert line.split()[-2] == p
    page = markdown_report("r", report_parts(run)).splitlines()
    assert any(line.endswith(" beyond noise, sd | p Holm noise |") for line in page)
    assert any(line.startswith("| conv1 | fgsm@0.03") and line.endswith(f" {p} |") for line in page)


def test_a_plot_counts_the_measure_and_tells_both_differences(psi, own_folders):
    record_run(own_folders, epsilon="0.01,0.03")
    run = load_run("latest")
    values = run.array("n_eff")[:, 0].astype(float)
    edges = display_edges(values, 12, "n_eff")
    asked = ("show", "latest", "--plot", "conv1", "--measure", "n_eff", "--bins", 12)
    rows = json.loads(psi(*asked, "--json").out)
    attacked = run.conditions.index("fgsm@0.03")
    assert [row["count"] for row in rows[:12]] == np.histogram(values[0], edges)[0].tolist()
    assert [row["count"] for row in rows[12:]] == np.histogram(values[attacked], edges)[0].tolist()
    said = psi(*asked).out
    row = next(row for row in table_rows(run, "layers", View(measure="n_eff")) if row["condition"] == "fgsm@0.03")
    assert "N_eff of conv1: images in each of 12 bins" in said
    assert f"{row['delta_mean']:+.3f} from benign, {row['delta_control_mean']:+.3f} from sign-noise@0.03" in said


def test_a_plot_without_a_control_tells_one_difference(psi, own_folders):
    record_run(own_folders, controls="none")
    assert psi("show", "latest", "--plot", "conv1").out.splitlines()[-1].endswith(" from benign")


def test_export_takes_several_measures(psi, own_folders, tmp_path):
    record_run(own_folders)
    outcome = psi("export", "latest", "--to", tmp_path, "--tables", "layers,classes", "--measure", "hoyer, n_eff")
    names = {"layers.csv", "classes.csv", "layers-hoyer.csv", "layers-n_eff.csv"}
    assert outcome.code == 0
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".csv"} == names
    assert (tmp_path / "layers-hoyer.csv").read_text().startswith("layer,module,units,condition")
