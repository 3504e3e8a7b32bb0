"""The viewer in the terminal's own pixels: they are the image's, and go with it."""

import re
import threading
from collections import Counter
from contextlib import asynccontextmanager
from itertools import count

import numpy as np

from psi_core.pictures import Picture as Made
from psi_core.pictures import keep_picture
from psi_core.runs.finding import load_run
from psi_tui.app.palette import Palette
from psi_tui.graphics.terminal import Graphics
from psi_tui.screens.results.images.picture import PictureDialog
from psi_tui.screens.results.images.pixels import Picture
from psi_tui.widgets.dialogs import ExportDialog
from tests.recorded import record_run
from tests.tui.apps import press, running, settled, text_of, until
from tests.tui.graphics.decoded import MARKS, PLACEHOLDER, Kitty, sixel_pixels

CONDITION = "fgsm@0.03"
CELL = (8, 16)
PAINTED = re.compile(r"\x1b7\x1b\[(\d+);(\d+)H\x1bP0;1;0q([^\x1b]*)\x1b\\\x1b8")
NAMES = ("benign", "attacked", "difference")


def made(index, size=28, channels=()):
    generator = np.random.default_rng(index)
    benign = generator.uniform(0, 1, (size, size, *channels)).astype(np.float16)
    change = generator.uniform(-0.03, 0.03, (size, size)).astype(np.float16)
    attacked = np.clip(benign + (change if not channels else change[..., np.newaxis]), 0, 1).astype(np.float16)
    return Made(benign, attacked, change, 0.03, 1.0, 7, 0.5)


def bring(directory, size=28, channels=(), images=range(3)):
    """Pictures that need no engine, for the first images of a run."""
    run = load_run(directory)
    for index in images:
        keep_picture(run, index, CONDITION, made(index, size, channels))
    return run


@asynccontextmanager
async def viewer(directory, method, size=(140, 45), *, ascii_only=False):
    """The viewer over the first image, in a terminal that shows pictures this way, and what it is sent."""
    sent = []
    async with running(directory.parent, size, open_directory=directory, ascii_only=ascii_only) as (app, pilot):
        app.graphics = Graphics(method)
        app.graphics.cell = lambda: CELL
        app.graphics._counts = count()  # Its numbers have marks that we know.
        app.graphics.opened(sent.append)
        app._disable_notifications = False  # In tests Textual has no place for them.
        dialog = PictureDialog(load_run(directory), 0, CONDITION, [0, 1, 2])
        app.push_screen(dialog)
        await until(pilot, lambda: has_come(dialog), "the pictures")
        await settled(pilot)
        yield app, pilot, dialog, sent


def has_come(dialog):
    return bool(dialog.query(Picture)) and all(picture.pixels is not None for picture in dialog.query(Picture))


def expected(index, name, size=28, channels=(), multiple=1):
    """What a picture looks like, (y, x, 3)."""
    pixels = getattr(made(index, size, channels), name).astype(float)
    if name == "difference":
        share = pixels / np.abs(pixels).max()
        neutral, blue, orange = np.array([[30, 36, 44], [74, 163, 255], [255, 154, 56]], float)
        ends = np.where(share[..., np.newaxis] < 0, blue, orange)
        colors = np.rint(neutral + np.abs(share)[..., np.newaxis] * (ends - neutral))
    else:
        colors = np.rint(255 * (pixels if channels else np.repeat(pixels[..., np.newaxis], 3, 2)))
    return colors.repeat(multiple, 0).repeat(multiple, 1)


def widget(dialog, name):
    return dialog.query_one(f"#{name}-picture").query_one(Picture)


def segments(app):
    """The screen and what shines through it, as the terminal gets it."""
    lines = app.screen._compositor.render_update(full=True, screen_stack=app._background_screens).strips
    return [segment for line in lines for strip in line for segment in strip]


def numbers_on_screen(app):
    """The numbers of the pictures whose cells are on screen, and how many cells each has."""
    cells = Counter()
    for text, style, _ in segments(app):
        if text.startswith(PLACEHOLDER):
            cells[style.color.number | MARKS.index(text[3]) << 24] += 1
    return cells


def pictures(sent):
    kitty = Kitty().take("".join(sent))
    assert kitty.is_whole, "the last message says that it is the last"
    return kitty.pictures


MULTIPLE = 44 * CELL[0] // 28
SIDE = 28 * MULTIPLE
"""Pixels that every one of an image has, and that the image has, where a picture has 44 columns of room."""


