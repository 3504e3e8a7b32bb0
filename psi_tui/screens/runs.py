"""Screen 1, the home: every run, live ones on top, the shipped examples below."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Input, Static

from psi_core.tables.summary import RunSummary
from psi_tui.runs.progress import STATUS_GLYPHS
from psi_tui.runs.run_list import RunEntry
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.text.columns import ScreenColumn
from psi_tui.text.formatting import (
    MISSING,
    Row,
    format_accuracies,
    format_age,
    format_count,
    format_duration,
    format_headline,
    format_progress,
)
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.prompt_line import TextField


def _status(row: Row) -> str:
    entry: RunEntry = row["entry"]
    progress = entry.progress
    text = f"{STATUS_GLYPHS[progress.status]} {progress.status}"
    if progress.status == "running":
        if progress.phase != "run":
            return f"{text} {progress.phase}"
        share = f" {100 * progress.done // max(1, progress.total)} %"
        left = progress.seconds_left
        return f"{text}{share}" + (f", {format_duration(left)}" if left is not None else "")
    return text


def _shifts(row: Row) -> tuple[str, str]:
    summary = row["entry"].summary or RunSummary()
    return format_headline(summary.shift_layer, summary.shift, summary.shift_control)


def _accuracy(row: Row) -> str:
    summary = row["entry"].summary
    return (
        MISSING if summary is None else format_accuracies(summary.accuracy_percent, summary.attacked_accuracy_percent)
    )


COLUMNS = (
    ScreenColumn("run", lambda row: f"{'*' if row['is_marked'] else ' '} {row['entry'].name}", 9, is_text=True),
    ScreenColumn("model", lambda row: row["entry"].model, 7, is_text=True),
    ScreenColumn("data", lambda row: row["entry"].data, 1, is_text=True),
    ScreenColumn("attack", lambda row: row["entry"].attack, 3, is_text=True),
    ScreenColumn("epsilon", lambda row: row["entry"].epsilon, 4, is_text=True),
    ScreenColumn("images", lambda row: format_progress(row["entry"].progress.done, row["entry"].progress.total), 2),
    ScreenColumn("accuracy %", _accuracy, 6),
    ScreenColumn("max Δ-control", lambda row: _shifts(row)[0], 5, is_text=True),
    ScreenColumn("Δ", lambda row: _shifts(row)[1], 5, is_text=True),
    ScreenColumn("status", _status, 8, is_text=True),
    ScreenColumn("age", lambda row: row["age"], 1, is_text=True),
)


class RunTable(FittedTable):
    """The list; enter opens a run."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open")]


