"""Figures on paper: light, as wide as a column of text, alone. Nothing of the terminal's frame.

A figure becomes boxes, lines and texts here; what writes files draws those.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TypeAlias

from psi_tui.plots import lettering
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

SIZE = 9
"""Points of all letters."""

_LEFT, _RIGHT, _BOTTOM = 46, 12, 34
_LINE, _GAP, _EDGE, _TICK = 11, 6, 2, 5
_LEAST_PICTURE = 110
"""Points that lie between the axes' ends at least: below a long legend the page grows."""

_MOST_PLACE = 14
"""Letters of a name across; of a longer one the end is shown, where names of layers differ."""

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

    @property
    def text_width(self) -> float:
        """Points that it takes."""
        return text_width(self.text)

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * self.text_width


Shape: TypeAlias = Box | Path | Label


@dataclass(slots=True)
class Page:
    """What is drawn, on white; the title says what it is to those who cannot see it."""

    width: int = WIDTH
    height: int = HEIGHT
    title: str = ""
    shapes: list[Shape] = field(default_factory=list)


def draw_page(figure: Figure, below: str = "") -> Page:
    """A figure on paper.

    Args:
        figure: what to show.
        below: what lies across, of a histogram, which does not say so itself.
    """
    page = Page(title=lettering.written(below or _words(figure)))
    if isinstance(figure, MirroredHistogram):
        _draw_histogram(page, figure, below)
    else:
        _draw_series(page, figure)
    return page


def _words(figure: Figure) -> str:
    if isinstance(figure, MirroredHistogram):
        return "histogram"
    return f"{figure.y_title} against {figure.x_title}"


def text_width(text: str) -> float:
    """Points that a text takes."""
    return lettering.text_width(text, SIZE)


def _label(x: float, y: float, text: str, color: str, anchor: str = "start", most: float = math.inf) -> Label:
    """A text as figures write it, no wider than `most`."""
    return Label(x, y, lettering.fitted(lettering.written(text), most, SIZE), color, anchor)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the axes stand, and how values lie between them.

    Attributes:
        page: that is drawn on.
        top: upper end of the vertical axis.
        across: lowest and highest value across.
        upwards: lowest and highest value upwards.
        left: where the vertical axis stands.
        edge: points that stay empty at either end across.
    """

    page: Page
    top: float
    across: tuple[float, float]
    upwards: tuple[float, float]
    left: float
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
        return self.left + self.edge + (self.right - self.left - 2 * self.edge) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Where a value lies upwards."""
        low, high = self.upwards
        return self.top + (self.bottom - self.top) * (1 - (value - low) / (high - low))

    def draw_axes(self, upward_ticks: Sequence[tuple[float, str]], across_ticks: Sequence[tuple[float, str]]) -> None:
        """Both lines with their ticks; names across that would touch the one before are left out."""
        shapes = self.page.shapes
        shapes += [
            Path(((self.left, self.top), (self.left, self.bottom)), PAPER.muted),
            Path(((self.left, self.bottom), (self.right, self.bottom)), PAPER.muted),
        ]
        for value, text in upward_ticks:
            y = self.y(value)
            shapes += [
                Path(((self.left - 3, y), (self.left, y)), PAPER.muted),
                _label(self.left - _TICK, y + 3, text, PAPER.muted, "end"),
            ]
        taken = -math.inf
        for value, text in across_ticks:
            x, label = self.x(value), _label(0, self.bottom + 12, text, PAPER.muted, "middle")
            half = label.text_width / 2
            shapes.append(Path(((x, self.bottom), (x, self.bottom + 3)), PAPER.muted))
            middle = min(max(x, _EDGE + half), self.page.width - _EDGE - half)
            if middle - half >= taken:
                shapes.append(replace(label, x=middle))
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
    marks = [(level, f"{abs(level):,.0f}") for level in dict.fromkeys([*levels, *(-level for level in levels)])]
    marks = [mark for mark in marks if mark[0] >= 0 or figure.lower]
    upwards = (-highest if figure.lower else 0, highest)
    frame = _Frame(page, top, widened(figure.edges[0], figure.edges[-1]), upwards, _left_of(marks))
    for counts, sign, color in sides:
        for count, (left, right) in zip(counts, pairwise(figure.edges), strict=True):
            if count:
                y, height = frame.y(max(0, sign * count)), abs(frame.y(count) - frame.y(0))
                page.shapes.append(Box(frame.x(left), y, frame.x(right) - frame.x(left), height, color))
    if figure.lower:
        page.shapes.append(Path(((frame.left, frame.y(0)), (frame.right, frame.y(0))), "#ffffff", 0.7))
    frame.draw_axes(marks, _round_numbers(*frame.across, 1))
    _draw_title_below(frame, below)


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
    marks = list(zip(ticks, map(_signed, number_labels(ticks, is_signed=ticks[0] < 0)), strict=True))
    frame = _Frame(page, top, widened(min(xs), max(xs)), (ticks[0], ticks[-1]), _left_of(marks), edge=8)
    if ticks[0] < 0 < ticks[-1]:
        page.shapes.append(Path(((frame.left, frame.y(0)), (frame.right, frame.y(0))), "#bbbbbb", 0.7))
    if names:
        across = [
            (float(place), name if len(name) <= _MOST_PLACE else f"{lettering.ELLIPSIS}{name[1 - _MOST_PLACE :]}")
            for place, name in enumerate(names)
        ]
    elif isinstance(figure, Curves) and figure.x_texts:
        across = list(figure.x_texts)
    else:
        across = _round_numbers(*frame.across)
    frame.draw_axes(marks, across)
    for series, color, dashes in drawn:
        along = [(frame.x(x), frame.y(y)) for x, y in drawable_points(series)]
        if isinstance(figure, Curves):
            page.shapes.append(Path(tuple(along), color, 1.3, dashes))
        for x, low, high in drawable_intervals(series):
            page.shapes.append(Path(((frame.x(x), frame.y(low)), (frame.x(x), frame.y(high))), color, 0.8))
        page.shapes += [Box(x - 1.7, y - 1.7, 3.4, 3.4, color) for x, y in along]
    _draw_title_below(frame, figure.x_title)


