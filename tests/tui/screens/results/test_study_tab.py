"""The Study tab shows what the study table has: the readings, what the text says, and what chance gives."""

from dataclasses import replace

import pytest

from psi_core import load_run
from psi_core.presets import STUDY, STUDY_TITLE
from psi_core.tables.registry import table_named, table_rows
from psi_core.tables.study import COUNT
from tests import recorded
from tests.recorded import record_run
from tests.tui.apps import NARROW, press, running, settled, text_of, until

CLAIMS = {"conv1": "sparser ✓ agrees", "fc2": "0.15 → 0.10 ✗ differs"}


@pytest.mark.parametrize("size", [NARROW, (140, 45)])
async def test_the_texts_claims_and_chance_stand_beside_the_readings(own_folders, monkeypatch, size):
    monkeypatch.setattr(recorded, "LAYERS", (*recorded.LAYERS[:2], replace(recorded.LAYERS[2], name="fc2")))
    run = load_run(record_run(own_folders, model="vgg11", shift=0.2))
    attacked = {row["layer"]: row for row in table_rows(run, "study") if row["condition"] != "benign"}
    assert [attacked[layer]["agrees_said"] for layer in ("conv1", "conv2", "fc2")] == [True, None, False]
    async with running(own_folders, size, open_directory=run.directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "study"
        await settled(pilot)
        text = text_of(app)
        table = app.screen.query_one("#study-table")
        titles, *lines = (line.split("\t") for line in table.tab_separated().splitlines())
    assert next(note for note in table_named("study").sentences(run) if "by chance" in note) in text
    assert table.max_scroll_x == 0
    assert STUDY in text
    assert (STUDY_TITLE in text) is (size != NARROW)
    if size == NARROW:
        assert "text says" not in titles
        words = " ".join(text.split())
        assert all(f"{layer} {claim}" in words for layer, claim in CLAIMS.items())
    else:
        place = titles.index("text says")
        assert {line[0]: " ".join(line[place : place + 2]) for line in lines if line[0] in CLAIMS} == CLAIMS
        assert "its text says" not in text


async def test_the_measure_that_is_shown_is_named_and_changes_the_table(own_folders):
    run = load_run(record_run(own_folders, model="alexnet", shift=0.2))
    async with running(own_folders, (140, 45), open_directory=run.directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "study"
        await settled(pilot)
        by_ratio = app.screen.query_one("#study-table").tab_separated()
        assert "count of active units" in text_of(app)
        while app.screen.view.choices.measure != COUNT:
            await press(pilot, "m")
        text = text_of(app)
        assert "alexnet, active fraction" in text
        assert "count of active units" not in text
        assert app.screen.query_one("#study-table").tab_separated() != by_ratio


async def test_of_a_network_that_the_study_has_not_the_condition_is_named_too(own_folders):
    directory = record_run(own_folders, epsilon="0.1,0.03")
    async with running(own_folders, NARROW, open_directory=directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "study"
        await settled(pilot)
        assert "three readings of PSI, benign → fgsm@0.03;" in text_of(app)


@pytest.mark.parametrize("shift", [0.2, 0.0])
async def test_what_lies_beyond_noise_is_said_beside_the_study(own_folders, shift):
    run = load_run(record_run(own_folders, model="alexnet", shift=shift, images=400, chunk=200))
    rows = [row for row in table_rows(run, "layers") if row["condition"] == "fgsm@0.03"]
    beyond = [row for row in rows if str(row["verdict"]).startswith("beyond noise")]
    assert bool(beyond) is bool(shift)
    async with running(own_folders, (140, 45), open_directory=run.directory) as (app, pilot):
        app.screen.query_one("#tabs").active = "study"
        await until(pilot, lambda: "as a detector" in text_of(app), "the detectors")
        words = " ".join(text_of(app).split())
    if beyond:
        furthest = max(beyond, key=lambda row: abs(row["delta_sd"]))
        assert f"{len(beyond)} of {len(rows)} layers, furthest {furthest['layer']}" in words
        assert furthest["verdict"].partition(": ")[2] in words
    else:
        assert f"beyond noise under fgsm@0.03: none of {len(rows)} layers" in words
