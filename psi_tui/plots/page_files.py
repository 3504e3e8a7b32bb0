"""Pages as files, which look alike: SVG with every text as outlines, and PNG.

SVG has the outline of each letter once, and each text's words for those who cannot see it. A text with letters that
our font lacks stays a text there, which the reader's fonts draw. In PNG such letters are drawn by a font of this
machine, and where none has them by a box with their number.
"""

import io
import math
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from psi_tui.plots.lettering import FONT, has_letter, is_lettered, outline, placed, text_width, units_per_em
from psi_tui.plots.page import SIZE, Box, Label, Page, Path

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

_FAMILIES = "'DejaVu Sans Condensed', Arial, 'Noto Sans CJK SC', 'Microsoft YaHei', 'PingFang SC', sans-serif"
"""What draws letters that our font lacks."""

_MACHINE_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
    "msyh.ttc",
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
)
"""Files of fonts with many letters, as Linux, macOS and Windows have them, looked for where they keep fonts."""


_FINER = 2
"""Dots drawn across and upwards for one of a PNG."""


def svg_text(page: Page) -> str:
    """A page as SVG that looks alike in every program."""
    texts = [shape.text for shape in page.shapes if isinstance(shape, Label)]
    # Several pages may stand in one file, where no two outlines may have one name.
    mark = f"p{zlib.crc32(repr(page.shapes).encode()):08x}-"
    letters = sorted({letter for text in texts if is_lettered(text) for letter in text if outline(letter)})
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" role="img" '
        f'width="{page.width}pt" height="{page.height}pt" viewBox="0 0 {page.width} {page.height}">',
        f"<title>{escape(page.title)}</title>",
        "<defs>",
        *(f'<path id="{mark}{ord(letter):x}" d="{outline(letter)}"/>' for letter in letters),
        "</defs>",
        f'<rect width="{page.width}" height="{page.height}" fill="#ffffff"/>',
    ]
    for shape in page.shapes:
        match shape:
            case Box():
                parts.append(
                    f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" '
                    f'height="{shape.height:.2f}" fill="{shape.color}" shape-rendering="crispEdges"/>'
                )
            case Path():
                points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
                dashes = f' stroke-dasharray="{shape.dashes}"' if shape.dashes else ""
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{shape.color}" '
                    f'stroke-width="{shape.width}"{dashes}/>'
                )
            case Label() if is_lettered(shape.text):
                parts.append(_outlined(shape, mark))
            case Label():
                parts.append(
                    f'<text x="{shape.left:.2f}" y="{shape.y:.2f}" fill="{shape.color}" font-size="{SIZE}" '
                    f'font-family="{_FAMILIES}" textLength="{shape.text_width:.2f}" lengthAdjust="spacingAndGlyphs">'
                    f"{escape(shape.text)}</text>"
                )
    return "\n".join([*parts, "</svg>\n"])


def _outlined(label: Label, mark: str) -> str:
    """A text as its letters' outlines, in the font's units."""
    units = units_per_em()
    scale = SIZE / units
    uses = "".join(
        f'<use xlink:href="#{mark}{ord(letter):x}" x="{round(place * units)}"/>'
        for letter, place in placed(label.text)
        if outline(letter)
    )
    return (
        f'<g role="img" aria-label="{escape(label.text)}" fill="{label.color}" '
        f'transform="translate({label.left:.2f} {label.y:.2f}) scale({scale:.6f} -{scale:.6f})">{uses}</g>'
    )


