"""The only door to plotext: a grid of cells with bars, lines and markers on it, which becomes styled text."""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psi_tui.plots.ticks import Tick, axis_width

if TYPE_CHECKING:
    from rich.text import Text

MUTED = 0
"""The ink of axes; inks of series are numbered from 1 on. `Canvas.text` is told the color of each."""

_FIRST_INK = 16  # Colors from here on plotext writes as 38;5;N, so the ink can be read off its output again.
_ESCAPE = re.compile(r"\x1b\[(?:38;5;)?(\d+)m")
_IN_ASCII = str.maketrans("─│┤└┬┼╌", "-|++++-")
_FIGURE = threading.Lock()  # plotext has one figure for the whole process, and plots are drawn in several threads.


class Canvas:
    """Cells to draw on: x counts columns from the left border, y lines from the lower one, both from 0.

    Args:
        figure: plotext's, empty, limited to these cells.
        ascii_only: whether only ASCII may be drawn.
    """

    def __init__(self, figure: Any, *, ascii_only: bool) -> None:
        self._figure = figure
        self._ascii_only = ascii_only

    def bars(
        self, sides: Sequence[tuple[float, float]], bases: Sequence[float], tops: Sequence[float], ink: int
    ) -> None:
        """Filled bars, half a cell fine, in ASCII a whole one."""
        if not sides:
            return
        across = [side for pair in sides for side in pair]
        marker = self._marker("#" if self._ascii_only else "hd", ink)
        upper = self._figure.signal(across, [top for top in tops for _ in range(2)], marker=marker)
        lower = self._figure.signal(across, [base for base in bases for _ in range(2)], marker=marker)
        upper.density("full").fill(lower)
        for right in range(1, len(across), 2):
            upper.line(right)
        self._figure.draw(upper)

    def line(self, points: Sequence[tuple[float, float]], ink: int) -> None:
        """A thin line through points."""
        self._draw(points, "." if self._ascii_only else "braille", ink, is_joined=True)

    def rule(self, y: float, columns: int) -> None:
        """A muted level line across."""
        self._draw([(0.5, y), (columns - 0.5, y)], "╌", MUTED, is_joined=True)

    def markers(self, points: Sequence[tuple[float, float]], marker: str, ink: int) -> None:
        """One character at each point."""
        self._draw(points, marker, ink)

    def text(self, colors: Sequence[str]) -> "Text":
        """All that was drawn; `colors` are those of the inks, as rich names them or `#rrggbb`."""
        string = self._figure.build().string().rstrip("\n")
        return styled(string.translate(_IN_ASCII) if self._ascii_only else string, colors)

    def _draw(self, points: Sequence[tuple[float, float]], symbol: str, ink: int, *, is_joined: bool = False) -> None:
        if points:
            signal = self._figure.signal(*map(list, zip(*points, strict=True)), marker=self._marker(symbol, ink))
            self._figure.draw(signal.lines(is_joined))

    def _marker(self, symbol: str, ink: int) -> Any:
        import plotext

        color = plotext.pixel() if ink == MUTED else plotext.pixel(foreground=_FIRST_INK + ink)
        return plotext.marker(symbol, pixel=color)


@contextmanager
def open_canvas(
    columns: int, rows: int, *, x_ticks: Sequence[Tick] = (), y_ticks: Sequence[Tick] = (), ascii_only: bool = False
) -> Iterator[Canvas]:
    """An empty canvas, this thread's alone while the context lasts.

    Args:
        columns: width of the canvas; labels and the line of the y axis stand to the left of it.
        rows: height of the canvas; the line and labels of the x axis stand below it.
        x_ticks: none: there is no such axis.
        y_ticks: likewise.
        ascii_only: whether only ASCII may be drawn.
    """
    import plotext

    with _FIGURE:
        figure = plotext.figure
        plotext.terminal.limit(False, False)
        figure.clear()
        figure.plot_size(columns + axis_width(y_ticks), rows + (2 if x_ticks else 0))
        figure.theme("colorless")  # Every other one paints a background.
        figure.axes(False)
        for axis, side, ticks, size in (("x", "lower", x_ticks, columns), ("y", "left", y_ticks, rows)):
            if ticks:
                figure.axes(True, axis=axis, side=side)
            ruler = figure.ruler(axis, side).lim(0, size).alignment(lim="edge")
            ruler.ticks([min(tick.place, size - 0.01) for tick in ticks], [tick.label for tick in ticks])
        yield Canvas(figure, ascii_only=ascii_only)


def styled(string: str, colors: Sequence[str]) -> "Text":
    """Text of a string in which the escape sequence `38;5;N` says which ink follows."""
    from rich.style import Style
    from rich.text import Span, Text

    styles = [Style.parse(color) for color in colors]
    plain, spans, place, ink = [], [], 0, MUTED
    for position, part in enumerate(_ESCAPE.split(string)):
        if position % 2:
            ink = max(MUTED, int(part) - _FIRST_INK)
        elif part:
            if not part.isspace():
                spans.append(Span(place, place + len(part), styles[ink]))
            plain.append(part)
            place += len(part)
    return Text("".join(plain), spans=spans)
