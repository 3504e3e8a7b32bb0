import pytest
from textual.widgets._footer import FooterKey

from psi_tui.screens.results import screen
from psi_tui.widgets.navigation import KeyFooter, fitting_keys
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, running, settled, still, text_of

TABS = [tab.name for tab in screen.TABS]


def keys(*names):
    return [FooterKey(name, name, f"does {name}", "app.help" if name == "?" else name) for name in names]


def named(footer_keys):
    return [key.key for key in footer_keys]


def test_keys_that_do_not_fit_whole_are_left_out_from_the_end_and_help_stays():
    four = keys("a", "b", "?", "c")
    assert named(fitting_keys(four, 39)) == ["a", "b", "?", "c"]
    assert named(fitting_keys(four, 38)) == ["a", "b", "?"]
    assert named(fitting_keys(four, 28)) == ["a", "?"]
    assert named(fitting_keys(four, 3)) == ["?"]


@pytest.mark.usefixtures("warm_engine")
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80", "140"])
async def test_every_place_names_the_key_for_help_and_cuts_no_key(own_folders, size):
    async with running(own_folders, size, open_directory=record_run(own_folders)) as (app, pilot):
        for place in ("runs", "explore", "new_run", "compare", *TABS):
            if place in TABS:
                app.go("results")
                app.screen.query_one("#tabs").active = place
            else:
                app.go(place)
            await still(pilot)
            line = text_of(app).splitlines()[-1]
            assert "? help" in line, place
            shown = app.screen.query_one(KeyFooter).query(FooterKey)
            assert all(f"{key.key_display} {key.description}" in line for key in shown), place


@pytest.mark.usefixtures("warm_engine")
async def test_more_room_shows_more_keys(own_folders):
    async with running(own_folders, NARROW, open_directory=record_run(own_folders)) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await settled(pilot)
        narrow = text_of(app).splitlines()[-1]
        await pilot.resize_terminal(*WIDE)
        await still(pilot)
        assert len(text_of(app).splitlines()[-1]) > len(narrow)