def _left_of(marks: Sequence[tuple[float, str]]) -> float:
    """Where the vertical axis stands, so that its numbers lie on the page."""
    return max(_LEFT, _EDGE + _TICK + max(text_width(text) for _, text in marks))


def _signed(number: str) -> str:
    """A number as print has it: its minus is no hyphen."""
    return number.replace("-", "\N{MINUS SIGN}")


def _draw_legend(page: Page, title: str, entries: Sequence[tuple[str, str, str]]) -> float:
    """What lies upwards, below it name, color and dashes of each series, in as many lines as they need.

    The page grows where they leave too little for the picture. Gives where that may begin.
    """
    page.shapes.append(_label(4, _LINE, title, PAPER.muted, most=page.width - 4 - _EDGE))
    x, y = float(_LEFT), 2.0 * _LINE + 2
    for name, color, dashes in entries:
        label = _label(0, y, name, color, most=page.width - _EDGE - _LEFT - _SAMPLE - 4)
        width = _SAMPLE + 4 + label.text_width
        if x > _LEFT and x + width > page.width - _EDGE:
            x, y = float(_LEFT), y + _LINE
        page.shapes += [
            Path(((x, y - 3), (x + _SAMPLE, y - 3)), color, 2, dashes),
            replace(label, x=x + _SAMPLE + 4, y=y),
        ]
        x += width + 2 * _GAP
    top = y + 8
    page.height = max(page.height, math.ceil(top + _LEAST_PICTURE + _BOTTOM))
    return top


def _draw_title_below(frame: _Frame, title: str) -> None:
    middle, page = (frame.left + frame.right) / 2, frame.page
    most = 2 * (min(middle, page.width - middle) - _EDGE)
    page.shapes.append(_label(middle, page.height - 4, title, PAPER.muted, "middle", most))


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
    return list(zip(values, map(_signed, number_labels(values, least)), strict=True))
