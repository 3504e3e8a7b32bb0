import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from textual.app import App

from psi_core import load_run
from psi_tui.plots.figures import TERMINAL_PALETTE
from psi_tui.screens.results.images.picture import _facts
from psi_tui.screens.results.images.pixels import RAMP, Picture
from tests import recorded

PIXELS = np.linspace(0, 1, 6 * 5).reshape(6, 5)
THEMES = ["textual-dark", "textual-light"]


class PictureApp(App[None]):
    """An app with one picture."""

    CSS = "Screen { align: left top; }"
    palette = TERMINAL_PALETTE

    def __init__(self, picture, theme="textual-dark", ascii_only=False):
        super().__init__()
        self.picture = picture
        self.ascii_only = ascii_only
        self.theme = theme

    def compose(self):
        yield self.picture


def in_app(act, kind="image", pixels=None, **options):
    """Runs `act(app)` once the picture is on screen."""

    async def run():
        app = PictureApp(Picture(kind), **options)
        app.picture.pixels = pixels
        async with app.run_test(size=(60, 40)) as pilot:
            await pilot.pause()
            return await act(app, pilot) if asyncio.iscoroutinefunction(act) else act(app)

    return asyncio.run(run())


def strips(app):
    return app.picture.render_lines(app.picture.size.region)


def letters(app):
    return [strip.text for strip in strips(app)]


def colors(app):
    """Red, green and blue of every pixel that the terminal is told, None where it is told none."""
    rows = []
    for strip in strips(app):
        cells = [segment.style for segment in strip for _ in segment.text]
        rows.append([tuple(style.color.triplet) for style in cells])
        rows.append([None if style.bgcolor is None else tuple(style.bgcolor.triplet) for style in cells])
    return rows


def shade(pixels, kind="image", **options):
    return in_app(colors, kind, np.array(pixels, float), **options)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (7, 3), (1, 1), (56, 56)])
