"""Tab Study: the published peak values beside the measured ones, in each of the three readings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from psi_core.conditions import BENIGN
from psi_core.measures import MEASURES
from psi_core.plain_text import counted
from psi_core.presets import STUDY, STUDY_DOI, STUDY_TITLE
from psi_core.tables.columns import as_number
from psi_core.tables.evidence import ALL_LAYERS
from psi_core.tables.registry import View
from psi_core.tables.study import (
    COUNT,
    STUDY_COLUMNS,
    claims_note,
    is_read_as_ratio,
    moves_note,
    study_condition,
    study_note,
)
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import LayerWanted, ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import ScreenColumn, both_sides, of_side, pick, screen_columns
from psi_tui.text.formatting import MISSING, Row, format_cell
from psi_tui.widgets.fitted_table import FittedTable

_AGREEMENTS = {"yes": "✓ agrees", "no": "✗ differs", MISSING: MISSING}
_HELD = {True: _AGREEMENTS["yes"], False: _AGREEMENTS["no"]}


def _columns() -> tuple[ScreenColumn, ...]:
    named = screen_columns(STUDY_COLUMNS, is_beside=True)

    def agreement(column: ScreenColumn) -> ScreenColumn:
        return replace(of_side("attacked", column), cell=lambda row: _AGREEMENTS[column.cell(row["attacked"])])

    shown = {name: both_sides(column) for name, column in named.items()}
    shown["layer"] = of_side("benign", named["layer"])
    shown |= {name: agreement(named[name]) for name in ("agrees_height", "agrees_accuracy", "agrees_location")}
    shown["said"], shown["agrees_said"] = _of_either(named["said"]), _of_either(named["agrees_said"], _AGREEMENTS)
    shown["location_right"] = both_sides(named["location_right"], "L, right edge")
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
        said=4,
        agrees_said=4,
        location_right=1,
    )


def _of_either(column: ScreenColumn, words: Mapping[str, str] | None = None) -> ScreenColumn:
    """`0.15 → 0.10`, or what is the same of both sides once, or what only one of them has."""

    def cell(row: Row) -> str:
        texts = [(words or {}).get(text, text) for text in (column.cell(row[side]) for side in ("benign", "attacked"))]
        return " → ".join(dict.fromkeys(text for text in texts if text != MISSING)) or MISSING

    return replace(column, cell=cell)


COLUMNS = _columns()


_ROOMY_LINES = 30
"""Lines of a terminal from which on more than the table and its key has room."""


def _roomy_notes(view: ResultsView) -> list[str]:
    """For screens with room: the study by its title, the other reading of its equation, and what it leaves open."""
    run = view.snapshot.run
    notes = [f'{STUDY}: "{STUDY_TITLE}", Applied Sciences 13(17), 9722, doi:{STUDY_DOI}']
    if is_read_as_ratio(run, View(measure=view.choices.measure)):
        notes.append(
            f"its equation can also be read as a count of active units: m takes {MEASURES[COUNT].heading}; or by Liu's "
            "preset: psi-tui liu"
        )
    condition = study_condition(run)
    rows = view.rows("layers", condition)
    beyond = [row for row in rows if str(row["verdict"]).startswith("beyond noise")]
    if beyond:
        furthest = max(beyond, key=lambda row: abs(as_number(row["delta_sd"])))
        told = f"{len(beyond)} of {counted(len(rows), 'layer')}, furthest {furthest['layer']}"
        notes.append(f"beyond noise under {condition}: {told}, {str(furthest['verdict']).partition(': ')[2]}")
    elif any(row["noise"] for row in rows):
        notes.append(f"beyond noise under {condition}: none of {counted(len(rows), 'layer')}")
    found = [row for row in view.rows("detectors", condition) if row["layer"] == ALL_LAYERS]
    against = [f"{format_cell(row['auroc'], 'number')} against {row['reference']}" for row in found]
    if against:
        notes.append(f"PSI of all layers as a detector of {condition}: AUROC {', '.join(against)}")
    return notes


class StudyTable(FittedTable):
    """Layers; enter shows the histogram of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "its histogram")]


class StudyTab(ResultsTab):
    """The study's table, and whether each reading moves the way it does."""

    TABLES: ClassVar[tuple[str, ...]] = ("study", "layers", "detectors")
    SHOWS = frozenset({"measure"})
    FOCUS = "#study-table"

    def compose(self) -> ComposeResult:
        yield Static(id="study-heading", markup=False)
        with Pane(id="study-pane"):
            yield StudyTable(COLUMNS, id="study-table")
            yield Static(id="study-waiting", markup=False, classes="empty")
        yield Static(id="study-note", markup=False)

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
        compared = f", benign → {attacked[0]['condition']}" if attacked else ", benign alone" if benign else ""
        heading = f"{model}, {view.measured}: {STUDY} beside three readings{compared}"
        if rows and all(row["published"] is None for row in rows):
            heading = f"three readings of {view.measured}{compared}; {STUDY} have alexnet and vgg11 alone"
        self.query_one("#study-heading", Static).update(heading, layout=False)
        claims = claims_note(rows, _HELD)
        is_wide, is_high = self.screen.has_class("-wide"), self.app.size.height >= _ROOMY_LINES
        told = _roomy_notes(view) if is_wide and is_high else []
        if claims and not is_wide:
            told = [f"its text says: {claims}"]
        notes = [study_note(measure=view.choices.measure), moves_note(rows), *told]
        self.query_one("#study-note", Static).update("\n".join(note for note in notes if note))

    @on(FittedTable.Selected)
    def _show_layer(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        self.post_message(LayerWanted(message.key))

    def copies(self, view: ResultsView) -> dict[str, str]:
        table = self.query_one(FittedTable)
        command = f"psi-tui show {view.snapshot.run.id} --table study"
        return {**({"this table": table.tab_separated()} if table.row_count else {}), "command that prints it": command}
