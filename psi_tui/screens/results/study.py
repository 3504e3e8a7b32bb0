"""Tab Study: the published peak values beside the measured ones, in each of the three readings."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Static

from psi_core.tables.study import STUDY_NOTE
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import LayerWanted, ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import ScreenColumn
from psi_tui.text.formatting import MISSING, Row, format_cell
from psi_tui.widgets.fitted_table import FittedTable


def _pair(row: Row, name: str) -> str:
    benign, attacked = (format_cell(row[side][name], "percent") for side in ("benign", "attacked"))
    return MISSING if benign == attacked == MISSING else f"{benign} → {attacked}"


def _agreement(name: str) -> ScreenColumn:
    words = {True: "✓ agrees", False: "✗ differs", None: MISSING}
    return ScreenColumn(
        f"{name[0].upper()} moves", lambda row: words[row["attacked"][f"agrees_{name}"]], 6, is_text=True
    )


COLUMNS = (
    ScreenColumn("layer", lambda row: row["benign"]["layer"], 9, is_text=True),
    ScreenColumn("published", lambda row: _pair(row, "published"), 9),
    ScreenColumn("height H %", lambda row: _pair(row, "height_percent"), 8),
    _agreement("height"),
    ScreenColumn("accuracy A %", lambda row: _pair(row, "accuracy_percent"), 5),
    _agreement("accuracy"),
    ScreenColumn("location L", lambda row: _pair(row, "location"), 7),
    _agreement("location"),
)


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
        pairs = {str(b["layer"]): {"benign": b, "attacked": a} for b, a in zip(rows[::2], rows[1::2], strict=True)}
        table = self.query_one(FittedTable)
        table.show_rows(pairs)
        table.display = bool(pairs)
        waiting = self.query_one("#study-waiting", Static)
        waiting.display = not pairs
        waiting.update(view.waiting)
        model = view.snapshot.run.config.model
        heading = f"{model}: published peaks and three readings, benign → attacked"
        if rows and all(row["published"] is None for row in rows):
            heading = f"The study has tables of alexnet and vgg11, not of {model}; 3 starts one"
        elif rows:
            heading = f"{heading} by {rows[1]['condition']}"
        self.query_one("#study-heading", Static).update(heading, layout=False)

    @on(DataTable.RowSelected)
    def _show_layer(self, message: DataTable.RowSelected) -> None:
        message.stop()
        if message.row_key.value is not None:
            self.post_message(LayerWanted(message.row_key.value))

    def copies(self, view: ResultsView) -> dict[str, str]:
        table = self.query_one(FittedTable)
        command = f"psi-tui show {view.snapshot.run.id} --table study"
        return {**({"this table": table.tab_separated()} if table.row_count else {}), "command that prints it": command}
