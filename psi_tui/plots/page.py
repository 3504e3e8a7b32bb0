"""Figures on paper: light, as wide as a column of text, alone, as SVG or PNG. Nothing of the terminal's frame.

A figure becomes boxes, lines and texts first; two writers draw those.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import TypeAlias

from psi_tui.plots.figures import Curves, Figure, MirroredHistogram, Palette, Scatter, Series
from psi_tui.plots.series import drawable_points
from psi_tui.plots.ticks import is_drawable, nice_ticks, number_labels, widened

PAPER = Palette(
    benign="#0550ae",
    attacked="#b35900",
    control="#505e46",
    other=("#6a3fb5", "#a12a63", "#6b5800", "#46586a", "#47660f"),
    muted="#555555",
)
"""Colors on white that are told apart in gray and by every kind of color blindness."""

WIDTH, HEIGHT = 340, 220
"""Points: a column of a paper in two columns is about 240 to 250, one of a book about 340."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 18, 34
_SIZE = 9
_DASHES = ("", "5 3", "2 2", "7 2 2 2")


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle by its upper left corner."""

    x: float
    y: float
    width: float
    height: float
    color: str


@dataclass(frozen=True, slots=True)
class Path:
    """A line through points; dashes as SVG writes them, empty for a whole line."""

    points: tuple[tuple[float, float], ...]
    color: str
    width: float = 1.0
    dashes: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A text; `anchor` says which of its ends lies at x: start, middle or end."""

    x: float
    y: float
    text: str
    color: str
    anchor: str = "start"


Shape: TypeAlias = Box | Path | Label


@dataclass(slots=True)
class Page:
    """What is drawn, on white."""

    width: int = WIDTH
    height: int = HEIGHT
    shapes: list[Shape] = field(default_factory=list)


def draw_page(figure: Figure, below: str = "") -> Page:
    """A figure on paper.

    Args:
        figure: what to show.
        below: what lies across, of a histogram, which does not say so itself.
    """
    page = Page()
    if isinstance(figure, MirroredHistogram):
        _draw_histogram(page, figure)
        page.shapes.append(Label((_LEFT + page.width - _RIGHT) / 2, page.height - 4, below, PAPER.muted, "middle"))
    else:
        _draw_series(page, figure)
    return page


