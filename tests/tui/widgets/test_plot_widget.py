import asyncio
import time

import pytest
from rich.text import Text
from textual.app import App
from textual.reactive import var

from psi_tui.plots import canvas, draw
from psi_tui.plots.figures import TERMINAL_PALETTE, MirroredHistogram, Palette
from psi_tui.widgets.plot import Plot

DARK = Palette("#6cb6ff", "#ffa657", "#a3bfa0", ("#c9a6f5",), "#939fad")
LIGHT = Palette("#0550ae", "#9a4200", "#505e46", ("#6a3fb5",), "#55606d")


def figure(*upper):
    return MirroredHistogram((0.0, 0.25, 0.5, 0.75, 1.0), upper, (1, 2, 3, 4), "benign", "fgsm@0.03")


class PlotsApp(App[None]):
    """An app with one plot."""

    ascii_only: var[bool] = var(False)

    def __init__(self, plot: Plot) -> None:
        super().__init__()
        self.plot = plot

    @property
    def palette(self):
        if self.current_theme.ansi:
            return TERMINAL_PALETTE
        return DARK if self.current_theme.dark else LIGHT

    def compose(self):
        yield self.plot


def in_app(plot, act, size=(60, 20)):
    """Runs `act(app, pilot)` in a running app."""

    async def run():
        app = PlotsApp(plot)
        async with app.run_test(size=size) as pilot:
            await act(app, pilot)

    asyncio.run(run())


