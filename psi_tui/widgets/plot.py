"""A plot that is drawn in a thread, and only when what it shows, its size or its colors are others than before."""

from collections.abc import Callable
from functools import partial
from typing import Protocol, cast

from rich.text import Text
from textual import events, on, work
from textual.app import RenderResult
from textual.geometry import Region
from textual.message import Message
from textual.reactive import reactive, var
from textual.widget import Widget
from textual.worker import get_current_worker

from psi_core.measures import MEASURES
from psi_tui.plots import cursor_stops, draw
from psi_tui.plots.cursor import Stops, with_cursor
from psi_tui.plots.figures import Figure, MirroredHistogram, Palette, Subject
from psi_tui.plots.page import Page, draw_page
from psi_tui.plots.page_files import PAGE_FILES
from psi_tui.plots.ticks import centered
from psi_tui.widgets.dialogs import OwnExport


class PlotApp(Protocol):
    """What a plot asks its app."""

    @property
    def palette(self) -> Palette:
        """Colors of plots under the present theme."""

    @property
    def ascii_only(self) -> bool:
        """Whether only ASCII may reach the terminal."""


def _changed_lines(before: Text | None, now: Text, width: int) -> list[Region]:
    """The lines of a picture that differ, so that a slow line carries no more; none stand for all of them."""
    if before is None:
        return []
    old, new = before.split(allow_blank=True), now.split(allow_blank=True)
    if len(old) != len(new):
        return []
    return [Region(0, y, width, 1) for y, (was, line) in enumerate(zip(old, new, strict=True)) if not _alike(was, line)]


def _alike(was: Text, line: Text) -> bool:
    return was.plain == line.plain and was.spans == line.spans and was.style == line.style