def png_bytes(page: Page, scale: int = 4) -> bytes:
    """A page as PNG of 288 dots an inch."""
    from PIL import Image, ImageDraw

    scale *= _FINER  # Pillow's lines have steps, and no shades between dots.
    image = Image.new("RGB", (page.width * scale, page.height * scale), "#ffffff")
    pen = ImageDraw.Draw(image)
    for shape in page.shapes:
        match shape:
            case Box():
                corner = (shape.x + shape.width, shape.y + shape.height)
                pen.rectangle([shape.x * scale, shape.y * scale, *(end * scale for end in corner)], fill=shape.color)
            case Path():
                points = [(x * scale, y * scale) for x, y in shape.points]
                for stretch in _dashed(points, shape.dashes, scale):
                    pen.line(stretch, fill=shape.color, width=max(1, round(shape.width * scale)))
            case Label():
                # Letter by letter: a writer of whole texts rounds every width to full dots.
                for letter, place in placed(shape.text):
                    left = (shape.left + place * SIZE) * scale
                    _draw_letter(pen, (left, shape.y * scale), letter, shape.color, SIZE * scale)
    written, dots = io.BytesIO(), 72 * scale // _FINER
    image.reduce(_FINER).save(written, "PNG", dpi=(dots, dots))
    return written.getvalue()


PAGE_FILES: dict[str, Callable[[Page], bytes]] = {".svg": lambda page: svg_text(page).encode(), ".png": png_bytes}
"""What writes a page, by the file's suffix."""


def _draw_letter(pen: "ImageDraw", place: tuple[float, float], letter: str, color: str, size: int) -> None:
    font = _opened(str(FONT), size) if has_letter(letter) else _machine_font(letter, size)
    if font is not None:
        pen.text(place, letter, fill=color, font=font, anchor="ls")
    elif text_width(letter, 1):
        _draw_number(pen, place, letter, color, size)


def _draw_number(pen: "ImageDraw", place: tuple[float, float], letter: str, color: str, size: int) -> None:
    """A box as wide as a letter, with the letter's number in Unicode in two lines."""
    left, base = place
    digits = f"{ord(letter):04X}"
    half = (len(digits) + 1) // 2
    top, edge = base - 0.85 * size, 0.06 * size
    pen.rectangle([left + edge, top, left + size - edge, base + 0.15 * size], outline=color)
    font = _opened(str(FONT), max(1, round(1.1 * size / (half + 1))))
    for line, text in enumerate((digits[:half], digits[half:])):
        pen.text((left + size / 2, top + (0.25 + 0.5 * line) * size), text, fill=color, font=font, anchor="mm")


@lru_cache(maxsize=8)
def _opened(file: str, size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=256)
def _machine_font(letter: str, size: int) -> "FreeTypeFont | None":
    """A font of this machine that has a letter; None where there is none."""
    for file in _MACHINE_FONTS:
        if letter in _letters_of(file):
            return _opened(file, size)
    return None


@lru_cache(maxsize=len(_MACHINE_FONTS))
def _letters_of(file: str) -> frozenset[str]:
    """The letters of a font of this machine; none where there is no such font."""
    from fontTools.ttLib import TTFont, TTLibError

    try:
        path = _opened(file, 10).path
        with TTFont(path, fontNumber=0, lazy=True) as font:
            return frozenset(map(chr, font.getBestCmap() or ()))
    except (OSError, TTLibError):
        return frozenset()


def _dashed(points: Sequence[tuple[float, float]], dashes: str, scale: int) -> list[list[tuple[float, float]]]:
    """The pieces of a line that are drawn, for a writer that knows no dashes."""
    if not dashes:
        return [list(points)]
    lengths = [float(part) * scale for part in dashes.split()]
    pieces, place, left, is_drawn = [], 0, lengths[0], True
    for (x, y), (end_x, end_y) in pairwise(points):
        whole = math.hypot(end_x - x, end_y - y)
        gone = 0.0
        while gone < whole:
            step = min(left, whole - gone)
            ends = [(x + (end_x - x) * at / whole, y + (end_y - y) * at / whole) for at in (gone, gone + step)]
            if is_drawn:
                pieces.append(ends)
            gone, left = gone + step, left - step
            if left <= 1e-9:
                place, is_drawn = (place + 1) % len(lengths), not is_drawn
                left = lengths[place]
    return pieces
