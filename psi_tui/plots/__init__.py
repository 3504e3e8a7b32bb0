"""Pictures of figures as styled text, which screens and pipes both take."""

from typing import TYPE_CHECKING

from psi_tui.plots.cursor import Stops
from psi_tui.plots.figures import TERMINAL_PALETTE, Figure, MirroredHistogram, Palette
from psi_tui.plots.histogram import draw_histogram, draw_small_histogram, histogram_stops
from psi_tui.plots.series import draw_series, draw_small_series, drawable_points, series_stops
from psi_tui.plots.ticks import centered, is_drawable

if TYPE_CHECKING:
    from rich.text import Text


def draw(
    figure: Figure,
    width: int,
    height: int,
    palette: Palette = TERMINAL_PALETTE,
    ascii_only: bool = False,
    compact: bool = False,
) -> "Text":
    """The picture of a figure, or a word in its middle where there is nothing to show or no room for it.

    Without color it reads as well: what grows up and down is named, and every series has a marker of its own.

    Args:
        figure: what to show.
        width: columns, at most.
        height: lines, at most.
        palette: colors of series and axes.
        ascii_only: whether only ASCII may be used; bars then are a whole line fine, not half of one.
        compact: as one of many: no names, no vertical axis, only the lowest and highest value across. A picture too
            small for its axes is drawn so as well.
    """
    if not _has_something(figure):
        return centered("nothing to show", width, height)
    picture = None if compact else _full(figure, width, height, palette, ascii_only=ascii_only)
    if picture is None:
        picture = _small(figure, width, height, palette, ascii_only=ascii_only)
    return centered("too small", width, height) if picture is None else picture


def cursor_stops(figure: Figure, width: int, height: int, palette: Palette, ascii_only: bool) -> Stops | None:
    """Where a cursor can stand in the picture that `draw` makes; None where it has no axes, or nothing to show."""
    if not _has_something(figure):
        return None
    if isinstance(figure, MirroredHistogram):
        return histogram_stops(figure, width, height, ascii_only=ascii_only)
    return series_stops(figure, width, height, palette, ascii_only=ascii_only)


def _full(figure: Figure, width: int, height: int, palette: Palette, *, ascii_only: bool) -> "Text | None":
    if isinstance(figure, MirroredHistogram):
        return draw_histogram(figure, width, height, palette, ascii_only=ascii_only)
    return draw_series(figure, width, height, palette, ascii_only=ascii_only)


def _small(figure: Figure, width: int, height: int, palette: Palette, *, ascii_only: bool) -> "Text | None":
    if isinstance(figure, MirroredHistogram):
        return draw_small_histogram(figure, width, height, palette, ascii_only=ascii_only)
    return draw_small_series(figure, width, height, palette, ascii_only=ascii_only)


def _has_something(figure: Figure) -> bool:
    if isinstance(figure, MirroredHistogram):
        return bool(figure.upper) and all(map(is_drawable, figure.edges))
    return any(drawable_points(series) for series in figure.series)
