"""How every screen looks: both sizes, two themes and without color, over the shipped example and recorded runs."""

import pytest

from psi_core.paths import examples_directory
from psi_tui.screens.results.screen import TABS
from tests.tui.apps import NARROW, WIDE, press, running, settled, text_of, until
from tests.tui.snapshots import assert_looks_as_before

pytestmark = pytest.mark.usefixtures("warm_engine")

EXAMPLE = examples_directory() / "example-alexnet"
SIZES = {"80x24": NARROW, "140x40": WIDE}
LOOKS = {"dark": "psi-dark", "light": "psi-light", "no-color": "psi-dark"}


@pytest.fixture(params=LOOKS)
def look(request, monkeypatch):
    """A theme, or none."""
    if request.param == "no-color":
        monkeypatch.setenv("NO_COLOR", "1")
    return request.param


@pytest.fixture(params=SIZES)
def size(request):
    """The name of a size."""
    return request.param


async def look_at(app, pilot, look, size, name):
    app.theme = LOOKS[look]
    app.clear_notifications()
    before, drawn = "", None
    while drawn != before:  # What a thread has just drawn may still be on its way to the screen.
        await pilot.pause(0.4)
        await settled(pilot)
        before, drawn = drawn or "", app.export_screenshot()
    assert_looks_as_before(app, f"{name}-{size}-{look}")


async def test_runs(own_folders, look, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await until(pilot, lambda: app.entries[0].summary is not None, "the example's numbers")
        await look_at(app, pilot, look, size, "runs")


async def test_results(own_folders, look, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        app.theme = LOOKS[look]
        for tab in TABS:
            app.screen.query_one("#tabs").active = tab
            await settled(pilot)
            if tab == "layers":
                await press(pilot, "right_square_bracket", "right_square_bracket")
                await until(pilot, lambda: "conv3:" in text_of(app), "the verdict")
            await look_at(app, pilot, look, size, f"results-{tab.replace('_', '-')}")


async def test_one_image(own_folders, look, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await press(pilot, "f", "enter")
        await until(pilot, lambda: "taken for" in text_of(app), "the image")
        await look_at(app, pilot, look, size, "image")


async def test_explore(own_folders, look, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "2")
        await until(pilot, lambda: "alexnet" in text_of(app), "the models", 120)
        await press(pilot, "j", "j", "enter")
        await until(pilot, lambda: "conv3" in text_of(app), "the layers", 120)
        await look_at(app, pilot, look, size, "explore")


async def test_new_run(own_folders, look, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "3")
        await until(pilot, lambda: "10,000 images" in text_of(app), "the plan", 120)
        await look_at(app, pilot, look, size, "new-run")


async def test_compare(own_folders, look, size):
    from tests.recorded import record_run

    other = record_run(own_folders, name="recorded", epsilon="0.03,0.1")
    async with running(own_folders, SIZES[size]) as (app, pilot):
        app.compare([EXAMPLE, other])
        await until(pilot, lambda: "conv2" in text_of(app), "the numbers")
        await look_at(app, pilot, look, size, "compare")


async def test_help(own_folders, look, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "question_mark")
        await look_at(app, pilot, look, size, "help")
