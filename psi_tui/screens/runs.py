"""Screen 1, the home: every run, live ones on top, the shipped examples below."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from psi_core.errors import ConfigError, PsiError
from psi_tui.runs.run_filter import EXAMPLES, run_filter
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.text.columns import pick
from psi_tui.text.formatting import Row, format_count, format_duration
from psi_tui.text.runs import (
    NOT_TRUSTED,
    NOT_TRUSTED_WORDS,
    RUN_COLUMNS,
    STATUS_COLORS,
    STATUS_GLYPHS,
    asked_texts,
    said_parts,
)
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.prompt_line import TextField

if TYPE_CHECKING:
    from psi_tui.runs.run_list import RunEntry


def _status(entry: "RunEntry", words: str) -> str:
    """The words of a status with their sign, and how long a measurement will take, in its larger unit alone."""
    progress = entry.progress
    left = progress.seconds_left if progress.is_live and progress.phase == "run" else None
    rest = "" if left is None else f", {' '.join(format_duration(left).split()[:2])}"
    return f"{STATUS_GLYPHS[progress.status]} {words}{rest}"


COLUMNS = (
    *pick(
        RUN_COLUMNS,
        run=9,
        model=7,
        data=1,
        attack=5,
        images=2,
        accuracy=6,
        beyond_noise=6,
        shift=2,
        tags=3,
        status=8,
    ),
    replace(RUN_COLUMNS["age"], importance=1, is_text=True, value=lambda row: -row["entry"].created.timestamp()),
)


_SETTLING_SECONDS = 1.0
"""For so long a key that acts at once may be meant for the run that was under the cursor before its row went."""

_RED = "x: its evidence is red, see that tab"
_UNREADABLE = "!: its results cannot be read; enter says why"


class RunTable(FittedTable):
    """The list; enter opens a run."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open")]


