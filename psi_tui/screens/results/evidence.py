"""Tab Evidence: the checks that a run's verdicts rest on, and how well PSI tells attacked images from the control's."""

import textwrap
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from psi_core.conditions import BENIGN
from psi_core.plain_text import counted
from psi_core.tables.evidence import ALL_LAYERS, DETECTOR_COLUMNS
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.screens.results.tab import LayerWanted, ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.columns import limits, pick, screen_columns
from psi_tui.text.formatting import Row
from psi_tui.widgets.fitted_table import FittedTable

MARKS = {"green": "ok", "amber": "!", "red": "x", "none": "-"}
"""What stands before a check, by its status: colors alone tell nothing."""

_WORDS = {"green": "ok", "amber": "to heed (!)", "red": "failed (x)", "none": "not checked (-)"}
_STYLES = {"green": "bold $success", "amber": "bold $warning", "red": "bold $error", "none": "$foreground 65%"}

_LEAST_BESIDE = 40
"""Columns that a sentence needs beside the name of its check."""

_BESIDE_CONTROL = "any noise can be told from benign images: what is told from the control counts"
_NO_CONTROL = "no control to compare with; any noise can be told from benign images"


_DETECTORS = screen_columns(DETECTOR_COLUMNS, is_beside=True)

COLUMNS = pick(
    {**_DETECTORS, "limits": limits("95 % CI", _DETECTORS, "auroc")},
    layer=9,
    auroc=8,
    limits=7,
    tnr_percent=8,
    tpr_percent=3,
)


class CheckList(VerticalScroll, can_focus=True):
    """The checks, one after another, their sentences wrapped at whatever width there is."""

    DEFAULT_CSS = """
    CheckList { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    CheckList Static { height: auto; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.checks: Sequence[Row] = ()

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, checks: Sequence[Row]) -> None:
        """Shows other checks, where they are others."""
        if list(checks) != list(self.checks):
            self.checks = checks
            self._draw()

    def on_resize(self) -> None:
        self._draw()

    def text(self) -> str:
        """The checks as text, tabs between mark, name and sentence."""
        return "\n".join(
            "\t".join((MARKS[str(row["status"])], str(row["check"]), str(row["sentence"]))) for row in self.checks
        )

    def _draw(self) -> None:
        self.query_one(Static).update(check_lines(self.checks, self.scrollable_content_region.width))


def check_lines(checks: Sequence[Row], width: int) -> Content:
    """The checks as styled text: mark, name, then the sentence with its number beside them, or where narrow below.

    Args:
        checks: rows of the evidence table.
        width: of a line.
    """
    names = max((len(str(row["check"])) for row in checks), default=0)
    beside = 4 + names + 2
    is_beside = width - beside >= _LEAST_BESIDE
    indent = beside if is_beside else 4
    lines: list[Content] = []
    for row in checks:
        status = str(row["status"])
        head = Content.assemble(
            (f"{MARKS[status]:<4}", _STYLES[status]),
            (f"{row['check']:<{names}}", "bold"),
        )
        sentence = _wrapped(str(row["sentence"]), max(20, width - indent))
        rest = [Content.styled(" " * indent + line, "$foreground 80%") for line in sentence]
        if is_beside:
            lines += [Content.assemble(head, "  ", (sentence[0], "$foreground 80%")), *rest[1:]]
        else:
            lines += [head, *rest]
    return Content("\n").join(lines)


def _wrapped(sentence: str, width: int) -> list[str]:
    """Its lines; no number is parted from its percent sign."""
    joined = sentence.replace(" %", "\N{NO-BREAK SPACE}%")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in textwrap.wrap(joined, width)] or [""]


class ChecksPane(Pane):
    """The checks; focused, `+` makes them large."""


class DetectorTable(FittedTable):
    """Layers; enter shows the histogram of one."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "its histogram")]


class EvidenceTab(ResultsTab):
    """Checks above, detectors below."""

    TABLES: ClassVar[tuple[str, ...]] = ("evidence", "detectors")
    SHOWS = frozenset({"condition"})
    FOCUS = "#checks"

    def compose(self) -> ComposeResult:
        with ChecksPane(id="checks-pane"):
            yield CheckList(id="checks")
            yield Static(id="checks-waiting", markup=False, classes="empty")
        with Pane(id="detector-pane"):
            yield DetectorTable(COLUMNS, id="detector-table")
        yield Static(id="detector-note", markup=False)

    @property
    def _table(self) -> FittedTable:
        return self.query_one("#detector-table", FittedTable)

    def show(self, view: ResultsView) -> None:
        """Both, as far as they are there."""
        checks = view.tables.get("evidence", [])
        listed = self.query_one(CheckList)
        listed.show(checks)
        listed.display = bool(checks)
        waiting = self.query_one("#checks-waiting", Static)
        waiting.display = not checks
        waiting.update(view.waiting)
        self.query_one(ChecksPane).border_title = _counted(checks)
        self._show_detectors(view)

    def _show_detectors(self, view: ResultsView) -> None:
        rows, reference = _detectors(view)
        pane, note = self.query_one("#detector-pane", Pane), self.query_one("#detector-note", Static)
        table = self._table
        pane.display = note.display = bool(rows)
        table.show_rows({str(row["layer"]): row for row in rows})
        if not rows:
            return
        images = int(rows[0]["images"] or 0)
        pane.border_title = (
            f"PSI as a detector: {view.choices.condition} against {reference}, {counted(images, 'image')} held out"
        )
        note.update(_NO_CONTROL if reference == BENIGN else _BESIDE_CONTROL)

    @on(FittedTable.Selected)
    def _show_layer(self, message: FittedTable.Selected[str]) -> None:
        message.stop()
        if message.key == ALL_LAYERS:
            if isinstance(self.screen, PsiScreen):
                self.screen.hint("all layers together have no histogram; j and k choose one of them")
        else:
            self.post_message(LayerWanted(message.key))

    def copies(self, view: ResultsView) -> dict[str, str]:
        run, table = view.snapshot.run.id, self._table
        checks = self.query_one(CheckList)
        return {
            **({"these checks": checks.text()} if checks.checks else {}),
            **({"this table": table.tab_separated()} if table.row_count else {}),
            "command that prints the checks": f"psi-tui show {run} --table evidence",
            "command that prints the detectors": f"psi-tui show {run} --table detectors",
        }


def worst_mark(checks: Sequence[Row]) -> str:
    """Mark of the check that stands worst; empty where there are none."""
    statuses = {str(row["status"]) for row in checks}
    return next((MARKS[status] for status in ("red", "amber", "green") if status in statuses), "")


def _counted(checks: Sequence[Row]) -> str:
    """`12 checks: 9 ok, 2 to heed (!), 1 failed (x)`: what is out of sight is told too."""
    if not checks:
        return "checks"
    counts = {status: sum(row["status"] == status for row in checks) for status in MARKS}
    told = ", ".join(f"{count} {_WORDS[status]}" for status, count in counts.items() if count)
    return f"{counted(len(checks), 'check')}: {told}"


def _detectors(view: ResultsView) -> tuple[list[Row], str]:
    """Detectors of the chosen condition against its control, else against benign: all layers together, then each."""
    control = view.condition.control
    reference = BENIGN if control is None else control
    rows = [row for row in view.rows("detectors", view.choices.condition) if row["reference"] == reference]
    return sorted(rows, key=lambda row: row["layer"] != ALL_LAYERS), reference
