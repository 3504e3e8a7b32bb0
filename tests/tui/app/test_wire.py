"""Only what has changed goes over the line, and the terminal shows all the same what it would be shown without that."""

import itertools

import pyte
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import ChopsUpdate, CompositorUpdate, InlineUpdate, LayoutUpdate
from textual.app import App
from textual.geometry import Region
from textual.strip import Strip

from psi_tui.app.wire import Wire
from tests.recorded import record_run
from tests.tui.app.test_bursts import burst
from tests.tui.apps import WIDE, running, settled

CONSOLE = Console(force_terminal=True, color_system="256", width=200)
WIDTH, HEIGHT = 24, 3
STYLES = (None, Style(), Style(color="red"), Style(bold=True, bgcolor="blue"), Style(link="https://here.example"))
CHARACTERS = ["a", "b", " ", "█", "é", "中", "国"]


class Drawn:
    """A terminal that is sent updates.

    Args:
        width, height: of it, in cells.
    """

    def __init__(self, width, height):
        self.screen = pyte.Screen(width, height)
        self.stream = pyte.Stream(self.screen)
        self.sent = 0

    def take(self, update):
        text = update.render_segments(CONSOLE)
        self.sent += len(text)
        self.stream.feed(text)

    @property
    def cells(self):
        return [[self.screen.buffer[y][x] for x in range(self.screen.columns)] for y in range(self.screen.lines)]


def strip_of(parts, width):
    segments = [Segment("".join(characters), style) for characters, style in parts]
    return Strip(segments).adjust_cell_length(width)


parts = st.lists(st.tuples(st.lists(st.sampled_from(CHARACTERS), min_size=1, max_size=9), st.sampled_from(STYLES)))


@st.composite
def updates(draw):
    """Whole screens, and parts of lines as widgets side by side leave them."""
    if draw(st.integers(0, 3)) == 0:
        lines = [[strip_of(draw(parts), WIDTH)] for _ in range(HEIGHT)]
        return LayoutUpdate(lines, Region(0, 0, WIDTH, HEIGHT))
    cuts = sorted({0, WIDTH, *draw(st.lists(st.integers(1, WIDTH - 1), max_size=3))})
    chops = [
        {x: strip_of(draw(parts), end - x) if draw(st.booleans()) else None for x, end in itertools.pairwise(cuts)}
        for _ in range(HEIGHT)
    ]
    line, left = draw(st.integers(0, HEIGHT - 1)), draw(st.sampled_from(cuts[:-1]))
    right = draw(st.integers(left + 1, WIDTH))
    return ChopsUpdate(chops, [(line, left, right)], [cuts[1:]] * HEIGHT)


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(st.lists(updates(), min_size=1, max_size=6), st.integers(0, 6))
def test_a_terminal_shows_the_same_and_gets_less(drawn, forgets_at):
    wire, whole, short = Wire(), Drawn(WIDTH, HEIGHT), Drawn(WIDTH, HEIGHT)
    for number, update in enumerate(drawn):
        if number == forgets_at:
            wire.forget()
        for terminal, sent in ((whole, update), (short, wire.shortened(update))):
            terminal.take(sent)
        assert short.cells == whole.cells
        before = short.sent
        short.take(wire.shortened(update))
        assert short.sent == before, "nothing is new"


def test_what_is_forgotten_is_sent_again_and_an_unknown_update_as_it_is():
    wire, line = Wire(), Strip([Segment("as it was", Style(color="red"))])
    update = LayoutUpdate([[line]], Region(0, 0, 9, 1))
    first = wire.shortened(update).render_segments(CONSOLE)
    assert "as it was" in first
    assert wire.shortened(update).render_segments(CONSOLE) == ""
    wire.forget()
    assert wire.shortened(update).render_segments(CONSOLE) == first
    inline = InlineUpdate([line])
    assert wire.shortened(inline) is inline
    assert wire.shortened(update).render_segments(CONSOLE) == first, "nobody knows where that one was written"


def test_what_is_joined_stays_together():
    for before, after in (("e\N{COMBINING ACUTE ACCENT}x", "e\N{COMBINING GRAVE ACCENT}x"), ("中x", "国x")):
        wire = Wire()
        for text in (before, after):
            sent = wire.shortened(LayoutUpdate([[Strip([Segment(text)])]], Region(0, 0, 3, 1))).render_segments(CONSOLE)
        assert sent == "\x1b[1;1H" + after[:-1]


def test_a_wide_letter_that_was_half_covered_is_drawn_again():
    wire, whole, short = Wire(), Drawn(4, 1), Drawn(4, 1)
    wide = LayoutUpdate([[Strip([Segment("中bc")])]], Region(0, 0, 4, 1))
    for update in (wide, LayoutUpdate([[Strip([Segment("x")])]], Region(1, 0, 1, 1)), wide):
        whole.take(update)
        short.take(wire.shortened(update))
    assert short.cells == whole.cells


def test_a_letter_costs_a_letter():
    wire, style = Wire(), Style(color="red", bgcolor="black")
    lines = [Strip([Segment(text, style)]) for text in ("10 of 60 images", "15 of 60 images")]
    for line in lines:
        sent = wire.shortened(LayoutUpdate([[line]], Region(0, 0, 15, 1))).render_segments(CONSOLE)
    assert len(sent) < 30
    assert "15 of" not in sent


async def test_over_every_screen_it_shows_what_is_drawn(own_folders, monkeypatch):
    for name in ("one", "two"):
        record_run(own_folders, name=name, images=12, chunk=6)
    terminal = Drawn(*WIDE)

    def take(_app, _screen, update):
        if isinstance(update, CompositorUpdate) and not _app._batch_count:
            terminal.take(update)

    monkeypatch.setattr(App, "_display", take)
    async with running(own_folders, WIDE) as (app, pilot):
        app.wire.forget()
        app.screen.refresh()
        for keys in (
            ["down"],
            ["enter"],
            [">", ">"],
            ["c", "ctrl+p"],
            ["l", "escape"],
            ["<", "]"],
            ["1", "e"],
            ["escape"],
        ):
            await burst(pilot, *keys)
            await settled(pilot)
            whole = Drawn(*WIDE)
            whole.take(app.screen._compositor.render_update(full=True, screen_stack=app._background_screens))
            assert terminal.cells == whole.cells, keys
