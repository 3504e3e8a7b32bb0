"""How scatters and curves are drawn: every series with a marker of its own, named in a legend above.

Which marker and color every series has, and where its markers go when they would hide each other.
"""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from psi_core.plain_text import short_number
from psi_tui.plots.canvas import Canvas, open_canvas
from psi_tui.plots.cursor import Stops
from psi_tui.plots.figures import Curves, Palette, Role, Scatter, Series
from psi_tui.plots.ticks import (
    Tick,
    axis_width,
    end_labels,
    end_line,
    is_drawable,
    legend_lines,
    name_line,
    nice_ticks,
    number_labels,
    rounded_ends,
    shortened,
    thinned,
    widened,
)

if TYPE_CHECKING:
    from rich.text import Text


_OWN: dict[Role, str] = {"benign": "o", "attacked": "x", "control": "+", "beyond": "*"}
_LETTERS = "".join(letter for letter in string.ascii_letters if letter not in "oOxX")
_MARKER_DISTANCE = 4
_CROWD = 4  # Points for every column; from there on a marker beside its place hides another one's place.


@dataclass(frozen=True, slots=True)
class Ink:
    """How a series is drawn.

    Attributes:
        number: of its color on the canvas, from 1 on; series of one color share it.
        marker: one ASCII character.
        color: as rich names it, or `#rrggbb`.
    """

    number: int
    marker: str
    color: str


def inks(series: Sequence[Series], palette: Palette) -> list[Ink]:
    """Marker and color of every series: those of its role for the first of each, further ones after that."""
    own_colors = {
        "benign": palette.benign,
        "attacked": palette.attacked,
        "control": palette.control,
        "beyond": palette.other[0],
    }
    markers, colors = cycle(_LETTERS), cycle(palette.other)
    taken: set[Role] = set()
    numbers: dict[str, int] = {}
    given = []
    for one in series:
        if one.role == "other" or one.role in taken:
            marker, color = next(markers), next(colors)
        else:
            taken.add(one.role)
            marker, color = _OWN[one.role], own_colors[one.role]
        given.append(Ink(numbers.setdefault(color, len(numbers) + 1), marker, color))
    return given


def ink_colors(given: Sequence[Ink]) -> list[str]:
    """The colors by their number, the first being that of number 1."""
    return list(dict.fromkeys(ink.color for ink in given))