class RunsScreen(PsiScreen):
    """Lists the runs; opens, marks, stops, resumes and deletes them."""

    NAME = "runs"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "mark", "mark", tooltip="mark the run: c, x, r, d, t and e act on all that are marked"),
        Binding("c", "compare", "compare", tooltip="compare the marked runs"),
        Binding("n", "new", "new run"),
        Binding("x", "stop", "stop", tooltip="stop the run after its open chunk; asks where runs are marked"),
        Binding("r", "resume", "resume the run", show=False),
        Binding("d", "delete", "delete", tooltip="delete, once you agree; u brings it back"),
        Binding("N", "clone", "new run like this one", show=False),
        Binding("t", "label", "rename, tag, note", show=False),
        Binding("u", "undo_delete", "bring the deleted one back", show=False),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.marked: dict[str, RunEntry] = {}
        self._fits: Callable[[RunEntry], bool] = lambda entry: True
        self._came, self._came_at = "", -math.inf

    def compose_body(self) -> ComposeResult:
        with Pane(id="runs-pane"):
            yield Static(id="runs-trouble", markup=False)
            yield TextField(placeholder=f"filter: {EXAMPLES}", id="runs-filter")
            yield Static(id="runs-hits", markup=False)
            yield RunTable(COLUMNS, id="runs-table", styles={"status": self._status_style})
            yield Static(id="runs-empty")
        yield Static(id="runs-detail")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one(Input).display = bool(self.app.state.runs_filter)
        self.query_one(Input).value = self.app.state.runs_filter
        self.watch(self.app, "entries", self._follow)
        self.watch(self.app, "runs_trouble", self._show_trouble)
        self.set_focus(self.table)

    @property
    def table(self) -> FittedTable:
        return self.query_one("#runs-table", FittedTable)

    @property
    def current(self) -> "RunEntry | None":
        """The run under the cursor."""
        return next((entry for entry in self._visible() if str(entry.directory) == self.table.current), None)

    def _visible(self) -> "list[RunEntry]":
        return [entry for entry in self.app.entries or () if self._fits(entry)]

    def _read_filter(self) -> None:
        """Takes in the words of the filter; those that mean nothing leave the list as it is and say why."""
        field = self.query_one(Input)
        hits = self.query_one("#runs-hits", Static)
        hits.display = field.display
        try:
            self._fits = run_filter(field.value)
        except ConfigError as error:
            hits.update(str(error))
        else:
            every = self.app.entries
            told = "reading the runs ..." if every is None else f"{len(self._visible())} of {len(every)} runs"
            hits.update(f"{told}; enter keeps the filter, esc clears it")

    def _follow(self, entries: "tuple[RunEntry, ...] | None") -> None:
        """Shows the list as it is now, and notes which run came under the cursor in the place of one that went."""
        before = self.table.current
        self._show(entries)
        now = self.table.current
        if before is not None and now is not None and now != before:
            self._came, self._came_at = now, time.monotonic()

    def _show_trouble(self, sentence: str) -> None:
        trouble = self.query_one("#runs-trouble", Static)
        trouble.display = bool(sentence)
        trouble.update(sentence)

    def _show(self, entries: "tuple[RunEntry, ...] | None") -> None:
        known = {str(entry.directory): entry for entry in entries or ()}
        self.marked = {key: known[key] for key in self.marked if key in known}
        self._read_filter()
        visible = self._visible()
        now = self.app.clock()
        self.table.show_rows({str(entry.directory): self._row(entry, now) for entry in visible})
        self.table.display = bool(visible)
        empty = self.query_one("#runs-empty", Static)
        empty.display = not visible
        empty.update(self._why_empty(entries))
        self._describe()
        if visible and self.focused is None:  # It had no rows before.
            self.set_focus(self.table)

    def _row(self, entry: "RunEntry", now: datetime) -> Row:
        from psi_tui.runs.run_list import run_row, status_words  # The first paint does not wait for them.

        mark = "*" if str(entry.directory) in self.marked else " "
        status = _status(entry, status_words(entry, red=" x", unreadable=" !"))
        return {**run_row(entry, now), "run": f"{mark} {entry.name}", "status": status}

    def _why_empty(self, entries: "tuple[RunEntry, ...] | None") -> str:
        if entries is None:
            return "reading the runs ..."
        if entries:
            return "No run fits the filter.\n\n[b]/[/b] changes it, [b]esc[/b] clears it."
        return f"No runs yet in {self.app.runs_dir}.\n\nPress [b]n[/b] to start the first one."

    @on(FittedTable.Highlighted)
    def _describe(self) -> None:
        entry = self.current
        detail = self.query_one("#runs-detail", Static)
        detail.display = entry is not None
        if entry is not None:
            detail.update(self._detail(entry))

    def _detail(self, entry: "RunEntry") -> Content:
        if entry.trouble:
            return Content.assemble(Content.styled(entry.name, "bold"), f"  {entry.trouble}")
        facts = [
            f"{format_count(entry.progress.total)} images of {entry.data}",
            f"{entry.attack} {entry.epsilon}".strip() or "nothing done to them",
        ]
        if entry.is_example:
            facts.append("ships with psi-tui")
        elif entry.progress.status in ("stopped", "failed", "lost"):
            facts.append("r resumes")
        below = [f"{len(self.marked)} marked, c compares, t tags, d deletes, e exports"] if self.marked else []
        below += [entry.id] if entry.name != entry.id and not entry.is_example else []
        below += [_RED] if entry.summary is not None and entry.summary.evidence == "red" else []
        below += [_UNREADABLE] if self._is_unreadable(entry) else []
        below += [f"{NOT_TRUSTED}: {NOT_TRUSTED_WORDS}"] * entry.needs_trust
        below += said_parts(entry.label) + ([f"made by {entry.command}"] if entry.command else [])
        name = Content.styled(entry.name, "bold")
        return Content.assemble(name, f"  {entry.model}, {', '.join(facts)}\n{'   '.join(below)}")

    @staticmethod
    def _is_unreadable(entry: "RunEntry") -> bool:
        from psi_tui.runs.run_list import is_unreadable

        return is_unreadable(entry)

    def _status_style(self, row: Row) -> str:
        entry: RunEntry = row["entry"]
        is_red = self._is_unreadable(entry) or (entry.summary is not None and entry.summary.evidence == "red")
        name = "error" if is_red else STATUS_COLORS.get(entry.progress.status, "")
        color = getattr(self.app.current_theme, name, None) if name else None
        weight = "bold" if entry.progress.is_live or name == "error" else ""
        return f"{weight} {color}".strip() if color and color.startswith("#") else weight

    @on(FittedTable.Selected)
    def _open_selected(self) -> None:
        self.action_open()

    @on(Input.Changed)
    def _filter_typed(self, message: Input.Changed) -> None:
        self.app.remember(runs_filter=message.value)
        self._show(self.app.entries)

    @on(Input.Submitted)
    def _filter_done(self, message: Input.Submitted) -> None:
        message.input.display = bool(message.value)
        self._read_filter()
        self.set_focus(self.table)

    def action_filter(self) -> None:
        self.query_one(Input).display = True
        self._read_filter()
        self.set_focus(self.query_one(Input))

    def action_back(self) -> None:
        """Clears the filter, if there is one."""
        field = self.query_one(Input)
        if field.display:
            field.value = ""
            field.display = False
            self._show(self.app.entries)
            self.set_focus(self.table)
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
        from psi_tui.services.together import stop_runs

        if self.marked:
            stop_runs(self.app, [*self.marked.values()])
        elif entry := self._need_settled_run():
            self.app.stop_run(entry.directory, entry.name, entry.progress.status)

    def action_resume(self) -> None:
        from psi_tui.services.together import resume_runs

        if self.marked:
            resume_runs(self.app, [*self.marked.values()])
        elif entry := self._need_settled_run():
            self.app.resume_run(entry.directory, entry.name)

    def action_clone(self) -> None:
        from psi_core.config import RunConfig
        from psi_core.options import option_text
        from psi_core.runs.run import Run

        if entry := self._need_run():
            try:
                texts = asked_texts(Run(entry.directory).config)
            except PsiError as error:
                self.app.show_error(error)
                return
            defaults = {name: option_text(info.default) for name, info in RunConfig.model_fields.items()}
            self.app.new_run(**{**defaults, **texts, "name": ""})

    def action_delete(self) -> None:
        from psi_tui.services.deletion import delete_runs

        if self.marked:
            delete_runs(self.app, [(each.directory, each.name) for each in self.marked.values()])
        elif entry := self._need_run():
            delete_runs(self.app, [(entry.directory, entry.name)], f" ({entry.progress.status})")

    def action_label(self) -> None:
        from psi_tui.services.labels import label_run, tag_runs

        if self.marked:
            tag_runs(self.app, [(each.directory, each.name) for each in self.marked.values()])
        elif entry := self._need_run():
            label_run(self.app, entry.directory)

    def action_undo_delete(self) -> None:
        from psi_tui.services.deletion import undo_delete

        undo_delete(self.app)

    def action_export(self) -> None:
        if self.marked:
            self.app.offer_exports_of([(entry.directory, entry.name) for entry in self.marked.values()])
        elif entry := self._need_run():
            self.app.offer_exports(entry.directory, entry.name)

    def places(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """The runs of every tag."""
        for tag in sorted({tag for entry in self.app.entries or () for tag in entry.label.tags}):
            yield f"runs tagged {tag}", partial(self._filter_by, f"tag={tag}")

    def _filter_by(self, text: str) -> None:
        field = self.query_one(Input)
        field.display, field.value = True, text

    def copies(self) -> dict[str, str]:
        entry = self.current
        own = {} if entry is None else {"path of the run": str(entry.directory), "id of the run": entry.id}
        if entry is not None and entry.command:
            own["command that makes the run again"] = entry.command
        return {**own, "this table": self.table.tab_separated()} if self.app.entries else own

    def _need_run(self) -> "RunEntry | None":
        entry = self.current
        if entry is None:
            self.hint("no run is under the cursor; n starts one")
        return entry

    def _need_settled_run(self) -> "RunEntry | None":
        """The run under the cursor, for a key that asks nothing; none where it has just come there by itself."""
        entry = self._need_run()
        is_new = self.table.current == self._came and time.monotonic() - self._came_at < _SETTLING_SECONDS
        if entry is None or not is_new:
            return entry
        self.hint(f"the run that was here is gone, and {entry.name} took its place; press again if you mean that one")
        return None
