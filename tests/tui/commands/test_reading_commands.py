"""runs, show and export, over recorded runs."""

import csv
import json
import re
import shutil

import numpy as np
import pytest
from rich.cells import cell_len

from psi_core.runs.event_log import events_path
from psi_core.runs.finding import load_run
from psi_core.statistics.histograms import display_edges
from psi_core.tables.registry import TABLE_NAMES, View, table_rows
from tests.recorded import record_run

ESCAPE = "\x1b"


def test_no_runs_is_no_error(psi):
    outcome = psi("runs")
    assert outcome.code == 0
    assert "example-alexnet" in outcome.out
    assert "psi-tui run" in outcome.err


def test_runs_lists_what_there_is(psi, own_folders, monkeypatch):
    record_run(own_folders, name="mine", epsilon="0.01,0.03")
    record_run(own_folders, chunks=[0], labels="predicted")
    unfinished, mine, *examples = json.loads(psi("runs", "--json").out)
    rows = table_rows(load_run("mine"), "conditions")
    assert [each["is_example"] for each in examples] == [True, True]
    assert (mine["name"], mine["status"], mine["images_done"]) == ("mine", "done", 60)
    assert mine["accuracy_percent"] == pytest.approx(rows[0]["accuracy_percent"])
    assert mine["attacked_accuracy_percent"] == pytest.approx(rows[2]["accuracy_percent"])
    assert (mine["shift_layer"], mine["shift"]) == ("conv1", pytest.approx(0.05, abs=0.005))
    assert (unfinished["images_done"], unfinished["accuracy_percent"]) == (25, None)
    lines = psi("runs").out.splitlines()
    assert "mine" in lines[2]
    assert lines[1].endswith("lost 41 %")
    headline = f"{mine['delta_sd']:+.3f} conv1"
    assert headline in lines[2], "at 80 columns too"
    monkeypatch.setenv("COLUMNS", "140")
    lines = psi("runs").out.splitlines()
    assert f"{headline}  {mine['shift']:+.4f}" in lines[2]
    assert "25/60" in lines[1]


def test_the_list_says_what_it_does_not_know_and_names_a_file_by_its_last_part(psi, own_folders, tmp_path):
    (tmp_path / "stu.py").write_text("")
    for name, options in {
        "quiet": {"shift": 0.0, "images": 200},
        "alone": {"attack": "none", "controls": "none"},
        "without": {"controls": "none"},
        "sweep": {"attack": "fgsm,pgd", "epsilon": "8/255,0.1"},
        "theirs": {"model": f"{tmp_path / 'stu.py'}:make", "weights": "built"},
    }.items():
        record_run(own_folders, name=name, **options)
    rows = {line.split()[0]: line for line in psi("runs").out.splitlines()[1:] if line.split()}
    assert "no layer" in rows["quiet"]
    assert "no noise" in rows["without"]
    assert " none " in rows["alone"]
    assert "fgsm, …" in rows["sweep"]
    assert "stu.py:make" in rows["theirs"]
    found = {row["name"]: row for row in json.loads(psi("runs", "--json").out)}
    assert found["sweep"]["evidence"] in ("green", "amber", "red")
    for name in rows.keys() & found.keys():
        assert rows[name].endswith(" done, red" if found[name]["evidence"] == "red" else " done")
    assert {row["evidence"] for row in found.values()} >= {"red"}, "accuracy is one of ten at random"


def test_runs_dir_beats_the_environment(psi, own_folders, tmp_path):
    record_run(tmp_path / "others", name="theirs")
    assert "theirs" in psi("runs", "--runs-dir", tmp_path / "others").out
    assert psi("show", "theirs", "--runs-dir", tmp_path / "others").code == 0
    assert psi("show", "theirs").code == 2


@pytest.mark.parametrize("columns", [40, 80, 140, 200])
@pytest.mark.parametrize("table", TABLE_NAMES)
def test_every_table_fits_the_screen(psi, own_folders, monkeypatch, columns, table):
    record_run(own_folders, silent=3, images=20, chunk=10)
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = psi("show", "latest", "--table", table)
    assert outcome.code == 0
    assert ESCAPE not in outcome.out
    notes = ("peak:", "beyond, sd:", "silent", "evidence:")
    table_lines = [line for line in outcome.out.splitlines()[1:] if not line.startswith(notes)]
    assert max(map(cell_len, table_lines)) <= max(columns, 70 if table == "layers" else 0)


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_json_is_the_table_in_full(psi, own_folders, table):
    record_run(own_folders, silent=3)
    rows = json.loads(psi("show", "latest", "--table", table, "--json").out)
    assert rows == json.loads(json.dumps(table_rows(load_run("latest"), table)))


