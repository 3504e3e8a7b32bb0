"""What is sent for a picture shows that picture, pixel by pixel."""

import numpy as np
import pytest
from rich.cells import cell_len
from rich.color import ColorSystem, ColorType
from rich.segment import Segment
from rich.style import Style

from psi_tui.graphics.kitty import LONGEST_SIDE, cells, freeing, image_number, sending
from psi_tui.graphics.sixel import sixels
from tests.tui.graphics.decoded import MARKS, PLACEHOLDER, SIXEL, Kitty, sixel_pixels


def noise(height, width, colors=None, seed=1):
    """Opaque pixels, (y, x, 4), of as many colors."""
    generator = np.random.default_rng(seed)
    pixels = np.full((height, width, 4), 255, np.uint8)
    if colors is None:
        pixels[:, :, :3] = generator.integers(0, 256, (height, width, 3))
    else:
        palette = generator.integers(0, 256, (colors, 3), np.uint8)
        pixels[:, :, :3] = palette[generator.integers(0, colors, (height, width))]
    return pixels


@pytest.mark.parametrize("has_answer", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (30, 40), (120, 70)])
def test_kitty_shows_the_pixels_that_were_sent(height, width, has_answer):
    pixels = noise(height, width)
    pixels[-1:, :, 3] = 0
    kitty = Kitty().take("".join(sending(77, pixels, 9, 4, has_answer=has_answer)))
    (shown,) = kitty.pictures.values()
    assert kitty.awaited == ({77} if has_answer else set())
    assert (list(kitty.pictures), kitty.is_whole) == ([77], True)
    assert np.array_equal(shown.pixels, pixels)
    assert (shown.columns, shown.rows) == (9, 4)
    assert not kitty.take(freeing(77)).pictures


def test_a_cell_tells_row_column_and_number():
    number = image_number(3 * 240 + 26)
    assert (number >> 24, number & 0xFFFFFF) == (4, 42)
    for row, column in ((0, 0), (1, 0), (2, 5), (16, 16)):
        (cell,) = cells(number, row, range(column, column + 1), Style.parse("on #102030"))
        assert cell.text == PLACEHOLDER + MARKS[row] + MARKS[column] + MARKS[4]
        assert cell.style.color.get_ansi_codes() == ("38", "5", "42")
        assert cell.style.color.downgrade(ColorSystem.EIGHT_BIT).get_ansi_codes() == ("38", "5", "42")
        assert cell.style.color.triplet is not None, "no filter replaces it"
        assert cell.style.bgcolor.name == "#102030"


def test_every_picture_has_a_number_of_its_own_and_no_color_of_the_terminals():
    numbers = [image_number(count) for count in range(240 * (LONGEST_SIDE - 1))]
    assert len(set(numbers)) == len(numbers)
    assert all(16 <= number & 0xFFFFFF <= 255 and number >> 24 for number in numbers)
    assert image_number(len(numbers)) == numbers[0]


def test_marks_are_distinct_and_cells_are_one_wide_so_that_cuts_split_none():
    line = cells(image_number(5), LONGEST_SIDE - 1, range(LONGEST_SIDE), Style())
    assert len({cell.text for cell in line}) == LONGEST_SIDE
    assert {cell_len(cell.text) for cell in line} == {1}
    left, right = Segment.divide(line, [40, LONGEST_SIDE])
    assert [*left, *right] == line
    assert {cell.style.color.type for cell in left} == {ColorType.EIGHT_BIT}


def shown_by_sixels(pixels):
    match = SIXEL.fullmatch(sixels(pixels))
    assert match is not None
    return sixel_pixels(match[1])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (6, 7), (13, 40), (64, 33)])
@pytest.mark.parametrize("colors", [1, 3, 200])
def test_sixels_show_the_nearest_percent_of_every_pixel(height, width, colors):
    pixels = noise(height, width, colors)
    pixels[height // 2 :, width // 3 :, 3] = 0
    shown = shown_by_sixels(pixels)
    assert np.array_equal(shown[:, :, 3] == 1, pixels[:, :, 3] == 255)
    opaque = shown[:, :, 3] == 1
    assert np.array_equal(shown[opaque][:, :3], np.rint(pixels[opaque][:, :3] / 2.55).astype(int))


def test_more_colors_than_a_message_has_become_the_nearest_ones():
    ramp = np.linspace(0, 255, 80).astype(np.uint8)
    pixels = np.full((80, 80, 4), 255, np.uint8)
    pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2] = ramp[:, np.newaxis], ramp, 128
    shown = shown_by_sixels(pixels)
    assert shown[:, :, 3].all()
    off = np.abs(shown[:, :, :3] * 2.55 - pixels[:, :, :3])
    assert off.mean() < 6
    assert off.max() < 40


def test_a_picture_with_nothing_in_it_paints_nothing():
    assert not shown_by_sixels(np.zeros((9, 5, 4), np.uint8)).any()
