"""Every key of every screen does something, or says why it cannot; none ends the app. The last line names help."""

import pytest
from textual.binding import Binding
from textual.widgets._footer import FooterKey

from psi_tui.app.help import HelpScreen
from psi_tui.app.palette import bindings_of
from psi_tui.screens.results.screen import TABS
from psi_tui.widgets.navigation import KeyFooter
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, still, text_of

pytestmark = pytest.mark.usefixtures("warm_engine")

OWN_MOVES = (
    *("cursor_", "scroll_", "page_", "select_cursor", "toggle_", "previous_tab", "next_tab"),
    *(f"move('{where}')" for where in ("up", "down", "top", "bottom")),
)
"""Actions that may rightly change nothing: the cursor is at that end already."""

LEAVING = ("quit", "app.quit", "help_quit", "command_palette", "app.command_palette")
"""Tried by tests of their own."""

ALIKE = ("app.help", "help", "go(", "new", "stop", "resume")
"""Actions that do the same on every tab of a screen, however wide: tried once."""

SCREENS = ("runs", "explore", "new_run", "compare")
WALKS = {
    "screens": (NARROW, [(screen, None) for screen in SCREENS]),
    "tabs": (NARROW, [("results", tab.name) for tab in TABS]),
    # Laid out otherwise on a wide screen.
    "wide": (WIDE, [("runs", None), ("explore", None), *(("results", tab) for tab in ("layers", "classes", "images"))]),
}


def answer(app):
    """Everything that a key may change that a user can see."""
    return text_of(app), app.screen, app.focused, len(app.heard), app.screen.maximized


async def go_back(app, pilot, screen, tab):
    while len(app.screen_stack) > 1:
        app.pop_screen()
    app.clear_notifications()
    app.screen.minimize()
    if app.current_mode != screen:
        app.go(screen)
    if tab is not None:
        app.screen.query_one("#tabs").active = tab
    await settled(pilot)


def keys_of(app) -> dict[str, Binding]:
    return {
        key.strip(): binding
        for _, binding in bindings_of(app.screen)
        for key in binding.key.split(",")
        if not binding.action.startswith(OWN_MOVES) and binding.action not in LEAVING
    }


@pytest.mark.parametrize("walk", ["screens", "tabs", pytest.param("wide", marks=pytest.mark.long)])
async def test_no_key_is_dead(own_folders, walk):
    size, views = WALKS[walk]
    directories = [record_run(own_folders, name=name, epsilon="0.03,0.1") for name in ("one", "two")]
    async with running(own_folders, size, open_directory=directories[0]) as (app, pilot):
        app.compared = tuple(directories)
        tried: set[tuple[str, str]] = set()
        for screen, tab in views:
            await go_back(app, pilot, screen, tab)
            await still(pilot)
            assert_footer_is_whole(app, tab or screen)
            keys = keys_of(app)
            assert {"1", "2", "3", "4", "5", "question_mark"} <= set(keys)
            for key, binding in keys.items():
                if binding.action.startswith(ALIKE):
                    if (screen, key) in tried or size == WIDE:
                        continue
                    tried.add((screen, key))
                await go_back(app, pilot, screen, tab)
                before = answer(app)
                await pilot.press(key)
                await settled(pilot)
                assert app.is_running
                is_here = binding.action == f"go('{screen}')"
                assert answer(app) != before or is_here, f"{key} ({described(binding)}) is dead on {tab or screen}"


async def test_help_of_a_dialog_names_its_keys_and_no_other(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await press(pilot, "y")
        dialog = app.screen
        await press(pilot, "question_mark")
        assert isinstance(app.screen, HelpScreen)
        told = dict(app.screen.keys)
        assert ("esc q", "leave") in told["this screen"]
        assert "everywhere" not in told
        await press(pilot, "escape")
        assert app.screen is dialog


def assert_footer_is_whole(app, place):
    line = text_of(app).splitlines()[-1]
    assert "? help" in line, place
    shown = app.screen.query_one(KeyFooter).query(FooterKey)
    assert all(f"{key.key_display} {key.description}" in line for key in shown), place


def described(binding: Binding) -> str:
    return f"{binding.description}: {binding.action}"