def test_a_cell_holds_two_pixels(height, width):
    size = in_app(lambda app: app.picture.size, pixels=np.zeros((height, width)))
    assert size == (width, -(-height // 2))


@pytest.mark.parametrize("theme", THEMES)
def test_every_pixel_has_its_shade_of_gray(theme):
    expected = [[(round(255 * value),) * 3 for value in row] for row in PIXELS]
    assert shade(PIXELS, theme=theme) == expected
    assert in_app(letters, pixels=PIXELS) == ["▀" * 5] * 3


def test_colored_pixels_keep_their_colors():
    pixels = np.random.default_rng(1).integers(0, 256, (4, 3, 3))
    assert shade(pixels / 255) == [[tuple(pixel) for pixel in row] for row in pixels.tolist()]


def test_under_the_last_odd_row_the_background_shows():
    rows = shade(PIXELS[:3])
    background = in_app(lambda app: tuple(app.picture.rich_style.bgcolor.triplet))
    assert rows[3] == [background] * 5


@pytest.mark.parametrize("ascii_only", [False, True])
def test_values_outside_their_range_are_drawn_as_its_ends(ascii_only):
    look = letters if ascii_only else colors
    wild = np.array([[-7.0, np.inf, np.nan, 1.5], [-np.inf, 2.0, 0.0, 1.0]])
    tame = np.array([[0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
    assert in_app(look, pixels=wild, ascii_only=ascii_only) == in_app(look, pixels=tame, ascii_only=ascii_only)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_difference_that_is_no_number_is_drawn_as_none(ascii_only):
    look = letters if ascii_only else colors
    differences = np.array([[0.0, 1.0], [0.0, -1.0]])
    expected = in_app(look, "difference", differences, ascii_only=ascii_only)
    differences[:, 0] = np.nan
    assert in_app(look, "difference", differences, ascii_only=ascii_only) == expected


@pytest.mark.parametrize("theme", THEMES)
def test_differences_are_blue_below_zero_and_orange_above(theme):
    (below, zero, above), _ = shade([[-0.03, 0, 0.03], [0, 0, 0]], "difference", theme=theme)
    assert below[2] > below[1] > below[0]
    assert above[0] > above[1] > above[2]
    assert max(zero) - min(zero) < 20
    assert (max(zero) < 60) == (theme == "textual-dark")


def luminance(color):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(color) / 255]
    return np.dot([0.2126, 0.7152, 0.0722], linear)


@pytest.mark.parametrize("theme", THEMES)
def test_both_signs_stand_out_from_no_difference_by_brightness_alone(theme):
    (below, zero, above), _ = shade([[-1, 0, 1], [0, 0, 0]], "difference", theme=theme)
    for color in (below, above):
        dark, light = sorted((luminance(color), luminance(zero)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_a_difference_is_as_strong_as_its_share_of_the_limit():
    (whole, half, zero), _ = shade([[1, 0.5, 0], [0, 0, 0]], "difference")
    assert half == pytest.approx((np.array(whole) + zero) / 2, abs=1)

    def limited(app):
        app.picture.limit = 2
        return colors(app)[0]

    assert in_app(limited, "difference", np.array([[1.0, 4.0, 0.0]]))[0] == pytest.approx(half, abs=1)
    assert in_app(limited, "difference", np.array([[1.0, 4.0, 0.0]]))[1] == whole


def test_letters_are_denser_the_brighter_their_two_pixels():
    pixels = np.repeat(np.linspace(0, 1, 10)[np.newaxis], 2, axis=0)
    assert in_app(letters, pixels=pixels, ascii_only=True) == [RAMP]
    mixed = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    assert in_app(letters, pixels=mixed, ascii_only=True) == [" +@"]
    assert in_app(letters, pixels=np.repeat(mixed[:, :, np.newaxis], 3, axis=2), ascii_only=True) == [" +@"]


def test_letters_tell_the_sign_of_the_stronger_difference():
    pixels = np.array([[-1.0, -0.3, 0.0, 0.3, 1.0, 0.2, -0.2], [0.0, 0.2, 0.01, 0.0, 0.9, -1.0, 1.0]])
    assert in_app(letters, "difference", pixels, ascii_only=True) == ["=- +#=#"]


def test_without_color_there_are_letters(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert in_app(letters, pixels=np.ones((4, 3))) == ["@@@", "@@@"]
    assert "@" in in_app(lambda app: app.picture.legend(), pixels=np.ones((4, 3)))


def legend(kind, pixels, **options):
    return in_app(lambda app: app.picture.legend(), kind, pixels, **options)


def test_the_legend_says_how_to_read_it():
    difference = np.array([[-0.01, 0.03]])
    assert legend("image", None) == ""
    assert legend("image", PIXELS) == "0 is black, 1 is white"
    assert legend("image", PIXELS, ascii_only=True) == "from 0 to 1: . : - = + * # % @"
    assert legend("difference", difference) == "blue -0.03, orange +0.03"
    assert legend("difference", 0 * difference) == "no difference"


def test_the_legend_of_letters_tells_where_they_change():
    words = legend("difference", np.array([[-1.0, 0.5]]), ascii_only=True)
    strong = float(re.search(r"# above \+([\d.]+)", words)[1])
    pixels = np.array([[-1.0, -strong - 0.01, -strong + 0.01, strong - 0.01, strong + 0.01]])
    assert in_app(letters, "difference", pixels, ascii_only=True) == ["==-+#"]


@pytest.mark.parametrize(("kind", "shape"), [("image", (3,)), ("image", (3, 3, 4)), ("difference", (3, 3, 3))])
def test_other_shapes_are_refused(kind, shape):
    with pytest.raises(ValueError, match=r"write \(y, x\)"):
        Picture(kind).pixels = np.zeros(shape)


def test_it_takes_another_picture_theme_and_none():
    async def act(app, pilot):
        before = colors(app)
        app.theme = "textual-light"
        await pilot.pause()
        assert colors(app)[0][1] != before[0][1]
        app.picture.pixels = np.zeros((10, 7))
        await pilot.pause()
        assert app.picture.size == (7, 5)
        app.picture.pixels = None
        await pilot.pause()
        assert app.picture.size.height == 0

    in_app(act, "difference", np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_a_smaller_frame_clips_the_picture():
    async def act(app, pilot):
        whole = colors(app)
        app.picture.styles.width, app.picture.styles.height = 3, 2
        await pilot.pause()
        assert colors(app) == [row[:3] for row in whole[:4]]

    in_app(act, pixels=PIXELS)


def test_a_wider_frame_is_filled_with_its_background():
    async def act(app, pilot):
        app.picture.styles.width, app.picture.styles.height = 8, 4
        await pilot.pause()
        assert letters(app) == ["▀▀▀▀▀   "] * 3 + [" " * 8]

    in_app(act, pixels=PIXELS)


def test_the_numbers_of_layers_stand_below_each_other_whatever_their_names(tmp_path, monkeypatch):
    names = ("relu", "層.ブロック_0.1", "features.denseblock1.denselayer1." + "long" * 12 + ".relu1")
    layers = tuple(replace(layer, name=name) for layer, name in zip(recorded.LAYERS, names, strict=True))
    monkeypatch.setattr(recorded, "LAYERS", layers)
    run = load_run(recorded.record_run(tmp_path))
    lines = _facts(run, int(run.index[0]), "fgsm@0.03").splitlines()[2:]
    assert len(lines) == len(names)
    assert len({cell_len(line.rstrip()) for line in lines}) == 1
    assert max(map(cell_len, lines)) <= 70