class Plot(Widget, can_focus=False):
    """Shows one figure as large as itself, of the subject that the words around it tell of and of no other.

    The picture before stays until the new one is drawn, if it is of the same subject.

    Args:
        empty: what stands in its middle as long as there is no figure.
        compact: whether it is one of many small ones.
        id: of the widget.

    Attributes:
        about: what the words around it tell of; at another subject the figure is gone at once.
        figure: what it shows; setting an equal one does nothing, and one of another subject is refused.
        stop: where its cursor stands, from 0 at the left; None where there is none.
        empty: what stands in its middle as long as there is no figure.
    """

    DEFAULT_CSS = """
    Plot {
        width: 1fr;
        height: 1fr;
        text-wrap: nowrap;
        text-overflow: clip;
    }
    """

    about: var[Subject] = var(Subject())
    stop: var[int | None] = var(None)
    figure: var[Figure | None] = var(None)
    empty: reactive[str] = reactive("")

    class Drawn(Message):
        """A picture was drawn."""

        def __init__(self, wanted: tuple[object, ...], picture: Text) -> None:
            self.wanted = wanted
            self.picture = picture
            super().__init__()

    def __init__(self, empty: str = "", *, compact: bool = False, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.set_reactive(Plot.empty, empty)
        self.compact = compact
        self._wanted: tuple[object, ...] = ()
        self._picture: Text | None = None
        self._subject = Subject()

    def on_mount(self) -> None:
        self.watch(self.app, "theme", self._draw_changed, init=False)
        self.watch(self.app, "ascii_only", self._draw_changed, init=False)

    def on_show(self) -> None:
        """Draws what was set while it was out of sight."""
        self._draw_changed()

    def watch_about(self) -> None:
        """Lets go of a figure that is of something else."""
        self.stop = None
        if self.figure is not None and self.figure.subject != self.about:
            self.figure = None

    def validate_figure(self, figure: Figure | None) -> Figure | None:
        """The figure, unless it is of something else than the words around it."""
        return figure if figure is None or figure.subject == self.about else None

    def watch_figure(self) -> None:
        """Draws the new figure, or shows at once that there is none."""
        self._draw_changed()

    def render(self) -> RenderResult:
        """The last picture drawn.

        Where its size has become another, so will the picture. No Resize is waited for: a widget that is mounted while
        the screen is being laid out may never get its first.
        """
        if self.figure is None:
            return centered(self.empty, *self.size)
        self._draw_changed()
        stops = self._stops() if self.stop is not None and self._picture is not None else None
        if stops is None or self._picture is None or self.stop is None:
            return self._picture or ""
        stop = min(self.stop, len(stops.columns) - 1)
        ascii_only = cast(PlotApp, self.app).ascii_only
        return with_cursor(self._picture, stops, stop, self.size.width, ascii_only=ascii_only)

    def _stops(self) -> Stops | None:
        """Where the cursor can stand; None where nothing can be read off."""
        if self.figure is None or self.compact:
            return None
        app = cast(PlotApp, self.app)
        return cursor_stops(self.figure, *self.size, app.palette, app.ascii_only)

    def move_cursor(self, by: int) -> bool:
        """Puts the cursor on the next stop, from none into the middle; gives whether there is any."""
        stops = self._stops()
        if stops is None:
            return False
        last = len(stops.columns) - 1
        self.stop = last // 2 if self.stop is None else max(0, min(min(self.stop, last) + by, last))
        return True

    def on_click(self, event: events.Click) -> None:
        """Puts the cursor on the nearest stop, or takes it away from there."""
        place = event.get_content_offset(self)
        stops = self._stops()
        if place is not None and stops is not None:
            nearest = stops.nearest(place.x)
            self.stop = None if nearest == self.stop else nearest

    def watch_stop(self) -> None:
        """Paints the picture with the cursor in its new place."""
        self.refresh()

    def _draw_changed(self) -> None:
        """Has a picture drawn unless the last one asked for is the same."""
        if not self.is_attached:
            return
        if self.figure is None:
            self._wanted, self._picture = (), None
            self.refresh()
            return
        app = cast(PlotApp, self.app)
        wanted = (self.figure, *self.size, app.palette, app.ascii_only, self.compact)
        if wanted == self._wanted:
            return
        if self.figure.subject != self._subject:  # Whatever is painted by now is of something else.
            self._subject, self._picture = self.figure.subject, None
            self.refresh()
        self._wanted = wanted if self.size else ()
        if self.size:
            self._draw(*wanted)

    @work(thread=True, exclusive=True, group="plot")
    def _draw(self, figure: Figure, width: int, height: int, palette: Palette, ascii_only: bool, compact: bool) -> None:
        if get_current_worker().is_cancelled:
            return
        picture = draw(figure, width, height, palette, ascii_only, compact)
        self.post_message(self.Drawn((figure, width, height, palette, ascii_only, compact), picture))

    @on(Drawn)
    def _show(self, message: Drawn) -> None:
        """Shows a picture that is still wanted."""
        message.stop()
        if message.wanted == self._wanted:
            before, self._picture = self._picture, message.picture
            self.refresh(*_changed_lines(before, message.picture, self.size.width))


def plot_exports(root: Widget) -> list[OwnExport]:
    """What can be exported of the plots in sight below a widget: each alone, light and as wide as a column of paper."""
    exports: list[OwnExport] = []
    for plot in root.query(Plot):
        if plot.figure is None or plot.compact or not plot.region:
            continue
        words = figure_words(plot.figure)
        below = words if isinstance(plot.figure, MirroredHistogram) else ""
        for suffix, content in PAGE_FILES.items():
            draw_figure = partial(_drawn, content, plot.figure, below)
            exports.append(OwnExport(f"{suffix[1:].upper():<8} {words}, for paper", "plot", suffix, draw_figure))
    return exports


def figure_words(figure: Figure) -> str:
    """What a figure is, in a few words."""
    if isinstance(figure, MirroredHistogram):
        measure = MEASURES.get(figure.subject.measure)
        return f"{'PSI' if measure is None else measure.heading} of {figure.subject.layer}"
    across = ", layer by layer" if figure.x_title == "layer" else f" against {figure.x_title}"
    return f"{figure.y_title}{across}"


def _drawn(content: Callable[[Page], bytes], figure: Figure, below: str) -> bytes:
    return content(draw_page(figure, below))
