"""Tab Map: how far every layer lies beyond noise under every condition, at one glance."""

from collections.abc import Mapping
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from psi_core.conditions import BENIGN
from psi_core.measures import MEASURES
from psi_core.statistics.contrasts import SIZE_WORDS
from psi_core.tables.columns import as_number
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import LayerRowsTab, LayerWanted
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import KEY_IMPORTANCE, ScreenColumn
from psi_tui.text.formatting import MISSING, Row, beyond_cell
from psi_tui.widgets.fitted_table import FittedTable

_SMALL, _LARGE = 0.2, 0.8
"""Cohen's: below the first an effect is negligible and dim, from the second on it is bold."""


def is_claimed(row: Row) -> bool:
    """Whether the verdict says that the layer lies beyond noise."""
    return str(row.get("verdict") or "").startswith("beyond")


class LayerMap(FittedTable):
    """Layers by conditions; enter opens a layer."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open the layer")]


class MapTab(LayerRowsTab):
    """A row a layer, a column a condition, and below what the glyphs say."""

    TABLES: ClassVar[tuple[str, ...]] = ("layers",)
    SHOWS = frozenset({"condition", "layer", "subset", "measure"})
    FOCUS = "#layer-map"

    def compose(self) -> ComposeResult:
        yield Static(id="map-heading", markup=False)
        with Pane(id="map-pane"):
            yield LayerMap((), id="layer-map")
            yield Static(id="map-waiting", markup=False, classes="empty")
        yield Static(id="map-verdict", markup=False)
        yield Static(id="map-legend", markup=False)

    @property
    def _table(self) -> LayerMap:
        return self.query_one(LayerMap)

    def show(self, view: ResultsView) -> None:
        run = view.snapshot.run
        conditions = [each for each in run.condition_details if not each.is_benign]
        found: dict[str, dict[str, Row]] = {}
        for row in view.tables.get("layers", []):
            found.setdefault(str(row["layer"]), {})[str(row["condition"])] = row
        titles = {each.name: _title(each.name, view.choices.condition) for each in conditions}
        table = self._table
        # Attacks before controls, and the largest epsilon last to go.
        order = sorted(conditions, key=lambda each: (not each.is_control, each.epsilon))
        with self.prevent(FittedTable.Highlighted):
            table.show_columns(
                [
                    ScreenColumn("layer", lambda row: row["layer"], 100, is_text=True),
                    *(
                        _column(
                            each.name,
                            titles[each.name],
                            len(order) if each.name == view.choices.condition else order.index(each),
                            len(order) + 1,
                        )
                        for each in conditions
                    ),
                ],
                {each.name: self._style_of(each.name) for each in conditions},
            )
            table.show_rows({layer: {"layer": layer, **found[layer]} for layer in run.layers if layer in found})
            table.select_key(view.choices.layer)
        self.shown_layer = view.choices.layer
        table.display = self.query_one("#map-legend").display = bool(found and conditions)
        waiting = self.query_one("#map-waiting", Static)
        waiting.display = not found
        waiting.update(view.waiting)
        self._show_words(view, found)

    def _show_words(self, view: ResultsView, found: Mapping[str, Mapping[str, Row]]) -> None:
        chosen = view.choices.condition
        claimed = [layer for layer, rows in found.items() if chosen in rows and is_claimed(rows[chosen])]
        heading = f"{view.measured}: shift beyond noise, in benign sd{view.subset_words}"
        if found and chosen == BENIGN:
            heading = "Nothing was done to the images, so nothing can lie beyond noise. For a run that attacks: 3"
        elif found and not any(rows[chosen]["delta_sd"] is not None for rows in found.values() if chosen in rows):
            heading = (
                f"No noise is of the size of {chosen}, so nothing can lie beyond it; --controls sign-noise,gaussian"
            )
        elif found:
            told = ", ".join(claimed) if len(claimed) <= _MOST_NAMES else f"{len(claimed)} of {len(found)} layers"
            heading = f"{heading}   beyond noise under {chosen}: {told or 'none'}"
        self.query_one("#map-heading", Static).update(heading)
        up, down = MEASURES[view.choices.measure].moves
        row = found.get(view.choices.layer, {}).get(chosen)
        verdict = "" if row is None or not row["verdict"] else f"{row['layer']} under {chosen}: {row['verdict']}"
        self.query_one("#map-verdict", Static).update(verdict)
        self.query_one("#map-legend", Static).update(
            f"▲ {up}, ▼ {down} beyond noise   = equivalent to it   < less   ± depends on it   ? undecided   "
            f"{SIZE_WORDS} (bold); below 0.2 dim"
        )

    def _style_of(self, condition: str) -> "_Style":
        colors = self.app.current_theme.variables
        palette = self.app.palette
        return _Style(condition, colors.get("benign", palette.benign), colors.get("attacked", palette.attacked))

    @on(FittedTable.Selected)
    def _open_layer(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        self.post_message(LayerWanted(message.key))

    def conditions_in_turn(self, view: ResultsView) -> list[str]:
        """Those that are compared with noise, which have columns."""
        compared = {row["condition"] for row in view.tables.get("layers", []) if row["delta_sd"] is not None}
        return [name for name in view.snapshot.run.conditions[1:] if name in compared]

    def copies(self, view: ResultsView) -> dict[str, str]:
        table, run = self._table, view.snapshot.run.id
        return {
            **({"this table": table.tab_separated()} if table.row_count else {}),
            "command that prints the verdicts": f"psi-tui show {run} --measure {view.choices.measure}",
        }


_MOST_NAMES = 4
"""Layers that are named in the heading; more are counted."""


class _Style:
    """How the cells of one condition look: colored where the verdict claims a shift, by its sign and size."""

    def __init__(self, condition: str, falls: str, rises: str) -> None:
        self.condition, self.falls, self.rises = condition, falls, rises

    def __call__(self, row: Row) -> str:
        own = row.get(self.condition)
        if own is None or not is_claimed(own):
            return ""
        value = as_number(own.get("delta_sd"))
        weight = "bold " if abs(value) >= _LARGE else "dim " if abs(value) < _SMALL else ""
        return f"{weight}{self.rises if value >= 0 else self.falls}"


def _title(name: str, chosen: str) -> str:
    return f"[{name}]" if name == chosen else name


def _column(name: str, title: str, place: int, places: int) -> ScreenColumn:
    """A condition's column; it goes before the layers' names do, one of a lower place before one of a higher."""
    importance = KEY_IMPORTANCE * place / places
    return ScreenColumn(title, lambda row: beyond_cell(row[name]) if name in row else MISSING, importance, name=name)