def test_the_layers_table_says_what_the_rows_say(psi, own_folders, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    record_run(own_folders, silent=4)
    out = psi("show", "latest").out
    for row in table_rows(load_run("latest"), "layers"):
        assert f"{row['psi_mean']:.4f} ± {row['psi_sd']:.4f}" in out
        assert f"{row['peak_center']:.3f}" in out
    assert "sparser by" in out
    assert "concentration, not sparseness" in out
    assert "left out: 16 images" in out


def test_bins_and_subset_reach_the_numbers(psi, own_folders):
    record_run(own_folders)
    rows = json.loads(psi("show", "latest", "--json", "--bins", 5, "--subset", "fooled").out)
    assert rows == json.loads(json.dumps(table_rows(load_run("latest"), "layers", View(subset="fooled", bins=5))))
    histogram = json.loads(psi("show", "latest", "--json", "--table", "histogram", "--bins", 3).out)
    assert len(histogram) == 3 * 3 * 4
    assert "images that the network had right" not in psi("show", "latest").out
    assert "subset fooled:" in psi("show", "latest", "--subset", "fooled").out


def test_the_study_table_says_what_its_readings_are(psi, own_folders):
    record_run(own_folders, model="alexnet")
    out = psi("show", "latest", "--table", "study", "--bins", 7).out
    assert "fullest of 7 bins over 0..1" in out
    assert "H its share of images: concentration, not sparseness" in out
    titles = out.splitlines()[1]
    assert all(title in titles for title in ("published", "H %", "A %", "L", "H agrees", "A agrees", "L agrees"))


def test_a_plot_counts_what_numpy_counts(psi, own_folders):
    record_run(own_folders, epsilon="0.01,0.03", silent=2)
    run = load_run("latest")
    layer = run.layers.index("fc1")
    edges = display_edges(run.psi[:, layer])
    rows = json.loads(psi("show", "latest", "--plot", "fc1", "--json").out)
    assert [row["condition"] for row in rows[::40]] == ["benign", "fgsm@0.03"]
    for condition, part in (("benign", rows[:40]), ("fgsm@0.03", rows[40:])):
        values = run.psi[run.conditions.index(condition), layer].astype(float)
        assert [row["count"] for row in part] == np.histogram(values[~np.isnan(values)], edges)[0].tolist()
    chosen = psi("show", "latest", "--plot", "fc1", "--json", "--condition", "sign-noise@0.01", "--bins", 4).out
    assert [row["condition"] for row in json.loads(chosen)] == ["benign"] * 4 + ["sign-noise@0.01"] * 4


def test_a_run_without_results_is_not_said_to_lack_noise(psi, own_folders):
    record_run(own_folders, name="begun", chunks=[], finished=False)
    (row,) = [line for line in psi("runs").out.splitlines() if line.startswith("begun")]
    assert "no noise" not in row
    assert "no layer" not in row


def test_a_plot_needs_no_color(psi, own_folders):
    record_run(own_folders)
    out = psi("show", "latest", "--plot", "conv1").out
    assert ESCAPE not in out
    assert "up    benign, 60 images" in out
    assert "down  fgsm@0.03, 60 images" in out
    assert max(map(len, out.splitlines()[2:22])) <= 80


@pytest.mark.parametrize("suffix", ["csv", "json", "md", "tex"])
def test_export_writes_every_table(psi, own_folders, tmp_path, suffix):
    record_run(own_folders)
    outcome = psi("export", "latest", "--to", tmp_path / "results", "--format", suffix)
    names = {f"{table}.{suffix}" for table in TABLE_NAMES}
    assert outcome.code == 0
    assert {path.name for path in (tmp_path / "results").iterdir()} == names
    assert {line.rsplit("/", 1)[1] for line in outcome.out.splitlines()} == names


def test_export_for_the_page_says_which_tables_fill_none(psi, own_folders, tmp_path):
    record_run(own_folders, images=300, chunk=300)
    outcome = psi("export", "latest", "--to", tmp_path / "md", "--format", "md")
    assert "images: more than 1,000 rows, left out of md" in outcome.err
    assert {path.stem for path in (tmp_path / "md").iterdir()} == set(TABLE_NAMES) - {"images"}


def test_export_of_images_holds_each_once(psi, own_folders, tmp_path):
    record_run(own_folders, chunks=[0])
    outcome = psi("export", "latest", "--to", tmp_path, "--tables", "conditions, images")
    with (tmp_path / "images.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 25 * 4
    assert "not finished" in outcome.err


def test_a_run_that_is_removed_while_it_waits_is_watched_no_longer(psi, own_folders, monkeypatch):
    directory = record_run(own_folders, chunks=[], finished=False)
    events_path(directory, 0).unlink()

    def remove(_seconds):
        assert directory.exists(), "it is watched on"
        shutil.rmtree(directory)

    monkeypatch.setattr("psi_tui.shell.follow.time.sleep", remove)
    outcome = psi("watch", directory.name)
    assert outcome.code == 2
    assert "moved or deleted elsewhere" in outcome.err


def test_one_image_in_one_layer_is_told_in_the_singular(own_folders, psi):
    record_run(own_folders, name="mine", images=1, layers="conv1", epsilon=0.1)
    said = [
        psi("show", "mine"),
        psi("show", "mine", "--plot", "conv1"),
        psi("show", "mine", "--table", "evidence"),
        psi("verify", "mine"),
        psi("runs", "model=none"),
        psi("export", "mine", "--to", own_folders / "out", "--format", "md"),
    ]
    files = [path.read_text(encoding="utf-8") for path in (own_folders / "out").glob("*.md")]
    text = "\n".join([*files, *(each.out + each.err for each in said)])
    assert "1 image " in text
    assert not re.findall(r"(?<![\d.,@-])1 (?:images|layers|channels|conditions|runs|files|tables)\b", text)
