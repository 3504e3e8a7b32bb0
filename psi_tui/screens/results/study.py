"""Tab Study: the published peak values beside the measured ones, in each of the three readings."""

from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from psi_core.conditions import BENIGN
from psi_core.tables.columns import Row
from psi_core.tables.study import STUDY_COLUMNS, STUDY_NOTE
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import LayerWanted, ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import ScreenColumn, both_sides, of_side, pick, screen_columns
from psi_tui.text.formatting import MISSING
from psi_tui.widgets.fitted_table import FittedTable


def _columns() -> tuple[ScreenColumn, ...]:
    named = screen_columns(STUDY_COLUMNS, is_beside=True)
    words = {"yes": "✓ agrees", "no": "✗ differs", MISSING: MISSING}

    def agreement(column: ScreenColumn) -> ScreenColumn:
        return replace(of_side("attacked", column), cell=lambda row: words[column.cell(row["attacked"])])

    shown = {name: both_sides(column) for name, column in named.items()}
    shown["layer"] = of_side("benign", named["layer"])
    shown |= {name: agreement(named[name]) for name in ("agrees_height", "agrees_accuracy", "agrees_location")}
    return pick(
        shown,
        layer=9,
        published=9,
        height_percent=8,
        agrees_height=6,
        accuracy_percent=5,
        agrees_accuracy=6,
        location=7,
        agrees_location=6,
    )


COLUMNS = _columns()


class StudyTable(FittedTable):
    """Layers; enter shows the histogram of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "its histogram")]


class StudyTab(ResultsTab):
    """The study's table, and whether each reading moves the way it does."""

    TABLES: ClassVar[tuple[str, ...]] = ("study",)
    FOCUS = "#study-table"

    def compose(self) -> ComposeResult:
        yield Static(id="study-heading", markup=False)
        with Pane(id="study-pane"):
            yield StudyTable(COLUMNS, id="study-table")
            yield Static(id="study-waiting", markup=False, classes="empty")
        yield Static(STUDY_NOTE, id="study-note", markup=False)

    def show(self, view: ResultsView) -> None:
        rows = view.tables.get("study", [])
        benign = [row for row in rows if row["condition"] == BENIGN]
        attacked = [row for row in rows if row["condition"] != BENIGN]
        alone: list[Row] = [dict.fromkeys(row) for row in benign]
        pairs = {str(pair["benign"]["layer"]): pair for pair in view.pairs(benign, attacked or alone)}
        table = self.query_one(FittedTable)
        table.show_rows(pairs)
        table.display = bool(pairs)
        waiting = self.query_one("#study-waiting", Static)
        waiting.display = not pairs
        waiting.update(view.waiting)
        model = view.snapshot.run.config.model
        heading = f"{model}: published peaks and three readings, benign → attacked"
        if attacked:
            heading += f" by {attacked[0]['condition']}"
        elif benign:
            heading = f"{model}: published benign peaks and three readings; nothing was done to the images"
        if rows and all(row["published"] is None for row in rows):
            heading = f"The study has tables of alexnet and vgg11, not of {model}; 3 starts one"
        self.query_one("#study-heading", Static).update(heading, layout=False)

    @on(FittedTable.Selected)
    def _show_layer(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        self.post_message(LayerWanted(message.key))

    def copies(self, view: ResultsView) -> dict[str, str]:
        table = self.query_one(FittedTable)
        command = f"psi-tui show {view.snapshot.run.id} --table study"
        return {**({"this table": table.tab_separated()} if table.row_count else {}), "command that prints it": command}
