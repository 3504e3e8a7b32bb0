"""A run of benign images alone: every tab, table and command works, and none speaks of an attack."""

import re

import numpy as np
import pytest

from psi_core.errors import ConfigError
from psi_core.runs.finding import load_run
from psi_core.runs.run import Run
from psi_core.tables.export import export_run
from psi_core.tables.registry import TABLE_NAMES, table_columns, table_notes, table_rows
from psi_core.tables.summary import attack_text, headline_condition, run_summary
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.screens.results.images.index import ImageIndex
from psi_tui.screens.results.images.table import ImageTable
from psi_tui.screens.results.screen import TABS
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")


@pytest.fixture
def run(own_folders):
    record_run(own_folders, attack="none", controls="none", name="mine")
    return load_run("mine")


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["narrow", "wide"])
async def test_every_tab_shows_benign_alone(run, own_folders, size):
    shown, tables = [], []
    async with running(own_folders, size, open_directory=run.directory) as (app, pilot):
        for tab in TABS:
            app.go("results")
            app.screen.query_one("#tabs").active = tab.name
            await settled(pilot)
            shown.append(text_of(app))
            if tab.name != "evidence":
                tables.append(text_of(app))
            for key in ("c", "]", "b", "v"):
                await press(pilot, key)
                shown.append(text_of(app))
    text = "\n".join(shown)
    assert not [line for line in "\n".join(tables).splitlines() if "→" in line or "attacked" in line]
    assert not [line for line in text.splitlines() if line.split()[:1] in (["up"], ["down"])]
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
    assert histogram.figure.lower == ()


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


async def test_the_images_of_benign_alone_have_no_second_side(own_folders):
    record_run(own_folders, attack="none", controls="none", name="digits", labels="predicted")
    directory = record_run(own_folders, attack="none", controls="none", name="mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await settled(pilot)
        table = app.screen.query_one(ImageTable)
        assert {column.title for column in table.columns} >= {"prediction", "outcome", "PSI of conv1", "PSI of fc1"}
        assert not [column.title for column in table.columns if "attacked" in column.title or "shift" in column.title]
        rows = table.row_count
        await press(pilot, "f")
        right = table.row_count
        await press(pilot, "f")
        assert (right, right + table.row_count) == (48, rows)
        await press(pilot, "f", "slash", *"flipped", "enter")
        assert "nothing was done to the images" in text_of(app)
        await press(pilot, "escape", "enter")
        assert len(app.screen_stack) == 2
        text = text_of(app)
        assert re.search(r"predicted \d; P\(\d\) = 0\.\d{3}", text)
        assert "attacked" not in text
        assert "L∞" not in text
        await press(pilot, "t")
        assert "no difference to show" in app.heard[-1]
        await press(pilot, "escape", "1")
        app.open_run(load_run("digits").directory)
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "digits", "the other run")
        await settled(pilot)
        assert {"image", "prediction", "confidence"} == {column.title for column in table.columns[:3]}


def test_filters_of_benign_alone_read_its_own_columns(run):
    index = ImageIndex.of(run, "benign")
    assert len(index.filtered("correct")) + len(index.filtered("wrong")) == 60
    assert np.array_equal(index.filtered("psi>0.5").places, np.flatnonzero(run.psi[0, 0] > 0.5))
    assert np.array_equal(index.filtered("confidence<0.5").places, np.flatnonzero(run.array("confidence")[0] < 0.5))
    for word in ("flipped", "kept", "to=3", "shift>0"):
        with pytest.raises(ConfigError, match="filter"):
            index.filtered(word)


async def test_the_study_stands_beside_benign_alone_without_a_verdict(own_folders):
    directory = record_run(own_folders, attack="none", controls="none", model="alexnet")
    rows = table_rows(Run(directory), "study")
    assert [row["condition"] for row in rows] == ["benign"] * 3
    assert rows[0]["published"] == 39.4
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "study"
        await settled(pilot)
        text = text_of(app)
    assert "39.4" in text
    assert "68.2" not in text
    assert "differs" not in text
    assert "agrees" not in text


async def test_a_picture_of_a_control_is_called_so(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await press(pilot, "c", "enter")
        assert "sign-noise@0.03" in str(app.screen.query_one(".pictures").border_title)
        assert app.screen.query_one("#difference-picture").border_title == "control - benign"
        assert "control  " in text_of(app)
