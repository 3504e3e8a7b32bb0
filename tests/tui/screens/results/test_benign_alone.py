"""A run of benign images alone: every tab, table and command works, and none speaks of an attack."""

import pytest

from psi_core.runs.finding import load_run
from psi_core.tables.export import export_run
from psi_core.tables.registry import TABLE_NAMES, table_columns, table_notes, table_rows
from psi_core.tables.summary import attack_text, headline_condition, run_summary
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.screens.results.screen import TABS
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of

pytestmark = pytest.mark.usefixtures("warm_engine")


@pytest.fixture
def run(own_folders):
    record_run(own_folders, attack="none", controls="none", name="mine")
    return load_run("mine")


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_every_tab_shows_benign_alone(run, own_folders, size):
    shown = []
    async with running(own_folders, size, open_directory=run.directory) as (app, pilot):
        for tab in TABS:
            app.go("results")
            app.screen.query_one("#tabs").active = tab.name
            await settled(pilot)
            shown.append(text_of(app))
            for key in ("c", "]", "b", "v"):
                await press(pilot, key)
                shown.append(text_of(app))
    text = "\n".join(shown)
    assert "benign alone   accuracy 80.0 %" in text
    assert "PSI: benign" in text
    assert "nothing was done to the images" in text
    for wrong in ("against benign", "down benign", "benign and benign", "under benign,", "x benign", "None"):
        assert wrong not in text, wrong


def test_every_table_and_file_is_whole(run, tmp_path):
    assert run.conditions == ["benign"]
    for name in TABLE_NAMES:
        rows = table_rows(run, name)
        assert all(set(row) == {column.name for column in table_columns(run, name)} for row in rows)
        assert bool(rows) != (name == "detectors"), name
        table_notes(run, name)
    for suffix in ("csv", "json", "md", "tex"):
        assert len(export_run(run, tmp_path / suffix, suffix)) == len(TABLE_NAMES)


def test_its_summary_is_the_clean_accuracy(run):
    summary = run_summary(run)
    assert summary.accuracy_percent == pytest.approx(80)
    assert summary.attacked_accuracy_percent is None
    assert summary.shift is None
    assert (attack_text(run.config), headline_condition(run)) == ("benign", "benign")


def test_its_evidence_asks_for_an_attack_and_calls_nothing_wrong(run):
    checks = {row["check"]: row for row in table_rows(run, "evidence")}
    for name in ("larger epsilon", "noise", "controls", "images"):
        assert checks[name]["status"] == "none", name
        assert "elsewhere" not in str(checks[name].values()), name


def test_a_histogram_has_one_side(run):
    histogram = layer_histogram(run, "conv1")
    assert (histogram.conditions, histogram.shifts) == (("benign",), "")
    assert sum(histogram.counts[0]) + histogram.outside == 60
    assert {row["condition"] for row in histogram.rows} == {"benign"}
    assert histogram.figure.lower_name == ""
    assert set(histogram.figure.lower) == {0}


@pytest.mark.parametrize("command", [("show",), ("show", "--plot", "conv1"), ("show", "--json"), ("compare", "mine")])
def test_commands_print_it(run, psi, command):
    name, *rest = command
    outcome = psi(name, "mine", *rest)
    assert outcome.code == 0, outcome.err
    assert "mean difference" not in outcome.out


def test_noise_alone_is_a_run_too(own_folders):
    record_run(own_folders, attack="none", controls="sign-noise,sign-noise-2", name="noise")
    run = load_run("noise")
    assert run.conditions == ["benign", "sign-noise@0.03", "sign-noise-2@0.03"]
    assert attack_text(run.config) == "sign-noise, sign-noise-2 0.03"
    for name in TABLE_NAMES:
        table_rows(run, name)
