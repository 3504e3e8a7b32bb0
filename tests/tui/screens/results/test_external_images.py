"""Images attacked elsewhere, in the app and in lists: they have no epsilon and no control."""

import json

import pytest

from psi_core.tables.registry import TABLE_NAMES
from psi_tui.screens.results import screen
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until

TABS = [tab.name for tab in screen.TABS]


@pytest.fixture
def given(own_folders):
    """A run of images attacked elsewhere alone."""
    return record_run(own_folders, attack="none", controls="none", attacked="npz:/data/theirs.npz", name="theirs")


@pytest.mark.usefixtures("warm_engine")
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80", "140"])
async def test_every_tab_shows_them(own_folders, given, size):
    async with running(own_folders, size, open_directory=given) as (app, pilot):
        for tab in TABS:
            app.screen.query_one("#tabs").active = tab
            await settled(pilot)
            assert "nan" not in text_of(app).lower(), tab
            if tab == "layers":
                await until(pilot, lambda: "no noise of its size" in text_of(app), "the verdict")
                assert "attacked against benign" in text_of(app)
            if tab == "epsilon":
                assert "have no epsilon" in text_of(app)
                assert "comparing" not in text_of(app)
        await press(pilot, "1")
        assert "of mnist, attacked" in text_of(app)


def test_lists_name_them(psi, given):
    (row,) = (row for row in json.loads(psi("runs", "--json").out) if row["name"] == "theirs")
    assert (row["attack"], row["attacked"], row["epsilon"]) == ([], "npz:/data/theirs.npz", [])
    assert "0.03" not in "".join(line for line in psi("runs").out.splitlines() if line.startswith("theirs"))
    assert "attacked: npz:/data/theirs.npz" in psi("show", "theirs", "--table", "layers", "--format", "md").out


def test_no_table_holds_a_number_that_is_none(psi, given):
    for table in TABLE_NAMES:
        answer = psi("show", "theirs", "--table", table, "--json")
        assert answer.code == 0, answer.err
        assert "NaN" not in answer.out