async def shown_of(index, app, pilot, dialog, sent):
    """The numbers of the three pictures of an image: the terminal has them and no other, their cells are on screen."""
    grown = (-(-SIDE // CELL[0]), -(-SIDE // CELL[1]))
    room = [grown[0] * grown[1]] * len(NAMES)
    await until(pilot, lambda: [*numbers_on_screen(app).values()] == room, "three pictures, as large as they get")
    await settled(pilot)
    held = pictures(sent)
    assert set(numbers_on_screen(app)) == set(held)
    assert len(held) == 3, "those of the image before are freed"
    for name in NAMES:
        picture = widget(dialog, name)
        shown = held[picture._drawn.number]
        assert numbers_on_screen(app)[picture._drawn.number] == shown.columns * shown.rows
        assert (shown.columns, shown.rows) == picture.size == grown
        assert shown.pixels.shape[:2] == (shown.rows * CELL[1], shown.columns * CELL[0])
        assert np.array_equal(shown.pixels[:SIDE, :SIDE, :3], expected(index, name, 28, (3,), MULTIPLE))
        assert shown.pixels[:SIDE, :SIDE, 3].all()
        assert not shown.pixels[SIDE:].any()
        assert not shown.pixels[:, SIDE:].any()
    return set(held)


async def test_kitty_has_the_pixels_of_the_image_and_of_no_other(own_folders):
    directory = record_run(own_folders, name="mine")
    bring(directory, channels=(3,))
    async with viewer(directory, "auto") as (app, pilot, dialog, sent):
        assert widget(dialog, "benign").size == (28, 14)
        app.graphics.listener.typed(b"\x1b_Gi=31;OK\x1b\\\x1bP>|kitty(0.40.1)\x1b\\\x1b[?62c")
        first = await shown_of(0, app, pilot, dialog, sent)

        may_answer, ask = threading.Event(), app.engine.ask

        def slow(*arguments, **fields):
            may_answer.wait(30)
            return ask(*arguments, **fields)

        app.engine.ask = slow
        await pilot.press("l")
        await until(pilot, lambda: "making the picture again" in text_of(app), "the next image's turn")
        assert (numbers_on_screen(app), pictures(sent)) == ({}, {}), "words of one, picture of another"
        may_answer.set()
        assert not first & await shown_of(1, app, pilot, dialog, sent), "something else has another number"
        await press(pilot, "h")
        held = await shown_of(0, app, pilot, dialog, sent)

        drawn = app.export_screenshot()
        assert PLACEHOLDER not in drawn
        assert "▀" in drawn
        for key, kind in (("e", ExportDialog), ("ctrl+p", Palette)):
            await press(pilot, key)
            await until(pilot, lambda kind=kind: isinstance(app.screen, kind), "what lies over it")
            await settled(pilot)
            assert not numbers_on_screen(app), "tinted, a number would be another one"
            half_blocks = sum(segment.text.count("▀") for segment in segments(app))
            assert half_blocks > 500 or kind is Palette, "the palette leaves nothing of it to be seen"
            await press(pilot, "escape")
            assert await shown_of(0, app, pilot, dialog, sent) == held, "none was sent twice"

        app.theme = "psi-light"
        await until(pilot, lambda: not held & set(numbers_on_screen(app)), "pictures in other colors")
        assert set(pictures(sent)) == set(numbers_on_screen(app))
        assert len(pictures(sent)) == 3
        await press(pilot, "escape")
        assert not isinstance(app.screen, PictureDialog)
        assert (numbers_on_screen(app), pictures(sent)) == ({}, {})


def painted(sent):
    """Pictures painted in sixels: column, line and pixels of each."""
    return [(int(match[2]) - 1, int(match[1]) - 1, sixel_pixels(match[3])) for match in PAINTED.finditer("".join(sent))]


class Painting:
    """What is painted in sixels over a viewer.

    Args:
        app, pilot, dialog, sent: as `viewer` gives them.
    """

    def __init__(self, app, pilot, dialog, sent):
        self.app, self.pilot, self.dialog, self.sent = app, pilot, dialog, sent

    async def after(self, act, count=1):
        """Pixels by column and line, once something was done that paints so many pictures."""
        self.sent.clear()
        await act()
        await until(self.pilot, lambda: len(painted(self.sent)) >= count, "sixels")
        await settled(self.pilot)
        return {(x, y): pixels for x, y, pixels in painted(self.sent)}

    async def none_after(self, act):
        self.sent.clear()
        await act()
        await settled(self.pilot)
        assert not painted(self.sent)

    async def drawn_again(self, selector):
        """Has the cells of a part of the dialog written again."""
        part = self.dialog.query_one(selector)
        (part if part.id == "picture-facts" else part.query_one(Picture)).refresh()
        await self.pilot.pause()


@asynccontextmanager
async def painting(own_folders):
    directory = record_run(own_folders, name="mine")
    bring(directory)
    async with viewer(directory, "sixel") as (app, pilot, dialog, sent):
        yield app, pilot, dialog, Painting(app, pilot, dialog, sent)


async def test_sixels_lie_over_the_cells_of_their_picture_as_long_as_they_are_seen(own_folders):
    async with painting(own_folders) as (app, pilot, dialog, paints):
        places = await paints.after(lambda: press(pilot, "l"), 3)
        for name in NAMES:
            region = dialog.find_widget(widget(dialog, name)).region
            shown = places.pop((region.x, region.y))
            assert shown.shape[:2] == (region.height * CELL[1], region.width * CELL[0])
            colors = np.rint(expected(1, name, multiple=MULTIPLE) / 2.55)
            # Of a difference there may be more colors than sixels have.
            assert np.abs(shown[:SIDE, :SIDE, :3] - colors).max() <= (5 if name == "difference" else 0)
            assert shown[:SIDE, :SIDE, 3].all()
            assert not shown[SIDE:].any()
        assert not places
        assert "▀" in text_of(app), "where sixels get lost there still is a picture"

        await paints.none_after(lambda: paints.drawn_again("#picture-facts"))
        assert len(await paints.after(lambda: paints.drawn_again("#benign-picture"))) == 1
        await paints.none_after(lambda: press(pilot, "e"))
        assert isinstance(app.screen, ExportDialog)
        assert len(await paints.after(lambda: press(pilot, "escape"), 3)) == 3
        await paints.none_after(lambda: press(pilot, "escape"))


async def test_sixels_cover_no_words_and_show_a_part_where_a_part_is_seen(own_folders):
    async with painting(own_folders) as (app, pilot, dialog, paints):
        await pilot.resize_terminal(100, 16)  # Lower than the dialog, which scrolls then.
        await until(pilot, lambda: widget(dialog, "benign").size == (28, 14), "a smaller picture")
        await settled(pilot)
        whole = expected(0, "benign", multiple=8)
        for down in (0, 3):
            dialog.query_one(".pictures").scroll_to(y=down, animate=False)
            await settled(pilot)
            places = await paints.after(lambda: paints.drawn_again("#benign-picture"))
            seen = dialog.find_widget(widget(dialog, "benign")).visible_region
            assert seen.height < 14
            shown = places[seen.x, seen.y]
            assert shown.shape[:2] == (seen.height * CELL[1], seen.width * CELL[0])
            top = CELL[1] * max(0, down - 1)
            part = np.rint(whole[top : top + seen.height * CELL[1]] / 2.55)
            assert np.array_equal(shown[: len(part), : whole.shape[1], :3], part)

        app.notify("covers " * 20, timeout=60)
        await until(pilot, lambda: "covers" in text_of(app), "a message over a picture")
        await paints.none_after(lambda: paints.drawn_again("#difference-picture"))

        async def uncovered():
            app.clear_notifications()
            await until(pilot, lambda: "covers" not in text_of(app), "its end")

        assert await paints.after(uncovered)


async def test_in_letters_nothing_is_sent(own_folders):
    directory = record_run(own_folders, name="mine")
    bring(directory)
    async with viewer(directory, "kitty", ascii_only=True) as (app, _, dialog, sent):
        assert not sent
        assert widget(dialog, "benign").size == (28, 14)
        assert "#" in text_of(app)


async def test_the_viewer_grows_with_the_terminal(own_folders):
    directory = record_run(own_folders, name="mine")
    bring(directory, 224)
    async with viewer(directory, "blocks", (80, 24)) as (app, pilot, dialog, _):
        for size, side in (((80, 24), 34), ((140, 45), 44), ((200, 60), 64), ((140, 45), 44), ((80, 24), 34)):
            await pilot.resize_terminal(*size)
            await until(pilot, lambda side=side: widget(dialog, "benign").size.width == side, f"pictures of {side}")
            await settled(pilot)
            shown = NAMES if size[0] >= 90 else NAMES[:2]
            assert all(widget(dialog, name).size == (side, side // 2) for name in shown)
            assert "esc leaves" in text_of(app), "its last line is there"
            assert dialog._told.splitlines()[-1].strip() in text_of(app)
