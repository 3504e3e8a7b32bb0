"""The table of images: keys, mouse, filter and order, and what it tells of them."""

import pytest

from psi_core.errors import ConfigError
from psi_core.runs.run import Run
from psi_tui.screens.results.images.index import ImageIndex
from psi_tui.screens.results.images.table import ImageTable
from tests.recorded import record_run
from tests.tui.image_app import showing, sixteen_layers

KEY_COLUMNS = ["image", "label", "benign", "attacked", "confidence_attacked", "psi_benign", "psi_attacked", "shift"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sixteen_layers(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def index(run: Run) -> ImageIndex:
    return ImageIndex.of(run, "fgsm@0.03", "conv1")


@pytest.mark.parametrize(
    ("keys", "image"),
    [
        ("j", 1),
        ("down down k", 1),
        ("up", 0),
        ("pagedown", 21),
        ("pagedown pagedown pageup", 21),
        ("G", 9999),
        ("end j", 9999),
        ("G home", 0),
        ("j j g", 0),
    ],
)
def test_keys_move_the_cursor_and_keep_it_in_sight(index, keys, image):
    async def act(app, pilot):
        await pilot.press(*keys.split())
        assert app.table.current == image
        (line,) = [line for line in app.lines if line.startswith("▸")]
        assert line.split()[1] == str(image)
        assert app.images(ImageTable.Highlighted)[-1] == image
        await pilot.press("enter")
        assert app.images(ImageTable.Selected) == [image]

    showing(index, act)


def test_s_sorts_by_the_next_column_and_shift_s_turns_the_order_around(index):
    async def act(app, pilot):
        for column in [*KEY_COLUMNS[1:], "image"]:
            await pilot.press("s")
            assert (app.table.sort_column, app.table.descending) == (column, False)
            assert app.lines[1].count("▲") == 1
            assert app.table.current == index.image[index.filtered("").sorted_by(column).places[0]]
        await pilot.press("S")
        assert app.table.descending
        assert app.table.current == 9999
        assert "image▼" in app.lines[1]
        assert app.lines[-1].rstrip().endswith("by image ▼")
        told = [message for message in app.told if isinstance(message, ImageTable.Sorted)]
        assert (told[-1].column, told[-1].descending, len(told)) == ("image", True, 9)

    showing(index, act)


def test_the_mouse_sorts_by_a_heading_and_opens_a_row(index):
    async def act(app, pilot):
        at = app.lines[1].rindex("shift")
        for descending in (False, True):
            await pilot.click(ImageTable, offset=(at, 1))
            assert (app.table.sort_column, app.table.descending) == ("shift", descending)
        fifth = int(app.lines[6].split()[0])
        await pilot.click(ImageTable, offset=(10, 6))
        assert app.table.current == fifth
        assert app.images(ImageTable.Selected) == []
        await pilot.click(ImageTable, offset=(10, 6))
        assert app.images(ImageTable.Selected) == [fifth]
        await pilot.click(ImageTable, offset=(10, 23))
        assert app.table.current == fifth

    showing(index, act)


def test_a_wrong_filter_changes_nothing(index):
    async def act(app, pilot):
        app.table.filter_by(" flipped ")
        with pytest.raises(ConfigError, match="did you mean 'righted'"):
            app.table.filter_by("rightet")
        with pytest.raises(ConfigError, match="did you mean 'shift'"):
            app.table.sort_by("shfit")
        await pilot.pause()
        assert (app.table.filter_text, app.table.sort_column) == ("flipped", "image")
        assert app.table.row_count == len(index.filtered("flipped"))

    showing(index, act)


def test_the_cursor_keeps_its_place_where_its_image_is_no_result_any_more(index, tmp_path):
    fewer = ImageIndex.of(Run(record_run(tmp_path, images=60)), "fgsm@0.03", "conv1")

    async def act(app, pilot):
        for row, place in ((9000, 59), (30, 30)):
            app.table.show(index)
            app.table.sort_by("image", descending=True)
            app.table.move_to(row)
            app.table.show(fewer)
            assert app.table.cursor_row == place

    showing(index, act)


def test_the_cursor_stays_on_its_image_through_filters_and_layers(index):
    flipped = int(index.image[index.filtered("flipped").places[30]])

    async def act(app, pilot):
        app.table.move_to(flipped)
        app.table.filter_by("flipped")
        assert (app.table.current, app.table.cursor_row) == (flipped, 30)
        app.table.choose_layer("conv2")
        assert (app.table.current, app.table.index.layer) == (flipped, "conv2")
        app.table.filter_by("")
        await pilot.pause()
        assert app.table.current == flipped
        assert any(line.startswith("▸") and str(flipped) in line for line in app.lines)
        assert "PSI of conv2" in app.lines[0]
        assert app.images(ImageTable.Highlighted)[-1] == flipped
        app.table.filter_by("resisted")
        await pilot.pause()
        first = int(index.image[index.filtered("resisted").places[0]])
        assert app.table.current == first == app.images(ImageTable.Highlighted)[-1]

    showing(index, act)


def test_a_growing_run_does_not_jump(tmp_path):
    whole = record_run(tmp_path / "whole", images=200, chunk=50)
    part = record_run(tmp_path / "part", images=200, chunk=50, chunks=(1, 2))

    async def act(app, pilot):
        app.table.sort_by("shift", descending=True)
        app.table.move_to(50)
        await pilot.press("k", "k", "k")
        image, line = app.table.current, next(n for n, text in enumerate(app.lines) if text.startswith("▸"))
        told = len(app.images(ImageTable.Highlighted))
        app.table.show(ImageIndex.of(Run(whole), "fgsm@0.03"))
        await pilot.pause()
        assert app.table.row_count == 200
        assert app.lines[line].startswith("▸")
        assert app.table.current == image
        assert len(app.images(ImageTable.Highlighted)) == told

    showing(ImageIndex.of(Run(part), "fgsm@0.03"), act)


def test_filter_and_order_may_be_set_before_the_images_come(index):
    async def act(app, pilot):
        app.table.filter_by("flipped")
        app.table.sort_by("shift", descending=True)
        app.table.show(index)
        await pilot.pause()
        view = index.filtered("flipped").sorted_by("shift", descending=True)
        assert app.table.current == index.image[view.places[0]]

    showing(None, act)


def test_words_that_do_not_fit_another_run_are_taken_away(index, tmp_path):
    other = ImageIndex.of(Run(record_run(tmp_path)), "sign-noise@0.03")

    async def act(app, pilot):
        app.table.filter_by("shift_conv9>0")
        app.table.sort_by("shift_conv9")
        app.table.show(other)
        await pilot.pause()
        assert (app.table.filter_text, app.table.sort_column, app.table.row_count) == ("", "image", 60)
        assert "filter: there is no 'shift_conv9'" in next(iter(app._notifications)).message
        assert "control" in app.lines[1]
        assert "attacked" not in app.lines[1]

    showing(index, act)


def test_no_key_is_dead_without_images():
    async def act(app, pilot):
        assert any("no images yet" in line for line in app.lines)
        for key in ("up", "down", "j", "k", "pageup", "pagedown", "home", "end", "g", "G"):
            await pilot.press(key)
        for count, key in enumerate(("enter", "s", "S", "h", "l", "left", "right"), start=1):
            await pilot.press(key)
            assert len(app._notifications) == count
        await pilot.click(ImageTable, offset=(5, 5))
        assert app.told == []

    showing(None, act)
