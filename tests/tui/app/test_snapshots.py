"""How every screen looks, over the shipped example and recorded runs: pictures at both sizes, words in other looks."""

import pytest
from textual.color import Color

from psi_core.files import examples_directory
from psi_tui.screens.results.screen import TABS
from tests.recorded import record_run
from tests.tui.apps import NARROW, WIDE, press, running, settled, still, text_of, until
from tests.tui.snapshots import assert_looks_as_before, assert_says_as_before, looks_as_before

pytestmark = pytest.mark.usefixtures("warm_engine")

EXAMPLE = examples_directory() / "example-alexnet"
SIZES = {"80x24": NARROW, "140x40": WIDE}


async def show_runs(app, pilot):
    await press(pilot, "1")
    await until(pilot, lambda: all(each.summary is not None for each in app.entries), "the examples' numbers")


async def show_explore(app, pilot):
    await press(pilot, "2")
    await until(pilot, lambda: "alexnet" in text_of(app), "the models", 120)
    await press(pilot, "j", "j", "enter")
    await until(pilot, lambda: "conv3" in text_of(app), "the layers", 120)


async def show_new_run(app, pilot):
    await press(pilot, "3")
    await until(pilot, lambda: "10,000 images" in text_of(app), "the plan", 120)


async def show_compare(app, pilot):
    app.compare([EXAMPLE, record_run(app.runs_dir, name="recorded", epsilon="0.03,0.1")])
    await until(pilot, lambda: "conv2" in text_of(app), "the numbers")


async def show_tab(app, pilot, tab):
    app.screen.query_one("#tabs").active = tab
    await settled(pilot)
    if tab == "layers":
        await press(pilot, "right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: "conv3:" in text_of(app), "the verdict")


async def show_image(app, pilot):
    app.screen.query_one("#tabs").active = "images"
    await press(pilot, "f", "enter")
    await until(pilot, lambda: "predicted " in text_of(app), "the image")


SCREENS = {"runs": show_runs, "explore": show_explore, "new-run": show_new_run, "compare": show_compare}


async def look_at(app, pilot, name):
    app.clear_notifications()
    await still(pilot)
    if not looks_as_before(app, name):
        await still(pilot, 0.4)
    assert_looks_as_before(app, name)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SCREENS)
async def test_a_screen(own_folders, name, size):
    async with running(own_folders, SIZES[size]) as (app, pilot):
        await SCREENS[name](app, pilot)
        await look_at(app, pilot, f"{name}-{size}-dark")
        if name == "runs":
            await press(pilot, "question_mark")
            await look_at(app, pilot, f"help-{size}-dark")


@pytest.mark.parametrize("size", SIZES)
async def test_results(own_folders, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        for tab in [tab.name for tab in TABS]:
            await show_tab(app, pilot, tab)
            await look_at(app, pilot, f"results-{tab.replace('_', '-')}-{size}-dark")


@pytest.mark.parametrize("size", SIZES)
async def test_one_image(own_folders, size):
    async with running(own_folders, SIZES[size], open_directory=EXAMPLE) as (app, pilot):
        await show_image(app, pilot)
        await look_at(app, pilot, f"image-{size}-dark")
        app.theme = "psi-light"
        await assert_says_as_before(app, pilot, f"image-{size}-dark")


def colors_of(app):
    """Every color on the screen, written or behind."""
    styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip if segment.style]
    return {
        Color.from_rich_color(color) for style in styles for color in (style.color, style.bgcolor) if color is not None
    }


async def walk(app, pilot):
    """Shows one screen after the other, and gives each one's name."""
    for name, show in SCREENS.items():
        await show(app, pilot)
        yield name
        if name == "runs":
            await press(pilot, "question_mark")
            yield "help"
            await press(pilot, "escape")
    app.open_run(EXAMPLE)
    await until(pilot, lambda: app.snapshot is not None, "the example")
    await settled(pilot)
    for tab in [tab.name for tab in TABS]:
        await show_tab(app, pilot, tab)
        yield f"results-{tab.replace('_', '-')}"


async def test_another_theme_says_the_same_in_colors_of_its_own(own_folders):
    async with running(own_folders, WIDE) as (app, pilot):
        app.theme = "psi-light"
        async for name in walk(app, pilot):
            await assert_says_as_before(app, pilot, f"{name}-140x40-dark")
            background = app.screen.styles.background
            assert background.brightness > 0.9, name


async def test_without_color_the_same_is_said_in_grays(own_folders, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    async with running(own_folders, NARROW) as (app, pilot):
        async for name in walk(app, pilot):
            await assert_says_as_before(app, pilot, f"{name}-80x24-dark")
            assert {color for color in colors_of(app) if not color.r == color.g == color.b} == set(), name
