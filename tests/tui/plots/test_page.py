"""Figures on paper: texts as outlines that every program draws alike, in SVG as in PNG, and none without a word."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from fontTools.pens.boundsPen import BoundsPen
from fontTools.svgLib.path import parse_path
from PIL import Image

from psi_tui.plots import page_files
from psi_tui.plots.figures import Curves, MirroredHistogram, Scatter, Series
from psi_tui.plots.lettering import (
    FONT,
    fitted,
    has_letter,
    is_lettered,
    outline,
    placed,
    text_width,
    units_per_em,
    written,
)
from psi_tui.plots.page import SIZE, Box, Label, Page, draw_page
from psi_tui.plots.page_files import png_bytes, svg_text

SVG = "{http://www.w3.org/2000/svg}"
SIGNS = "\N{MINUS SIGN}-±\N{MULTIPLICATION SIGN}·÷≥≤≈≠→←↑↓∞ΔεσμδλΩα²³¹⁻₀…‰%@#&<>'\"\u2018\u2019“”\u2013—"
NAMES = ("Zürich", "Málaga", "Łódź", "Ærø", "İstanbul", "cœur", "ẞ", "Ελλάδα", "Щука", "Đà Nẵng", "e\u0301tude")


def labels_page(*texts):
    return Page(260, 40, shapes=[Label(20, 15 * (place + 1), text, "#000000") for place, text in enumerate(texts)])


def test_every_sign_that_figures_write_and_every_name_of_europe_has_its_letters():
    assert [sign for sign in SIGNS if not has_letter(sign)] == []
    assert [name for name in NAMES if not is_lettered(written(name))] == []


def test_an_ordinary_page_has_no_text_and_each_outline_once():
    figure = MirroredHistogram((0.0, 0.5, 1.0), (3, 1), (2, 2), "benign, 4 images", "fgsm@0.03, 4 images")
    page = draw_page(figure, "PSI of conv1")
    root = ElementTree.fromstring(svg_text(page))
    assert not [*root.iter(f"{SVG}text")]
    assert root.find(f"{SVG}title").text == "PSI of conv1"
    told = [group.get("aria-label") for group in root.iter(f"{SVG}g")]
    texts = [shape.text for shape in page.shapes if isinstance(shape, Label)]
    assert told == texts
    outlines = {path.get("id"): path.get("d") for path in root.find(f"{SVG}defs")}
    assert len(outlines) == len(set(outlines.values())) == len(set("".join(texts)) - {" "})
    for group, text in zip(root.iter(f"{SVG}g"), texts, strict=True):
        used = [use.get("{http://www.w3.org/1999/xlink}href")[1:] for use in group]
        assert [outlines[name] for name in used] == [outline(letter) for letter in text if letter != " "]


def test_two_pages_in_one_file_share_no_name():
    pages = [draw_page(Scatter((Series("benign", (0, 1), (y, 1)),), "across", "up")) for y in (0.2, 0.3)]
    names = [name for page in pages for name in re.findall(r' id="([^"]+)"', svg_text(page))]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("letter", "gW1\N{MINUS SIGN}äεЖ→")
def test_both_kinds_of_file_draw_a_letter_alike(letter):
    """The outline in SVG and the dots in PNG: as far from where the letter begins, and as large."""
    pen, scale = BoundsPen(None), 16
    parse_path(outline(letter), pen)
    dots = scale * SIZE / units_per_em()
    left, bottom, right, top = (dots * side for side in pen.bounds)
    with Image.open(io.BytesIO(png_bytes(labels_page(letter), scale))) as picture:
        rows, columns = np.nonzero(np.asarray(picture.convert("L")) < 128)
    x, y = 20 * scale, 15 * scale
    found = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert found == pytest.approx((x + left, y - top, x + right, y - bottom), abs=2.01)


def test_a_text_in_a_png_is_as_wide_as_was_foreseen():
    text = "mean shift of PSI \N{MINUS SIGN} sign-noise@0.03, ε ≥ 8/255"
    with Image.open(io.BytesIO(png_bytes(labels_page(text), 8))) as picture:
        columns = np.flatnonzero((np.asarray(picture.convert("L")) < 128).any(0)) / 8
    assert columns[0] == pytest.approx(20, abs=1)
    assert columns[-1] == pytest.approx(20 + text_width(text, SIZE), abs=1)


def test_accents_are_joined_and_letters_stand_side_by_side():
    assert written("e\u0301\n") == "é "
    *_, (last, place) = placed("sparser")
    assert last == "r"
    assert place == pytest.approx(text_width("sparse", 1))


@pytest.mark.parametrize("width", [5, 30, 80, 1000])
def test_what_is_too_wide_loses_its_middle(width):
    name = "denseblock4.denselayer16.conv2.relu"
    shown = fitted(name, width, SIZE)
    assert text_width(shown, SIZE) <= max(width, text_width("…", SIZE))
    before, ellipsis, after = shown.partition("…")
    assert name.startswith(before)
    assert name.endswith(after)
    assert bool(ellipsis) is (width < text_width(name, SIZE))


def test_letters_that_the_font_lacks_stay_a_text_of_the_foreseen_width():
    page = labels_page("cat", "猫 cat")
    (text,) = ElementTree.fromstring(svg_text(page)).iter(f"{SVG}text")
    assert text.text == "猫 cat"
    assert float(text.get("textLength")) == pytest.approx(SIZE + text_width(" cat", SIZE), abs=0.01)
    assert "sans-serif" in text.get("font-family")


def test_in_a_png_no_letter_becomes_an_empty_box(monkeypatch):
    """Where no font of the machine has it, its number in Unicode stands there: two letters look different."""
    monkeypatch.setattr(page_files, "_MACHINE_FONTS", ())
    page_files._machine_font.cache_clear()
    drawn = {}
    for text in ("", "猫", "犬", "\N{CAT FACE}"):
        with Image.open(io.BytesIO(png_bytes(labels_page(text)))) as picture:
            drawn[text] = np.asarray(picture.convert("L")) < 128
    page_files._machine_font.cache_clear()
    assert not drawn[""].any()
    for text in ("猫", "犬", "\N{CAT FACE}"):
        rows, columns = np.nonzero(drawn[text])
        assert 80 <= columns.min() < columns.max() <= 80 + 4 * SIZE
        box = drawn[text][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert box[4:-4, 4:-4].any(), "something stands in it"
    assert not np.array_equal(drawn["猫"], drawn["犬"])


def test_a_font_of_the_machine_draws_what_it_has(monkeypatch):
    monkeypatch.setattr(page_files, "_MACHINE_FONTS", ("no such font.ttf", str(FONT)))
    page_files._machine_font.cache_clear()
    try:
        assert page_files._machine_font("ε", 36).path == str(FONT)
        assert page_files._machine_font("猫", 36) is None
    finally:
        page_files._machine_font.cache_clear()


def test_texts_of_a_page_stand_clear_of_each_other_and_of_the_edges():
    layers = 24
    names = tuple(f"denseblock{place}.denselayer{place}.relu" for place in range(layers))
    along = tuple(float(place) for place in range(layers))
    every = [
        Curves(
            tuple(Series(f"an-attack-{n} - sign-noise", along, tuple(n + 0.37 * x for x in along)) for n in range(5)),
            "layer",
            "mean shift of PSI",
            names,
        ),
        Curves(
            (Series("fgsm", (0.0, 0.0314, 0.0353, 0.1), (98.9, 60.0, 55.0, 41.3), "attacked"),),
            "epsilon",
            "accuracy %",
            x_texts=((0.0314, "8/255"), (0.0353, "9/255"), (0.1, "0.1")),
        ),
        MirroredHistogram(
            (0.0, 0.5, 1.0), (9_999, 1), (0, 10_000), "benign, 10,000 images", "shuffled-fgsm@0.0314, 10,000 images"
        ),
        MirroredHistogram((0.0, 0.5, 1.0), (3, 1), (), "benign, 4 images"),
        MirroredHistogram((-1.5e-7, 0.0, 1.5e-7), (10_000_000_000, 1), (0, 3), "benign " * 30, "中文" * 40),
        Curves(
            tuple(Series(f"foolbox:LinfDeepFoolAttack:steps={n} - sign-noise", (0, 1), (-1e-9, n)) for n in range(16)),
            "a title that says more than the page is wide, of a layer with a name as long as names of layers are",
            "mean shift of PSI of denseblock4.denselayer16.conv2.relu, in benign sd between images, beyond the noise",
        ),
    ]
    for figure in every:
        page = draw_page(figure, "PSI of conv1")
        boxes = [label_box(shape) for shape in page.shapes if isinstance(shape, Label)]
        assert all(left >= 0 and right <= page.width for left, right, *_ in boxes), figure
        assert all(top >= 0 and bottom <= page.height for *_, top, bottom in boxes), figure
        assert min(box.height for box in page.shapes if isinstance(box, Box)) >= 0
        for place, one in enumerate(boxes):
            assert not [other for other in boxes[:place] if touch(one, other)], figure
        heights = [shape for shape in page.shapes if isinstance(shape, Box)]
        ticks = [shape for shape in page.shapes if isinstance(shape, Label) and shape.anchor == "end"]
        assert min(tick.y - 3 for tick in ticks) <= min(box.y + 1.7 for box in heights) + 1e-6, "a tick at the top"
        ElementTree.fromstring(svg_text(page))
        png_bytes(page, 1)


def label_box(label):
    return label.left, label.left + label.text_width, label.y - 7, label.y + 1


def touch(one, other):
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