async def until(pilot, condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await pilot.pause()


async def drawn(app, pilot):
    """Waits until nothing is left to draw."""
    await pilot.pause()
    await app.workers.wait_for_complete()
    await pilot.pause()


def shown(plot):
    return [strip.text.rstrip() for strip in plot.render_lines(plot.size.region)]


def expected(app, what, compact=False):
    text = draw(what, *app.plot.size, app.palette, app.ascii_only, compact)
    lines = [line.rstrip() for line in text.plain.split("\n")]
    return lines + [""] * (app.plot.size.height - len(lines))


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
def test_it_shows_its_figure_as_large_as_itself(compact, theme):
    async def act(app, pilot):
        app.theme = theme
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        assert shown(app.plot) == expected(app, app.plot.figure, compact)
        assert app.plot.size == (60, 20)

    in_app(Plot(compact=compact), act)


def test_a_figure_set_before_it_is_on_screen_is_drawn():
    plot = Plot()
    plot.figure = figure(1, 2, 3, 4)

    async def act(app, pilot):
        await drawn(app, pilot)
        assert shown(plot) == expected(app, plot.figure)

    in_app(plot, act)


def test_an_equal_figure_is_not_drawn_again():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        picture = app.plot.render()
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        assert app.plot.render() is picture
        app.plot.figure = figure(4, 3, 2, 2)
        await drawn(app, pilot)
        assert app.plot.render() is not picture

    in_app(Plot(), act)


def test_it_is_drawn_again_in_another_size():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        await pilot.resize_terminal(90, 30)
        await drawn(app, pilot)
        assert app.plot.size == (90, 30)
        assert shown(app.plot) == expected(app, app.plot.figure)

    in_app(Plot(), act)


def test_it_takes_the_colors_of_another_theme():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        for theme, palette in (("textual-light", LIGHT), ("textual-dark", DARK)):
            app.theme = theme
            await drawn(app, pilot)
            colors = {span.style.color.name for span in app.plot.render().spans}
            assert colors == {palette.benign, palette.attacked, palette.muted}

    in_app(Plot(), act)


def test_it_keeps_to_ascii_where_the_terminal_does():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        assert not "".join(shown(app.plot)).isascii()
        app.ascii_only = True
        await drawn(app, pilot)
        assert "".join(shown(app.plot)).isascii()
        assert shown(app.plot) == expected(app, app.plot.figure)

    in_app(Plot(), act)


def test_the_app_stays_awake_and_the_old_picture_stays_while_one_is_drawn():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        before = shown(app.plot)
        with canvas._FIGURE:
            app.plot.figure = figure(1, 2, 3, 4)
            for _ in range(5):
                await pilot.pause()
            assert shown(app.plot) == before
        await until(pilot, lambda: shown(app.plot) == expected(app, figure(1, 2, 3, 4)))

    in_app(Plot(), act)


def test_the_old_picture_is_clipped_until_there_is_one_that_fits():
    async def act(app, pilot):
        app.plot.figure = figure(0, 4, 0, 4)
        await drawn(app, pilot)
        before = shown(app.plot)
        with canvas._FIGURE:
            await pilot.resize_terminal(30, 10)
            await pilot.pause()
            assert shown(app.plot) == [line[:30].rstrip() for line in before[:10]]
        await until(pilot, lambda: shown(app.plot) == expected(app, app.plot.figure))

    in_app(Plot(), act)


def test_a_picture_that_is_no_longer_wanted_is_not_shown():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        app.plot.post_message(Plot.Drawn((figure(1, 1, 1, 1), *app.plot.size), Text("late")))
        await pilot.pause()
        assert shown(app.plot) == expected(app, app.plot.figure)

    in_app(Plot(), act)


def test_the_last_of_many_figures_stays():
    async def act(app, pilot):
        for count in range(30):
            app.plot.figure = figure(count, 1, 1, 1)
            if count % 7 == 0:
                await pilot.pause()
        await drawn(app, pilot)
        assert shown(app.plot) == expected(app, figure(29, 1, 1, 1))

    in_app(Plot(), act)


def test_words_stand_dim_in_the_middle_where_there_is_no_figure():
    async def act(app, pilot):
        await pilot.pause()
        assert shown(app.plot) == [""] * 9 + [" " * 18 + "no chunk yet; wait a bit"] + [""] * 10
        app.plot.empty = "nothing"
        await pilot.pause()
        assert "nothing" in "".join(shown(app.plot))
        assert app.plot.render().style.dim

    in_app(Plot("no chunk yet; wait a bit"), act)


def test_without_a_figure_the_picture_is_gone_at_once_and_does_not_come_back():
    async def act(app, pilot):
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        with canvas._FIGURE:
            app.plot.figure = figure(1, 2, 3, 4)
            await pilot.pause()
            app.plot.figure = None
            await pilot.pause()
            assert "".join(shown(app.plot)).strip() == "gone"
        await drawn(app, pilot)
        assert "".join(shown(app.plot)).strip() == "gone"
        app.plot.figure = figure(1, 2, 3, 4)
        await drawn(app, pilot)
        assert shown(app.plot) == expected(app, figure(1, 2, 3, 4))

    in_app(Plot("gone"), act)


def test_a_hidden_plot_is_drawn_when_it_is_shown():
    async def act(app, pilot):
        app.plot.display = False
        app.plot.figure = figure(4, 3, 2, 1)
        await drawn(app, pilot)
        app.plot.display = True
        await drawn(app, pilot)
        picture = app.plot.render()
        assert shown(app.plot) == expected(app, app.plot.figure)
        app.plot.display = False
        await drawn(app, pilot)
        app.plot.display = True
        await drawn(app, pilot)
        assert app.plot.render() is picture

    in_app(Plot(), act)


def test_it_never_takes_the_focus():
    async def act(app, pilot):
        await pilot.press("tab")
        assert app.focused is None

    in_app(Plot(), act)


def test_a_plot_that_is_never_told_its_size_is_drawn_all_the_same():
    class Untold(Plot):
        def on_resize(self, event):
            event.prevent_default()

    async def act(app, pilot):
        await until(pilot, lambda: "█" in str(app.plot.render()))

    plot = Untold()
    plot.figure = figure(1, 2, 3, 4)
    in_app(plot, act)
