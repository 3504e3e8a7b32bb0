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
from psi_tui.plots.series import drawable_intervals, drawable_points
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

_LEFT, _RIGHT, _BOTTOM = 46, 12, 34
_SIZE, _LINE, _GAP = 9, 11, 6
_SAMPLE = 16
"""Length of a line in the legend."""

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
        _draw_histogram(page, figure, below)
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


def text_width(text: str) -> float:
    """Points that a text takes, within a tenth: letters of Helvetica are narrow, wide or in between."""
    return _SIZE * sum(next((width for letters, width in _WIDTHS if letter in letters), _WIDTH) for letter in text)


_WIDTHS = (("iljtfI.,:;'|!()[]/- 1", 0.32), ("mwMW@%", 0.9), ("ABCDEFGHKLNOPQRSTUVXYZ", 0.7))
_WIDTH = 0.56
"""Widths of letters, in parts of the size; of all others."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the axes stand, and how values lie between them.

    Attributes:
        page: that is drawn on.
        top: upper end of the vertical axis.
        across: lowest and highest value across.
        upwards: lowest and highest value upwards.
        edge: points that stay empty at either end across.
    """

    page: Page
    top: float
    across: tuple[float, float]
    upwards: tuple[float, float]
    edge: float = 0

    @property
    def right(self) -> float:
        return self.page.width - _RIGHT

    @property
    def bottom(self) -> float:
        return self.page.height - _BOTTOM

    def x(self, value: float) -> float:
        """Where a value lies across."""
        low, high = self.across
        return _LEFT + self.edge + (self.right - _LEFT - 2 * self.edge) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Where a value lies upwards."""
        low, high = self.upwards
        return self.top + (self.bottom - self.top) * (1 - (value - low) / (high - low))

    def draw_axes(self, upward_ticks: Sequence[tuple[float, str]], across_ticks: Sequence[tuple[float, str]]) -> None:
        """Both lines with their ticks; names across that would touch the one before are left out."""
        shapes = self.page.shapes
        shapes += [
            Path(((_LEFT, self.top), (_LEFT, self.bottom)), PAPER.muted),
            Path(((_LEFT, self.bottom), (self.right, self.bottom)), PAPER.muted),
        ]
        for value, label in upward_ticks:
            y = self.y(value)
            shapes += [
                Path(((_LEFT - 3, y), (_LEFT, y)), PAPER.muted),
                Label(_LEFT - 5, y + 3, label, PAPER.muted, "end"),
            ]
        taken = -math.inf
        for value, label in across_ticks:
            x, half = self.x(value), text_width(label) / 2
            shapes.append(Path(((x, self.bottom), (x, self.bottom + 3)), PAPER.muted))
            middle = min(x, self.page.width - 2 - half)
            if middle - half >= taken:
                shapes.append(Label(middle, self.bottom + 12, label, PAPER.muted, "middle"))
                taken = middle + half + _GAP


def _draw_histogram(page: Page, figure: MirroredHistogram, below: str) -> None:
    sides = [(figure.upper, 1, PAPER.benign)]
    entries = [(figure.upper_name, PAPER.benign, "")]
    if figure.lower:
        sides.append((figure.lower, -1, PAPER.attacked))
        entries = [
            (f"up: {figure.upper_name}", PAPER.benign, ""),
            (f"down: {figure.lower_name}", PAPER.attacked, ""),
        ]
    top = _draw_legend(page, f"images in each of {len(figure.upper)} bins", entries)
    highest = float(max(*figure.upper, *figure.lower, 1))
    levels = _covering(0, highest, 3)
    levels = [level for level in levels if level == round(level)]
    highest = max(highest, levels[-1])
    frame = _Frame(
        page,
        top,
        widened(figure.edges[0], figure.edges[-1]),
        (-highest if figure.lower else 0, highest),
    )
    for counts, sign, color in sides:
        for count, (left, right) in zip(counts, pairwise(figure.edges), strict=True):
            if count:
                y, height = frame.y(max(0, sign * count)), abs(frame.y(count) - frame.y(0))
                page.shapes.append(Box(frame.x(left), y, frame.x(right) - frame.x(left), height, color))
    if figure.lower:
        page.shapes.append(Path(((_LEFT, frame.y(0)), (frame.right, frame.y(0))), "#ffffff", 0.7))
    ends = dict.fromkeys([*levels, *(-level for level in levels if figure.lower)])
    frame.draw_axes([(level, f"{abs(level):,.0f}") for level in ends], _round_numbers(*frame.across, 1))
    _draw_title_below(page, below)


def _draw_series(page: Page, figure: Curves | Scatter) -> None:
    points = [point for series in figure.series for point in drawable_points(series)]
    if not points:
        page.shapes.append(Label(page.width / 2, page.height / 2, "nothing to show", PAPER.muted, "middle"))
        return
    drawn = _looks(figure.series)
    top = _draw_legend(page, figure.y_title, [(series.name, color, dashes) for series, color, dashes in drawn])
    names = figure.x_labels if isinstance(figure, Curves) else None
    xs, ys = (list(values) for values in zip(*points, strict=True))
    xs += [0, len(names) - 1] if names else []
    ys += [end for series in figure.series for _, *ends in drawable_intervals(series) for end in ends]
    ticks = _covering(*widened(min(ys), max(ys)), 5)
    frame = _Frame(page, top, widened(min(xs), max(xs)), (ticks[0], ticks[-1]), edge=8)
    if ticks[0] < 0 < ticks[-1]:
        page.shapes.append(Path(((_LEFT, frame.y(0)), (frame.right, frame.y(0))), "#bbbbbb", 0.7))
    labels = number_labels(ticks, is_signed=ticks[0] < 0)
    if names:
        across = [(float(place), name if len(name) <= 14 else f"…{name[-13:]}") for place, name in enumerate(names)]
    elif isinstance(figure, Curves) and figure.x_texts:
        across = list(figure.x_texts)
    else:
        across = _round_numbers(*frame.across)
    frame.draw_axes(list(zip(ticks, labels, strict=True)), across)
    for series, color, dashes in drawn:
        along = [(frame.x(x), frame.y(y)) for x, y in drawable_points(series)]
        if isinstance(figure, Curves):
            page.shapes.append(Path(tuple(along), color, 1.3, dashes))
        for x, low, high in drawable_intervals(series):
            page.shapes.append(Path(((frame.x(x), frame.y(low)), (frame.x(x), frame.y(high))), color, 0.8))
        page.shapes += [Box(x - 1.7, y - 1.7, 3.4, 3.4, color) for x, y in along]
    _draw_title_below(page, figure.x_title)


def _draw_legend(page: Page, title: str, entries: Sequence[tuple[str, str, str]]) -> float:
    """What lies upwards, below it name, color and dashes of each series, in as many lines as they need.

    Gives where the picture may begin.
    """
    page.shapes.append(Label(4, _LINE, title, PAPER.muted))
    x, y = float(_LEFT), 2.0 * _LINE + 2
    for name, color, dashes in entries:
        width = _SAMPLE + 4 + 1.1 * text_width(name)
        if x > _LEFT and x + width > page.width - 2:
            x, y = float(_LEFT), y + _LINE
        page.shapes += [
            Path(((x, y - 3), (x + _SAMPLE, y - 3)), color, 2, dashes),
            Label(x + _SAMPLE + 4, y, name, color),
        ]
        x += width + 2 * _GAP
    return y + 8


def _draw_title_below(page: Page, title: str) -> None:
    page.shapes.append(Label((_LEFT + page.width - _RIGHT) / 2, page.height - 4, title, PAPER.muted, "middle"))


def _looks(every: Sequence[Series]) -> list[tuple[Series, str, str]]:
    """Color and dashes of each series: in gray the dashes tell them apart."""
    roles = {"benign": PAPER.benign, "attacked": PAPER.attacked, "control": PAPER.control}
    others = iter([*PAPER.other] * (1 + len(every)))
    return [
        (series, roles.get(series.role) or next(others), _DASHES[place % len(_DASHES)])
        for place, series in enumerate(every)
    ]


def _covering(low: float, high: float, about: int) -> list[float]:
    """Round numbers that lie as far out as both ends at least: an axis has a number at either end."""
    ticks = nice_ticks(low, high, about)
    if len(ticks) < 2:
        return [low, high]
    step = ticks[1] - ticks[0]
    before = [ticks[0] - step] if ticks[0] > low + step * 1e-9 else []
    after = [ticks[-1] + step] if ticks[-1] < high - step * 1e-9 else []
    return [float(f"{tick:.12g}") for tick in (*before, *ticks, *after)]


def _round_numbers(low: float, high: float, least: int = 0) -> list[tuple[float, str]]:
    """Round numbers from one end to the other, and how they are written."""
    values = [value for value in nice_ticks(low, high, 5) if is_drawable(value)]
    return list(zip(values, number_labels(values, least), strict=True))