def marked_places(
    cells: Sequence[Sequence[tuple[int, int]]], columns: int, *, is_joined: bool
) -> list[list[tuple[int, int]]]:
    """Cells that get a marker, for every series.

    Where two series fall into one cell, the later one moves a little aside. On curves it is left out where there is no
    room for that either, but for its last point, and of a long curve only every so many points are marked.

    Args:
        cells: column and row of every point.
        columns: width of the canvas.
        is_joined: whether lines join the points, so that not each needs a marker.
    """
    taken: dict[tuple[int, int], int] = {}
    is_crowd = sum(map(len, cells)) > _CROWD * columns
    asides = (0, 1, -1) if is_joined else (0,) if is_crowd else (0, 1, -1, 2, -2)
    places = []
    for number, own in enumerate(cells):
        step = max(1, math.ceil(_MARKER_DISTANCE * len(own) / columns)) if is_joined else 1
        marked = []
        for place in range(number * step // len(cells), len(own), step):
            is_last = is_joined and place + step >= len(own)
            cell = _free_cell(own[place], number, taken, (*asides, *range(-2, -columns, -1)) if is_last else asides)
            if cell is None and not is_joined:
                cell = own[place]
            if cell is not None:
                taken[cell] = number
                marked.append(cell)
        places.append(marked)
    return places


def _free_cell(
    cell: tuple[int, int], number: int, taken: dict[tuple[int, int], int], asides: Sequence[int]
) -> tuple[int, int] | None:
    """The cell, or the first one beside it that no other series has marked."""
    column, row = cell
    candidates = ((column + aside, row) for aside in asides if column + aside >= 0)
    return next((place for place in candidates if taken.get(place, number) == number), None)


_TITLED_ROWS = 8
_LEAST_COLUMNS, _LEAST_ROWS = 10, 3


@dataclass(frozen=True, slots=True)
class Scale:
    """Values onto cells: the lowest falls into the middle of the first cell, the highest into that of the last.

    Attributes:
        low: the lowest value.
        high: the highest, above it.
        cells: how many there are.
        margin: of them kept empty at either end.
    """

    low: float
    high: float
    cells: int
    margin: int = 0

    def place(self, value: float) -> float:
        """Where a value lies, in cells."""
        share = (value - self.low) / (self.high - self.low)
        return self.margin + 0.5 + share * (self.cells - 1 - 2 * self.margin)


def drawable_intervals(series: Series) -> list[tuple[float, float, float]]:
    """Where an interval lies across, and its two ends, of the points that can be drawn and have one."""
    along = zip(series.x, series.intervals, strict=True) if series.intervals else ()
    return [(x, *ends) for x, ends in along if all(map(is_drawable, (x, *ends)))]


def drawable_points(series: Series) -> list[tuple[float, float]]:
    """The points that can be drawn."""
    return [(x, y) for x, y in zip(series.x, series.y, strict=True) if is_drawable(x) and is_drawable(y)]


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the parts of a scatter or of curves lie.

    Attributes:
        legend: lines above the picture.
        rows: lines of the picture.
        has_titles: whether the axes are named.
        x_scale: across.
        y_scale: upwards.
        y_ticks: of the vertical axis.
    """

    legend: "list[Text]"
    rows: int
    has_titles: bool
    x_scale: Scale
    y_scale: Scale
    y_ticks: list[Tick]


def _layout(
    figure: Scatter | Curves, width: int, height: int, drawn: Sequence[Ink], *, ascii_only: bool
) -> _Layout | None:
    """None where it does not fit."""
    legend = legend_lines(
        [(ink.marker, series.name, ink.color) for series, ink in zip(figure.series, drawn, strict=True)],
        width,
        1 + (height >= 12) + (height >= 24),
        ascii_only=ascii_only,
    )
    rows = height - len(legend) - 2
    has_titles = rows - 2 >= _TITLED_ROWS
    rows -= 2 * has_titles
    if rows < _LEAST_ROWS:
        return None
    across, upwards = _limits(figure)
    upwards = rounded_ends(*upwards, max(2, rows // 3))
    y_scale = Scale(*upwards, rows)
    values = nice_ticks(*upwards, max(2, rows // 3))
    labels = number_labels(values, is_signed=upwards[0] < 0)
    y_ticks = [Tick(y_scale.place(value), label) for value, label in zip(values, labels, strict=True)]
    columns = width - axis_width(y_ticks)
    if columns < _LEAST_COLUMNS:
        return None
    return _Layout(legend, rows, has_titles, Scale(*across, columns, margin=1), y_scale, y_ticks)


def series_stops(
    figure: Scatter | Curves, width: int, height: int, palette: Palette, *, ascii_only: bool
) -> Stops | None:
    """Every place across that has a point, and the values there; None where the picture has no axes."""
    if not any(drawable_points(series) for series in figure.series):
        return None
    layout = _layout(figure, width, height, inks(figure.series, palette), ascii_only=ascii_only)
    if layout is None:
        return None
    places: dict[float, list[tuple[str, str]]] = {}
    for series in figure.series:
        ends = {x: f" [{_value(low)}, {_value(high)}]" for x, low, high in drawable_intervals(series)}
        for x, y in drawable_points(series):
            places.setdefault(x, []).append((f"{series.name} {_value(y)}", ends.get(x, "")))
    readings = []
    for x in sorted(places):
        where = _place_name(figure, x)
        short = "; ".join(value for value, _ in places[x])
        readings.append(
            (f"{where}: {'; '.join(value + interval for value, interval in places[x])}", f"{where}: {short}")
        )
    left = axis_width(layout.y_ticks)
    columns = tuple(left + int(layout.x_scale.place(x)) for x in sorted(places))
    return Stops(len(layout.legend) + layout.has_titles, layout.rows, columns, tuple(readings))


def _place_name(figure: Scatter | Curves, x: float) -> str:
    """What stands across at a place: a layer, an epsilon as it was written, or a value."""
    if isinstance(figure, Curves) and figure.x_labels:
        return figure.x_labels[int(x)]
    texts = dict(figure.x_texts) if isinstance(figure, Curves) else {}
    return f"{figure.x_title} {texts.get(x, _value(x))}"


def _value(value: float) -> str:
    return short_number(value, 4)


def draw_series(
    figure: Scatter | Curves, width: int, height: int, palette: Palette, *, ascii_only: bool
) -> "Text | None":
    """The picture with legend, axes and, where there is room, their titles; None where it does not fit."""
    from rich.text import Text

    drawn = inks(figure.series, palette)
    layout = _layout(figure, width, height, drawn, ascii_only=ascii_only)
    if layout is None:
        return None
    x_scale, y_scale, y_ticks = layout.x_scale, layout.y_scale, layout.y_ticks
    columns = x_scale.cells
    x_ticks = _x_ticks(figure, x_scale, ascii_only=ascii_only)
    with open_canvas(columns, layout.rows, x_ticks=x_ticks, y_ticks=y_ticks, ascii_only=ascii_only) as canvas:
        if y_scale.low < 0 < y_scale.high:
            canvas.rule(math.floor(y_scale.place(0)) + 0.5, columns)
        _draw_points(canvas, figure, x_scale, y_scale, drawn)
        picture = canvas.text((palette.muted, *ink_colors(drawn)))
    if not layout.has_titles:
        return Text("\n").join([*layout.legend, picture])
    above = name_line(figure.y_title, width, palette.muted, ascii_only=ascii_only)
    title = shortened(figure.x_title, columns, ascii_only=ascii_only)
    indent = axis_width(y_ticks) + (columns - len(title)) // 2
    below = name_line(" " * indent + title, width, palette.muted, ascii_only=ascii_only)
    return Text("\n").join([*layout.legend, above, picture, below])


def draw_small_series(
    figure: Scatter | Curves, width: int, height: int, palette: Palette, *, ascii_only: bool
) -> "Text | None":
    """The points above one line that tells the lowest and highest value across; None where it does not fit."""
    from rich.text import Text

    rows = height - 1
    if rows < 2 or width < 4:
        return None
    drawn = inks(figure.series, palette)
    across, upwards = _limits(figure)
    with open_canvas(width, rows, ascii_only=ascii_only) as canvas:
        _draw_points(canvas, figure, Scale(*across, width), Scale(*upwards, rows), drawn)
        picture = canvas.text((palette.muted, *ink_colors(drawn)))
    names = figure.x_labels if isinstance(figure, Curves) else None
    ends = end_labels(*across)
    if names:
        most = max(0, (width - 3) // 2)
        ends = (
            shortened(names[0], most, ascii_only=ascii_only, at_start=True),
            shortened(names[-1], most, ascii_only=ascii_only, at_start=True),
        )
    return Text("\n").join([picture, end_line(*ends, width, palette.muted, ascii_only=ascii_only)])


def _limits(figure: Scatter | Curves) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lowest and highest value across and upwards; a span of no width is widened."""
    points = [point for series in figure.series for point in drawable_points(series)]
    across, upwards = zip(*points, strict=True)
    upwards = (*upwards, *(end for series in figure.series for _, *ends in drawable_intervals(series) for end in ends))
    if isinstance(figure, Curves) and figure.x_labels:
        across = (*across, 0, len(figure.x_labels) - 1)
    return widened(min(across), max(across)), widened(min(upwards), max(upwards))


def _x_ticks(figure: Scatter | Curves, scale: Scale, *, ascii_only: bool) -> list[Tick]:
    """Names of places where there are any, else round numbers."""
    width = scale.cells
    if isinstance(figure, Curves) and figure.x_labels:
        most = max(12, width // 5)
        labels = [shortened(name or "?", most, ascii_only=ascii_only, at_start=True) for name in figure.x_labels]
        values: Sequence[float] = range(len(labels))
    elif isinstance(figure, Curves) and figure.x_texts:
        values, labels = [value for value, _ in figure.x_texts], [text for _, text in figure.x_texts]
    else:
        values = nice_ticks(scale.low, scale.high, max(2, width // 12))
        labels = number_labels(values)
    places = [int(scale.place(value)) + 0.5 for value in values]
    return thinned([Tick(place, label) for place, label in zip(places, labels, strict=True)], width)


def _draw_points(
    canvas: Canvas, figure: Scatter | Curves, x_scale: Scale, y_scale: Scale, drawn: Sequence[Ink]
) -> None:
    """Lines first, so that no line hides a marker; the first series last, so that it lies on top."""
    if isinstance(figure, Curves):
        for series, ink in reversed(list(zip(figure.series, drawn, strict=True))):
            for stretch in _stretches(series):
                canvas.line([(x_scale.place(x), y_scale.place(y)) for x, y in stretch], ink.number)
            for x, low, high in drawable_intervals(series):
                if y_scale.place(high) - y_scale.place(low) > 1:  # A shorter one hides behind its marker.
                    canvas.line([(x_scale.place(x), y_scale.place(end)) for end in (low, high)], ink.number)
    cells = [
        [(int(x_scale.place(x)), int(y_scale.place(y))) for x, y in drawable_points(series)] for series in figure.series
    ]
    places = marked_places(cells, x_scale.cells, is_joined=isinstance(figure, Curves))
    for marked, ink in reversed(list(zip(places, drawn, strict=True))):
        canvas.markers([(column + 0.5, row + 0.5) for column, row in marked], ink.marker, ink.number)


def _stretches(series: Series) -> list[list[tuple[float, float]]]:
    """The points between gaps."""
    stretches: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(series.x, series.y, strict=True):
        if is_drawable(x) and is_drawable(y):
            stretches[-1].append((x, y))
        elif stretches[-1]:
            stretches.append([])
    return [stretch for stretch in stretches if len(stretch) > 1]