class RunsScreen(PsiScreen):
    """Lists the runs; opens, marks, stops, resumes and deletes them."""

    NAME = "runs"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark"),
        Binding("c", "compare", "compare"),
        Binding("n", "new", "new run"),
        Binding("x", "stop", "stop"),
        Binding("r", "resume", "resume", show=False),
        Binding("d", "delete", "delete"),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.marked: dict[str, RunEntry] = {}

    def compose_body(self) -> ComposeResult:
        with Pane(id="runs-pane"):
            yield TextField(
                placeholder="filter by name, model, status; enter keeps it, esc clears it", id="runs-filter"
            )
            yield RunTable(COLUMNS, id="runs-table", styles={"status": self._status_style})
            yield Static(id="runs-empty")
        yield Static(id="runs-detail")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).display = bool(self.app.state.runs_filter)
        self.query_one(Input).value = self.app.state.runs_filter
        self.watch(self.app, "entries", self._show)
        self.table.focus()

    @property
    def table(self) -> FittedTable:
        return self.query_one("#runs-table", FittedTable)

    @property
    def current(self) -> RunEntry | None:
        """The run under the cursor."""
        return next((entry for entry in self._visible() if str(entry.directory) == self.table.current_key), None)

    def _visible(self) -> list[RunEntry]:
        wanted = self.query_one(Input).value.lower().split()
        return [entry for entry in self.app.entries or () if all(word in _text(entry) for word in wanted)]

    def _show(self, entries: tuple[RunEntry, ...] | None) -> None:
        known = {str(entry.directory) for entry in entries or ()}
        self.marked = {key: entry for key, entry in self.marked.items() if key in known}
        visible = self._visible()
        now = self.app.clock()
        rows: dict[str, Row] = {
            str(entry.directory): {
                "entry": entry,
                "is_marked": str(entry.directory) in self.marked,
                "age": "example" if entry.is_example else format_age(entry.created.isoformat(), now),
            }
            for entry in visible
        }
        self.table.show_rows(rows)
        self.table.display = bool(visible)
        empty = self.query_one("#runs-empty", Static)
        empty.display = not visible
        empty.update(self._why_empty(entries))
        self._describe()

    def _why_empty(self, entries: tuple[RunEntry, ...] | None) -> str:
        if entries is None:
            return "reading the runs ..."
        if entries:
            return "No run fits the filter.\n\n[b]/[/b] changes it, [b]esc[/b] clears it."
        return f"No runs yet in {self.app.runs_dir}.\n\nPress [b]n[/b] to start the first one."

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        entry = self.current
        detail = self.query_one("#runs-detail", Static)
        detail.display = entry is not None
        if entry is not None:
            detail.update(self._detail(entry))

    def _detail(self, entry: RunEntry) -> Content:
        facts = [
            f"{format_count(entry.progress.total)} images of {entry.data}",
            f"{entry.attack} {entry.epsilon}".strip(),
        ]
        if entry.is_example:
            facts.append("ships with psi-tui")
        elif entry.progress.status in ("stopped", "failed", "lost"):
            facts.append("r resumes")
        below = [f"{len(self.marked)} marked, c compares"] if self.marked else []
        below += [f"made by {entry.command}"] if entry.command else [entry.id] if entry.name != entry.id else []
        name = Content.styled(entry.name, "bold")
        return Content.assemble(name, f"  {entry.model}, {', '.join(facts)}\n{'   '.join(below)}")

    def _status_style(self, row: Row) -> str:
        entry: RunEntry = row["entry"]
        return {"running": "bold", "failed": "bold", "lost": "bold"}.get(entry.progress.status, "")

    @on(DataTable.RowSelected)
    def _open_selected(self) -> None:
        self.action_open()

    @on(Input.Changed)
    def _filter_typed(self, message: Input.Changed) -> None:
        self.app.remember(runs_filter=message.value)
        self._show(self.app.entries)

    @on(Input.Submitted)
    def _filter_done(self, message: Input.Submitted) -> None:
        message.input.display = bool(message.value)
        self.table.focus()

    def action_filter(self) -> None:
        self.query_one(Input).display = True
        self.query_one(Input).focus()

    def action_back(self) -> None:
        """Clears the filter, if there is one."""
        field = self.query_one(Input)
        if field.display:
            field.value = ""
            field.display = False
            self.table.focus()
        else:
            super().action_back()

    def action_open(self) -> None:
        if entry := self._need_run():
            self.app.open_run(entry.directory)

    def action_mark(self) -> None:
        if entry := self._need_run():
            key = str(entry.directory)
            if self.marked.pop(key, None) is None:
                self.marked[key] = entry
            self._show(self.app.entries)

    def action_compare(self) -> None:
        if len(self.marked) < 2:
            self.hint(f"{len(self.marked)} of at least 2 runs marked; space marks the one under the cursor")
        else:
            self.app.compare([entry.directory for entry in self.marked.values()])

    def action_new(self) -> None:
        self.app.new_run()

    def action_stop(self) -> None:
        if entry := self._need_run():
            self.app.stop_run(entry.directory, entry.name, entry.progress.status)

    def action_resume(self) -> None:
        if entry := self._need_run():
            self.app.resume_run(entry.directory, entry.name, entry.progress.status)

    def action_delete(self) -> None:
        if entry := self._need_run():
            self.app.delete_run(entry.directory, entry.name, entry.progress.status)

    def action_export(self) -> None:
        if entry := self._need_run():
            self.app.offer_exports(entry.directory, entry.name)

    def copies(self) -> dict[str, str]:
        entry = self.current
        own = {} if entry is None else {"path of the run": str(entry.directory), "id of the run": entry.id}
        if entry is not None and entry.command:
            own["command that makes the run again"] = entry.command
        return {**own, "this table": self.table.tab_separated()} if self.app.entries else own

    def _need_run(self) -> RunEntry | None:
        entry = self.current
        if entry is None:
            self.hint("no run is under the cursor; n starts one")
        return entry


def _text(entry: RunEntry) -> str:
    words = (entry.name, entry.id, entry.model, entry.data, entry.attack, entry.progress.status)
    return " ".join((*words, "example" if entry.is_example else "")).lower()
