"""Tab All layers: one small histogram a layer, or the profile of PSI from layer to layer."""

from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import ItemGrid, VerticalScroll
from textual.widgets import Static

from psi_core.statistics.histograms import TABLE_BINS
from psi_tui.plots.figures import Curves, MirroredHistogram, Subject
from psi_tui.plots.layer_histogram import layer_histogram
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.widgets.plot import Plot

_SMALL_BINS = 32
_SMALL_WIDTH, _SMALL_HEIGHT = 30, 9
"""The least room that a small plot takes, title included."""

_TITLE_EDGES = 4
"""Columns of a plot's upper edge that its title leaves to the line."""


@dataclass(frozen=True, slots=True)
class _Pictures:
    """Small multiples and their shifts by layer, and the profile."""

    histograms: dict[str, MirroredHistogram]
    shifts: dict[str, str]
    profile: Curves | None


class AllLayersTab(ResultsTab):
    """Small multiples; `v` shows the profile instead."""

    TABLES: ClassVar[tuple[str, ...]] = ("layers",)
    SHOWS = frozenset({"condition", "subset", "measure", "bins"})
    FOCUS = "#multiples-scroll"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("v", "toggle_view", "profile")]

    def compose(self) -> ComposeResult:
        yield Static(id="all-layers-legend", markup=False)
        with Pane(id="all-layers-pane"):
            with VerticalScroll(id="multiples-scroll"):
                yield ItemGrid(id="multiples", min_column_width=_SMALL_WIDTH)
            yield Plot(id="profile")

    def on_mount(self) -> None:
        self._view: ResultsView | None = None
        self._layers: tuple[str, ...] = ()
        self._shifts: dict[str, str] = {}
        self._room = 0
        self._small: list[_Small] = []
        self.query_one("#profile").display = False

    @property
    def shows_profile(self) -> bool:
        return bool(self.query_one("#profile").display)

    def show(self, view: ResultsView) -> None:
        self._view = view
        against = "Δ from benign" if view.condition.control is None else "Δ from benign, from control"
        against = "" if view.condition.is_benign else against
        sides = f"{view.measured}: {view.sides}{view.subset_words}"
        words = f"{view.profile_title}   v: histograms" if self.shows_profile else f"{sides}   {against}"
        self.query_one("#all-layers-legend", Static).update(words, layout=False)
        self.query_one("#profile", Plot).about = view.subject(layer="")
        for small in self._small:
            small.tell_of(view.subject(layer=small.layer_name))

    def compute(self, view: ResultsView) -> object:
        """Every layer's histogram, and the profile once the statistics are there."""
        snapshot, choices = view.snapshot, view.choices
        if not snapshot.has_results:
            return None
        is_study = choices.bins == TABLE_BINS
        histograms = {
            layer: layer_histogram(
                snapshot.run,
                layer,
                measure=choices.measure,
                condition=choices.condition,
                bins=choices.bins if is_study else _SMALL_BINS,
                subset=choices.subset,
                whole_range=is_study,
            )
            for layer in snapshot.run.layers
        }
        small = {
            layer: replace(found.figure, upper_name="", lower_name="", subject=view.subject(layer=layer))
            for layer, found in histograms.items()
        }
        return _Pictures(small, {layer: found.short_shifts for layer, found in histograms.items()}, view.profile)

    def show_computed(self, view: ResultsView, computed: object) -> None:
        pictures = computed if isinstance(computed, _Pictures) else _Pictures({}, {}, None)
        profile = self.query_one("#profile", Plot)
        profile.empty = view.waiting
        profile.figure = pictures.profile
        layers = tuple(view.snapshot.run.layers)
        grid = self.query_one("#multiples", ItemGrid)
        if layers != self._layers:
            self._layers = layers
            grid.remove_children()
            self._small = [_Small(layer) for layer in layers]
            grid.mount_all(self._small)
            self.on_resize()
        for small in self._small:
            small.tell_of(view.subject(layer=small.layer_name))
            small.plot.empty = view.waiting
            small.plot.figure = pictures.histograms.get(small.layer_name)
        self._shifts = pictures.shifts
        self._name_plots()

    def forget(self) -> None:
        self._layers, self._shifts, self._small = (), {}, []
        self.query_one("#multiples", ItemGrid).remove_children()

    def on_resize(self) -> None:
        """Spreads few plots over the height there is; many scroll."""
        scroll, grid = self.query_one("#multiples-scroll"), self.query_one("#multiples", ItemGrid)
        columns = max(1, (scroll.size.width + 1) // (_SMALL_WIDTH + 1))
        rows = -(-max(1, len(self._layers)) // columns)
        has_room = rows * _SMALL_HEIGHT <= scroll.size.height
        grid.styles.height = "100%" if has_room else "auto"
        grid.styles.grid_rows = "1fr" if has_room else str(_SMALL_HEIGHT)
        if scroll.size.width:
            self._room = (scroll.size.width + 1) // columns - 1 - _TITLE_EDGES
        self._name_plots()

    def _name_plots(self) -> None:
        """Gives every plot its layer's name, and the shifts where there is room for both."""
        for small in self._small:
            both = f"{small.layer_name}  {self._shifts.get(small.layer_name, '')}".rstrip()
            small.border_title = both if len(both) <= self._room else small.layer_name

    def action_toggle_view(self) -> None:
        is_profile = self.shows_profile
        self.query_one("#profile").display = not is_profile
        self.query_one("#multiples-scroll").display = is_profile
        if self._view is not None:
            self.show(self._view)


class _Small(Pane):
    """One layer's small histogram under its name.

    Args:
        layer: its name.
    """

    def __init__(self, layer: str) -> None:
        super().__init__(classes="small")
        self.layer_name = layer
        self.border_title = layer
        self.plot = Plot(compact=True)

    def tell_of(self, subject: Subject) -> None:
        """Shows its name alone until the shifts of another subject are there."""
        if self.plot.about != subject:
            self.plot.about = subject
            self.border_title = self.layer_name

    def compose(self) -> ComposeResult:
        yield self.plot
