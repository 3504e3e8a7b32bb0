"""The Study tab shows what the study table has: the readings, what the text says, and what chance gives."""

from dataclasses import replace

import pytest

from psi_core import load_run
from psi_core.tables.registry import table_named, table_rows
from tests import recorded
from tests.recorded import record_run
from tests.tui.apps import NARROW, running, settled, text_of

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
    if size == NARROW:
        assert "text says" not in titles
        words = " ".join(text.split())
        assert all(f"{layer} {claim}" in words for layer, claim in CLAIMS.items())
    else:
        place = titles.index("text says")
        assert {line[0]: " ".join(line[place : place + 2]) for line in lines if line[0] in CLAIMS} == CLAIMS
        assert "its text says" not in text
