"""Any bursts of keys, as a fast hand or a slow line brings them: the app stays, and shows a screen of its own."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recorded import record_run
from tests.tui.app.test_bursts import burst
from tests.tui.apps import NARROW, WIDE, running

pytestmark = pytest.mark.usefixtures("warm_engine")

KEYS = (
    *"12345?:/abcdefghijklmnopqrstuvwxyzGNSLRU[]<>+-. ",
    *("enter", "escape", "tab", "shift+tab", "up", "down", "left", "right", "pageup", "pagedown", "home", "end"),
    *("backspace", "delete", "ctrl+p", "ctrl+c", "space"),
)
LEAVES = {"q", "ctrl+c", "ctrl+q"}
"""Keys that may end the app."""

bursts = st.lists(st.lists(st.sampled_from(KEYS), min_size=1, max_size=12), min_size=4, max_size=8)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("count", [3, pytest.param(150, marks=pytest.mark.long)])
def test_any_bursts_leave_the_app_as_it_should_be(count, own_folders):
    for name in ("one", "two"):
        record_run(own_folders, name=name, images=12, chunk=6)

    @settings(max_examples=count, derandomize=count < 100, deadline=None, database=None)
    @given(bursts, st.sampled_from([NARROW, WIDE]))
    def law(drawn, size):
        asyncio.run(typed(own_folders, drawn, size))

    law()


async def typed(runs_dir, drawn, size):
    """Types bursts, one after another, into a new app."""
    async with running(runs_dir, size) as (app, pilot):
        for keys in drawn:
            await burst(pilot, *keys)
            assert app._exception is None, drawn
            if not app.is_running:
                assert LEAVES & {key for each in drawn for key in each}, drawn
                return
            assert app.screen_stack
