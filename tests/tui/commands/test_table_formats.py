"""`show --format`: the text that export writes, on standard output."""

import csv
import io
import json

import pytest

from psi_core.runs.finding import load_run
from psi_core.tables.export import FORMATS, table_text
from psi_core.tables.registry import TABLE_NAMES, View
from psi_core.tables.table import OWN_LABELS
from tests.recorded import record_run


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("table", TABLE_NAMES)
def test_show_prints_what_export_writes(psi, own_folders, tmp_path, table, suffix):
    record_run(own_folders, silent=3)
    psi("export", "latest", "--to", tmp_path, "--tables", table, "--format", suffix)
    outcome = psi("show", "latest", "--table", table, "--format", suffix)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.rstrip() == (tmp_path / f"{table}.{suffix}").read_text().rstrip()
    assert outcome.out.endswith("\n")


def test_json_is_the_format_of_that_name(psi, own_folders):
    record_run(own_folders)
    outputs = {psi("show", "latest", *options).out for options in (["--json"], ["--format", "json"])}
    assert len(outputs) == 1
    assert psi("show", "latest", "--json", "--format", "json").out in outputs


def test_without_a_table_it_is_the_layers(psi, own_folders):
    record_run(own_folders)
    rows = list(csv.DictReader(io.StringIO(psi("show", "latest", "--format", "csv").out)))
    assert [row["layer"] for row in rows[::4]] == ["conv1", "conv2", "fc1"]


def test_bins_and_subset_reach_the_page(psi, own_folders):
    record_run(own_folders)
    run = load_run("latest")
    out = psi("show", "latest", "--format", "md", "--bins", 5, "--subset", "fooled").out
    rows = json.loads(psi("show", "latest", "--json", "--bins", 5, "--subset", "fooled").out)
    assert out.rstrip() == table_text(run, "layers", rows, "md", View(subset="fooled", bins=5)).rstrip()


def test_a_plot_has_its_numbers_in_every_format(psi, own_folders):
    record_run(own_folders)
    rows = list(csv.DictReader(io.StringIO(psi("show", "latest", "--plot", "conv1", "--format", "csv").out)))
    assert [row["condition"] for row in rows[::40]] == ["benign", "fgsm@0.03"]
    assert r"\toprule" in psi("show", "latest", "--plot", "conv1", "--format", "tex").out


@pytest.mark.parametrize("table", TABLE_NAMES)
@pytest.mark.parametrize("labels", ["true", "predicted"])
def test_every_table_says_whose_labels_these_are(psi, own_folders, table, labels):
    record_run(own_folders, labels=labels)
    out = psi("show", "latest", "--table", table).out
    of_labels = ("layers", "classes", "images", "conditions", "study", "correlation", "evidence")
    assert (OWN_LABELS in " ".join(out.split())) == (labels == "predicted" and table in of_labels)
    assert ("accuracy" in out.splitlines()[1]) == (labels == "true" and table in ("classes", "conditions"))


def test_own_labels_have_a_share_fooled_and_no_accuracy(psi, own_folders):
    record_run(own_folders, labels="predicted")
    out = psi("show", "latest").out
    assert "fooled" in out
    assert "acc %" not in out
    assert "accuracy " not in out.replace(OWN_LABELS, "")
    compared = psi("compare", "latest", "example-alexnet").out.splitlines()
    assert compared[0].endswith(": fgsm@0.03")
    assert compared[1].endswith("%")
