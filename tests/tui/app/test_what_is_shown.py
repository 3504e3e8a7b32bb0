"""No picture is ever of another run, layer or condition than its words; a large pane is whole; the keys find back."""

import random
from dataclasses import replace

import pytest
from textual.widgets import TabbedContent

from psi_core.conditions import Condition
from psi_core.files import examples_directory
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.screens.base import Pane
from psi_tui.screens.results.screen import TABS
from psi_tui.widgets.plot import Plot
from tests.recorded import record_run
from tests.tui.app.test_bursts import burst
from tests.tui.apps import NARROW, WIDE, HeardApp, press, running, settled, still, text_of, until

pytestmark = pytest.mark.usefixtures("warm_engine")

TALL = (200, 60)
KEYS = ("1", "4", "enter", "j", "k", "[", "]", "<", ">", "c", "m", "b", "f", "p", "v", "+", "-", "escape", "5", "space")


def wrong_pictures(app):
    """What is painted now and is not of what the words tell."""
    found, screen = [], app.screen
    if app.current_mode != "results" or len(app.screen_stack) > 1:
        return []
    choices = screen.choices
    for plot in screen.query(Plot):
        is_seen = plot.figure is not None and plot._picture is not None and plot.region and plot.visible is not False
        if not is_seen or choices is None or plot not in screen.tab.walk_children():
            continue
        drawn = plot._subject
        condition = drawn.condition if "@" in drawn.condition else Condition.of_name(choices.condition).attack
        wanted = replace(
            drawn,
            run=str(app.open_directory),
            layer=drawn.layer and (plot.parent.layer_name if plot.compact else choices.layer),
            condition=choices.condition if "@" in drawn.condition else condition,
            subset=choices.subset,
        )
        if drawn != wanted or plot.figure.subject != plot.about:
            found.append((plot, drawn, wanted))
        title = str(plot.parent.border_title or "")
        if plot.id == "histogram" and choices.layer not in title:
            found.append((plot, title, choices.layer))
    return found


@pytest.fixture
def watched(monkeypatch):
    """Looks at every frame."""
    found = []

    def look(app, real=HeardApp.post_display_hook):
        real(app)
        if app.screen_stack:
            found.extend(wrong_pictures(app))

    monkeypatch.setattr(HeardApp, "post_display_hook", look)
    return found


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
async def test_no_frame_of_a_random_walk_shows_another_run_layer_or_condition(own_folders, watched, size):
    for place, name in enumerate(("one", "two")):
        record_run(own_folders, name=name, epsilon="0.03,0.1", seed=place, shift=0.02 * place)
    generator = random.Random(14)
    async with running(own_folders, size) as (app, pilot):
        for _ in range(12):
            await burst(pilot, *generator.choices(KEYS, k=10))
            assert watched == []
            screen = app.screen
            if app.current_mode == "results" and app.snapshot is not None and screen.tabs.active == "layers":
                choices, run = screen.choices, app.snapshot.run
                figure = layer_histogram(
                    run,
                    choices.layer,
                    measure=choices.measure,
                    condition=choices.condition,
                    bins=choices.bins,
                    subset=choices.subset,
                    whole_range=choices.bins == 20,
                ).figure
                shown = screen.query_one("#histogram", Plot).figure
                assert shown is not None
                assert replace(shown, subject=figure.subject) == figure


async def test_the_run_opened_second_has_its_own_histogram(own_folders, watched):
    directory = record_run(own_folders, name="mine")
    (example, *_) = [path for path in examples_directory().iterdir() if path.is_dir()]
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app) and "benign   accuracy" in text_of(app), "the tables")
        await still(pilot)
        alone = text_of(app)
    async with running(own_folders, WIDE, open_directory=example) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        await press(pilot, "c", "1", "g", "enter")
        await until(pilot, lambda: app.snapshot is not None and app.snapshot.run.name == "mine", "the other run")
        await until(pilot, lambda: "benign   accuracy" in text_of(app), "the tables")
        await settled(pilot)
        app.clear_notifications()
        await still(pilot)
        assert text_of(app) == alone
        assert app.focused.id == "layer-table"
    assert watched == []


async def test_a_large_pane_is_as_large_as_the_screen_and_no_larger(own_folders):
    directory = record_run(own_folders, name="mine", epsilon="0.03,0.1")
    async with running(own_folders, TALL, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        for tab in TABS:
            app.screen.query_one(TabbedContent).active = tab.name
            await settled(pilot)
            for pane in [pane for pane in app.screen.tab.query(Pane) if pane.region and not pane.has_class("small")]:
                app.screen.maximize(pane, container=False)
                await settled(pilot)
                assert (pane.region.x, pane.region.width) == (0, app.size.width), (tab.name, pane)
                assert pane.region.bottom <= app.size.height, (tab.name, pane)
                for plot in pane.query(Plot):
                    assert plot.region.right <= app.size.width
                app.screen.minimize()
                await settled(pilot)


async def test_the_keys_go_back_to_the_table_once_its_histogram_is_small_again(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the table")
        for leave in ("escape", "minus"):
            await press(pilot, "enter", leave, "j")
            assert app.focused.id == "layer-table"
        assert app.screen.choices.layer == "fc1"


async def test_a_histogram_that_gets_room_says_its_bins(own_folders):
    directory = record_run(own_folders, name="mine")
    async with running(own_folders, WIDE, open_directory=directory) as (app, pilot):
        await until(pilot, lambda: "bins" in text_of(app), "the histogram")
        pane = app.screen.query_one("#histogram-pane")
        whole = pane.border_title
        pane.styles.width = 16
        await until(pilot, lambda: pane.border_title != whole, "a shorter title")
        pane.styles.width = None
        await until(pilot, lambda: pane.border_title == whole, "the whole title")
