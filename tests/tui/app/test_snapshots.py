"""How every screen looks: both sizes, two themes and without color, over the shipped example and recorded runs."""

import pytest

from psi_core.files import examples_directory
from psi_tui.screens.results.screen import TABS
from tests.tui.apps import NARROW, WIDE, press, running, settled, still, text_of, until
from tests.tui.snapshots import assert_looks_as_before, looks_as_before

pytestmark = pytest.mark.usefixtures("warm_engine")

EXAMPLE = examples_directory() / "example-alexnet"
SIZES = {"80x24": NARROW, "140x40": WIDE}
LOOKS = {"color": {"dark": "psi-dark", "light": "psi-light"}, "no-color": {"no-color": "psi-dark"}}


@pytest.fixture(params=LOOKS)
def looks(request, monkeypatch):
    """What one app can look like: its themes by name, or the one that a terminal without color gets."""
    if request.param == "no-color":
        monkeypatch.setenv("NO_COLOR", "1")
    return LOOKS[request.param]


@pytest.fixture(params=SIZES)
def size(request):
    """The name of a size."""
    return request.param


async def look_at(app, pilot, looks, size, name):
    for look, theme in looks.items():
        app.theme = theme
        app.clear_notifications()
        await still(pilot)
        if not looks_as_before(app, f"{name}-{size}-{look}"):
            await still(pilot, 0.4)
        assert_looks_as_before(app, f"{name}-{size}-{look}")


async def test_runs(own_folders, looks, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await until(pilot, lambda: app.entries[0].summary is not None, "the example's numbers")
        await look_at(app, pilot, looks, size, "runs")


async def test_results(own_folders, looks, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        for tab in [tab.name for tab in TABS]:
            app.screen.query_one("#tabs").active = tab
            await settled(pilot)
            if tab == "layers":
                await press(pilot, "right_square_bracket", "right_square_bracket")
                await until(pilot, lambda: "conv3:" in text_of(app), "the verdict")
            await look_at(app, pilot, looks, size, f"results-{tab.replace('_', '-')}")


async def test_one_image(own_folders, looks, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        app.screen.query_one("#tabs").active = "images"
        await press(pilot, "f", "enter")
        await until(pilot, lambda: "taken for" in text_of(app), "the image")
        await look_at(app, pilot, looks, size, "image")


async def test_explore(own_folders, looks, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "2")
        await until(pilot, lambda: "alexnet" in text_of(app), "the models", 120)
        await press(pilot, "j", "j", "enter")
        await until(pilot, lambda: "conv3" in text_of(app), "the layers", 120)
        await look_at(app, pilot, looks, size, "explore")


async def test_new_run(own_folders, looks, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "3")
        await until(pilot, lambda: "10,000 images" in text_of(app), "the plan", 120)
        await look_at(app, pilot, looks, size, "new-run")


async def test_compare(own_folders, looks, size):
    from tests.recorded import record_run

    other = record_run(own_folders, name="recorded", epsilon="0.03,0.1")
    async with running(own_folders, SIZES[size]) as (app, pilot):
        app.compare([EXAMPLE, other])
        await until(pilot, lambda: "conv2" in text_of(app), "the numbers")
        await look_at(app, pilot, looks, size, "compare")


async def test_help(own_folders, looks, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await press(pilot, "question_mark")
        await look_at(app, pilot, looks, size, "help")
