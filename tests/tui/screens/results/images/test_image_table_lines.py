"""Lines of the table of images: what is in sight is right, at every width and under every theme."""

import time

import pytest

from psi_core.runs.run import Run
from psi_tui.screens.results.images.columns import CellTexts, fitting_columns, group_line
from psi_tui.screens.results.images.index import ImageIndex
from psi_tui.text.formatting import format_cell
from tests.recorded import record_run
from tests.tui.image_app import showing, sixteen_layers

KEY_COLUMNS = ["image", "label", "benign", "attacked", "confidence_attacked", "psi_benign", "psi_attacked", "shift"]
HEADINGS = "image label benign attacked attacked benign attacked shift"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return sixteen_layers(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def index(run: Run) -> ImageIndex:
    return ImageIndex.of(run, "fgsm@0.03", "conv1")


def test_every_key_column_fits_eighty_columns(index):
    async def act(app, pilot):
        for width in (80, 76, 74):  # With frames around it, too.
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
            assert [column.name for column in app.table.columns] == KEY_COLUMNS
            heads = " ".join(app.lines[:2]).replace("─", "").replace("▲", "").split()
            assert heads == f"prediction confidence PSI of conv1 {HEADINGS}".split()

    showing(index, act)


def test_more_width_shows_the_same_columns_and_more(index):
    before: list[str] = []
    for width in range(1, 300):
        columns = fitting_columns(index, width)
        names = [column.name for column in columns]
        assert set(before) <= set(names)
        assert width < 10 or 1 + sum(column.width + 2 for column in columns) <= width
        assert len(group_line(columns)) <= max(width, 10)
        before = names
    assert set(before) == {
        *KEY_COLUMNS,
        "outcome",
        "confidence_benign",
        *(f"shift_{name}" for name in index.layers[1:]),
    }
    assert [column.name for column in fitting_columns(index, 73)] == KEY_COLUMNS


def test_lines_are_as_wide_as_the_terminal(index):
    async def act(app, pilot):
        for width in (1, 8, 40, 80, 140, 260):
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
            assert {len(line) for line in app.lines} == {width}

    showing(index, act)


def test_columns_stay_where_they_are_when_the_scroll_bar_goes(index):
    async def act(app, pilot):
        width = app.table.line_width
        app.table.filter_by("7")
        await pilot.pause()
        assert app.table.line_width == width

    showing(index, act)


def test_rows_are_those_of_the_run(run, index):
    psi, at = run.psi, run.conditions.index("fgsm@0.03")
    confidence = run.array("confidence")

    async def act(app, pilot):
        await pilot.press("G")
        for line, image in zip(app.lines[2:23], range(9979, 10_000), strict=True):
            shift = float(psi[at, 0, image]) - float(psi[0, 0, image])
            expected = [
                *map(str, (image, run.labels[image], run.predictions[0, image], run.predictions[at, image])),
                format_cell(float(confidence[at, image]), "number"),
                *(format_cell(float(psi[place, 0, image]), "psi") for place in (0, at)),
                format_cell(shift, "shift"),
            ]
            assert line.replace("✗", "").replace("▸", "").split() == expected

    showing(index, act)


def test_a_fooled_row_is_marked_without_color(index):
    async def act(app, pilot):
        for filter_text, count in (("fooled", 21), ("kept", 0), ("wrong", 0), ("righted", 0)):
            app.table.filter_by(filter_text)
            await pilot.pause()
            assert sum("✗" in line for line in app.lines[2:23]) == count
        assert app.lines[23].split()[-5:-3] == ["✗", "fooled"]

    showing(index, act)


def test_outcomes_stand_in_words_where_there_is_room(index):
    async def act(app, pilot):
        for word in ("fooled", "kept", "wrong", "righted"):
            app.table.filter_by(word)
            await pilot.pause()
            assert all(word in line for line in app.lines[2:23])

    showing(index, act, size=(100, 24))


@pytest.mark.parametrize("width", [80, 100])
def test_without_true_labels_an_image_is_fooled_or_kept_too(tmp_path, width):
    predicted = {"labels": "predicted", "model": "torchvision:alexnet", "weights": "imagenet"}
    index = ImageIndex.of(Run(record_run(tmp_path, **predicted)), "fgsm@0.03")

    async def act(app, pilot):
        app.table.filter_by("flipped")
        await pilot.pause()
        assert sum("✗ fooled" in line for line in app.lines) == (1 if width == 80 else app.table.row_count)
        assert not any("✗ changed" in line for line in app.lines)

    showing(index, act, size=(width, 24))


def test_silent_images_have_no_number(index):
    async def act(app, pilot):
        assert all(line.split()[-3:] == ["-", "-", "-"] for line in app.lines[2:23])
        await pilot.press("g", *["s"] * 7, "S")
        assert (app.table.sort_column, app.table.descending) == ("shift", True)
        await pilot.press("G")
        assert app.lines[22].split()[-3:] == ["-", "-", "-"]

    showing(index.with_layer("conv3"), act)


def test_the_position_is_always_in_sight(index):
    async def act(app, pilot):
        def position():
            return app.lines[-1].split("   ")[0].strip()

        assert position() == app.table.position_text == "rows 1-21 of 10,000"
        await pilot.press("pagedown")
        assert position() == "rows 2-22 of 10,000"
        await pilot.press("end")
        assert position() == "rows 9,980-10,000 of 10,000"
        app.table.filter_by("class=3 flipped")
        await pilot.pause()
        count = len(index.filtered("class=3 flipped"))
        assert position() == f"rows 1-21 of {count} (filtered from 10,000)"
        app.table.filter_by("7")
        await pilot.pause()
        assert position() == "rows 1-1 of 1 (filtered from 10,000)"
        app.table.filter_by("class=12")
        await pilot.pause()
        assert position() == "no rows (filtered from 10,000)"
        assert any("no image fits 'class=12'; / changes the filter" in line for line in app.lines)

    showing(index, act)


def test_only_rows_in_sight_are_made_into_text(index, monkeypatch):
    made: list[int] = []

    def of(texts, place, real=CellTexts.of):
        made.append(place)
        return real(texts, place)

    monkeypatch.setattr(CellTexts, "of", of)

    async def act(app, pilot):
        assert sorted(set(made)) == list(range(21))
        await pilot.press("j", "k", "j")
        assert len(made) == len(set(made))
        await pilot.press("G")
        assert set(made) == {*range(21), *range(9979, 10_000)}

    showing(index, act)


def test_ten_thousand_images_of_sixteen_layers_open_and_sort_within_half_a_second(run):
    async def act(app, pilot):
        before = time.process_time()
        app.table.show(ImageIndex.of(Run(run.directory), "fgsm@0.03"))
        await pilot.pause()
        opened = time.process_time() - before
        assert "rows 1-41 of 10,000" in app.lines[-1]
        before = time.process_time()
        app.table.sort_by("shift_conv9", descending=True)
        await pilot.pause()
        sorted_in = time.process_time() - before
        assert app.lines[2].split()[1] != "0"
        assert (opened <= 0.5, sorted_in <= 0.5) == (True, True), (opened, sorted_in)

    showing(None, act, size=(140, 44))


def test_a_resized_table_keeps_its_cursor_in_sight(index):
    async def act(app, pilot):
        app.table.move_to(18)
        for height in (8, 3, 40):
            await pilot.resize_terminal(80, height)
            await pilot.pause()
            assert height == 3 or any(line.startswith("▸") for line in app.lines)

    showing(index, act)


def test_another_theme_repaints_and_the_cursor_shows_the_focus(index):
    async def act(app, pilot):
        def colors() -> set[object]:
            return {segment.style.bgcolor for strip in app.screen._compositor.render_strips() for segment in strip}

        dark = colors()
        app.screen.set_focus(None)
        await pilot.pause()
        assert colors() != dark
        app.theme = "psi-light"
        await pilot.pause()
        assert not colors() & dark

    showing(index, act)