def svg_text(page: Page) -> str:
    """A page as SVG, with the fonts that every reader has."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page.width}pt" height="{page.height}pt" '
        f'viewBox="0 0 {page.width} {page.height}" font-family="Helvetica, Arial, sans-serif" font-size="{_SIZE}">',
        f'<rect width="{page.width}" height="{page.height}" fill="#ffffff"/>',
    ]
    for shape in page.shapes:
        match shape:
            case Box():
                parts.append(
                    f'<rect x="{shape.x:.2f}" y="{shape.y:.2f}" width="{shape.width:.2f}" '
                    f'height="{shape.height:.2f}" fill="{shape.color}"/>'
                )
            case Path():
                points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
                dashes = f' stroke-dasharray="{shape.dashes}"' if shape.dashes else ""
                parts.append(
                    f'<polyline points="{points}" fill="none" stroke="{shape.color}" '
                    f'stroke-width="{shape.width}"{dashes}/>'
                )
            case Label():
                parts.append(
                    f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" fill="{shape.color}" '
                    f'text-anchor="{shape.anchor}">{escape(shape.text)}</text>'
                )
    return "\n".join([*parts, "</svg>\n"])


def png_bytes(page: Page, scale: int = 4) -> bytes:
    """A page as PNG of 288 dots an inch."""
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (page.width * scale, page.height * scale), "#ffffff")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(_SIZE * scale)
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
                anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
                pen.text((shape.x * scale, shape.y * scale), shape.text, fill=shape.color, font=font, anchor=anchor)
    written = io.BytesIO()
    image.save(written, "PNG", dpi=(72 * scale, 72 * scale))
    return written.getvalue()


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


def _draw_histogram(page: Page, figure: MirroredHistogram) -> None:
    low, high = widened(figure.edges[0], figure.edges[-1])
    highest = max(*figure.upper, *figure.lower, 1)
    across, middle = page.width - _LEFT - _RIGHT, (page.height - _BOTTOM + _TOP) / 2
    half = middle - _TOP
    width = across / len(figure.upper)
    for place, (up, down) in enumerate(zip(figure.upper, figure.lower, strict=True)):
        x = _LEFT + place * width
        page.shapes.append(Box(x, middle - half * up / highest, width, half * up / highest, PAPER.benign))
        page.shapes.append(Box(x, middle, width, half * down / highest, PAPER.attacked))
    page.shapes.append(Path(((_LEFT, middle), (_LEFT + across, middle)), "#ffffff", 0.7))
    levels = [level for level in nice_ticks(0, highest, 2) if level == round(level)]
    for level in levels:
        for y in {middle - half * level / highest, middle + half * level / highest}:
            page.shapes += [
                Path(((_LEFT - 3, y), (_LEFT, y)), PAPER.muted),
                Label(_LEFT - 5, y + 3, f"{level:,.0f}", PAPER.muted, "end"),
            ]
    _draw_x_axis(page, low, high)
    page.shapes += [
        Label(_LEFT + 4, _TOP - 6, f"up: {figure.upper_name}", PAPER.benign),
        Label(_LEFT + across, _TOP - 6, f"down: {figure.lower_name}", PAPER.attacked, "end"),
    ]


def _draw_series(page: Page, figure: Curves | Scatter) -> None:
    points = [point for series in figure.series for point in drawable_points(series)]
    if not points:
        page.shapes.append(Label(page.width / 2, page.height / 2, "nothing to show", PAPER.muted, "middle"))
        return
    names = figure.x_labels if isinstance(figure, Curves) else None
    xs, ys = zip(*points, strict=True)
    x_low, x_high = widened(min(*xs, 0), max(*xs, len(names) - 1)) if names else widened(min(xs), max(xs))
    y_low, y_high = widened(min(ys), max(ys))
    across, down = page.width - _LEFT - _RIGHT, page.height - _TOP - _BOTTOM

    def placed(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + 6 + (across - 12) * (x - x_low) / (x_high - x_low),
            _TOP + down * (1 - (y - y_low) / (y_high - y_low)),
        )

    ticks = nice_ticks(y_low, y_high, 5)
    for value, label in zip(ticks, number_labels(ticks), strict=True):
        _, y = placed(x_low, value)
        page.shapes += [
            Path(((_LEFT - 3, y), (_LEFT, y)), PAPER.muted),
            Label(_LEFT - 5, y + 3, label, PAPER.muted, "end"),
        ]
        if value == 0:
            page.shapes.append(Path(((_LEFT, y), (_LEFT + across, y)), "#bbbbbb", 0.7))
    page.shapes.append(Path(((_LEFT, _TOP), (_LEFT, _TOP + down)), PAPER.muted))
    if names:
        _name_places(page, [(placed(place, y_low)[0], name) for place, name in enumerate(names)])
    else:
        _draw_x_axis(page, x_low, x_high, edge=6)
    page.shapes.append(Label(_LEFT + across / 2, page.height - 4, figure.x_title, PAPER.muted, "middle"))
    x = float(_LEFT)
    for series, color, dashes in _looks(figure.series):
        along = [placed(*point) for point in drawable_points(series)]
        if isinstance(figure, Curves):
            page.shapes.append(Path(tuple(along), color, 1.3, dashes))
        page.shapes += [Box(x - 1.7, y - 1.7, 3.4, 3.4, color) for x, y in along]
        page.shapes.append(Label(x, _TOP - 6, series.name, color))
        x += 5.0 * len(series.name) + 10


def _looks(every: Sequence[Series]) -> list[tuple[Series, str, str]]:
    """Color and dashes of each series: in gray the dashes tell them apart."""
    roles = {"benign": PAPER.benign, "attacked": PAPER.attacked, "control": PAPER.control}
    others = iter([*PAPER.other] * (1 + len(every)))
    return [
        (series, roles.get(series.role) or next(others), _DASHES[place % len(_DASHES)])
        for place, series in enumerate(every)
    ]


def _draw_x_axis(page: Page, low: float, high: float, *, edge: float = 0) -> None:
    """A line with round numbers."""
    across, y = page.width - _LEFT - _RIGHT - 2 * edge, page.height - _BOTTOM
    page.shapes.append(Path(((_LEFT, y), (page.width - _RIGHT, y)), PAPER.muted))
    inner = [value for value in nice_ticks(low, high, 5) if is_drawable(value)]
    labels = number_labels(inner, 1)
    for value, label in zip(inner, labels, strict=True):
        x = _LEFT + edge + across * (value - low) / (high - low)
        page.shapes += [Path(((x, y), (x, y + 3)), PAPER.muted), Label(x, y + 12, label, PAPER.muted, "middle")]


def _name_places(page: Page, places: Sequence[tuple[float, str]]) -> None:
    """Names below the axis, as many as fit beside each other; names are cut at their start."""
    y = page.height - _BOTTOM
    page.shapes.append(Path(((_LEFT, y), (page.width - _RIGHT, y)), PAPER.muted))
    most = max(len(name) for _, name in places)
    room = (places[-1][0] - places[0][0]) / max(1, len(places) - 1) if len(places) > 1 else 100.0
    step = max(1, math.ceil((5.0 * min(most, 14) + 6) / max(room, 1e-9)))
    for x, name in places[::step]:
        shown = name if len(name) <= 14 else f"…{name[-13:]}"
        page.shapes += [Path(((x, y), (x, y + 3)), PAPER.muted), Label(x, y + 12, shown, PAPER.muted, "middle")]
