import pytest
from textual.widgets._footer import FooterKey

from psi_tui.screens.results.screen import TABS
from psi_tui.widgets.navigation import fitting_keys
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, running, settled, still, text_of


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
async def test_more_room_shows_more_keys(own_folders):
    async with running(own_folders, NARROW, open_directory=record_run(own_folders)) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await settled(pilot)
        narrow = text_of(app).splitlines()[-1]
        await pilot.resize_terminal(*WIDE)
        await still(pilot)
        assert len(text_of(app).splitlines()[-1]) > len(narrow)
        assert not any(key.compact for key in app.screen.query(FooterKey))


@pytest.mark.usefixtures("warm_engine")
async def test_the_line_of_keys_names_none_that_changes_nothing_in_sight(own_folders):
    async with running(own_folders, WIDE, open_directory=record_run(own_folders)) as (app, pilot):
        for tab in TABS:
            app.screen.query_one("#tabs").active = tab.name
            await settled(pilot)
            await still(pilot)
            shown = {key.description for key in app.screen.query(FooterKey)}
            choices = {"layer", "condition", "measure", "bins", "subset", "reading"}
            named = {"peak": "reading"}
            told = {named.get(words, words) for words in shown} & choices
            assert told == set(tab.body.SHOWS), tab.name
            for name in choices - set(tab.body.SHOWS) - {"layer"}:
                await pilot.press({"reading": "p"}.get(name, name[0] if name != "subset" else "f"))
                await settled(pilot)
                if tab.name != "images" or name != "subset":
                    assert app.heard[-1].startswith(f"{'peak' if name == 'reading' else name}: "), (tab.name, name)
                    assert ", shown in " in app.heard[-1]
