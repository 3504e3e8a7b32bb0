"""Screen 5: runs side by side, layers aligned by name, one quantity at a time as table and curves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from textual.worker import Worker, get_current_worker

from psi_core.errors import PsiError
from psi_core.runs.run import Run
from psi_core.tables.columns import Row
from psi_tui.plots.figures import Subject
from psi_tui.runs.run_list import RunEntry, results_stamp
from psi_tui.screens.base import Pane, PlotPane, PsiScreen
from psi_tui.screens.comparison import (
    LETTERS,
    NOTHING_IN_COMMON,
    QUANTITIES,
    ComparedRun,
    Quantity,
    common_conditions,
    comparison_columns,
    comparison_curves,
    comparison_rows,
    configuration_differences,
    default_conditions,
    default_quantity,
    differences_line,
    have_common_layers,
    quantity_title,
)
from psi_tui.screens.results.tab import LayerWanted
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.plot import Plot, plot_exports

_EMPTY = "Nothing to compare yet.\n\nPress [b]1[/b], mark two runs or more with [b]space[/b], then press [b]c[/b]."


@dataclass(frozen=True, slots=True)
class _Reading:
    """What was read of the compared runs.

    Attributes:
        asked: directories of all of them.
        made_from: of each its directory, which results it had, and its status.
        runs: those that could be read, and their rows.
        differences: options in which these differ.
        refusals: why the others could not be read.
    """

    asked: tuple[Path, ...]
    made_from: tuple[object, ...]
    runs: list[tuple[Run, list[Row]]]
    differences: dict[str, list[str]]
    refusals: list[PsiError | OSError]

    @property
    def directories(self) -> tuple[Path, ...]:
        """Of the runs that could be read: another one has no column."""
        return tuple(run.directory for run, _ in self.runs)


_NOTHING = _Reading((), (), [], {}, [])


class CurvesPane(PlotPane):
    """The overlaid curves; focused, `+` makes them large, left and right read values off."""


class CompareTable(FittedTable):
    """Layers; enter opens the first run there."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "open run a there")]


class CompareScreen(PsiScreen):
    """Compares the runs that were marked on the home screen."""

    NAME = "compare"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "step_quantity(1)", "next quantity"),
        Binding("M", "step_quantity(-1)", "previous quantity", show=False),
        Binding("c", "step_condition", "condition"),
        Binding("o", "open_first", "open run a"),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.runs: tuple[ComparedRun, ...] = ()
        self.quantity: Quantity = QUANTITIES["shift"]
        self.conditions: list[str] = []
        self._reading = _NOTHING
        self._seen: tuple[RunEntry, ...] | None = None
        self._common: list[str] = []
        self._has_chosen = False

    def compose_body(self) -> ComposeResult:
        yield Static(_EMPTY, id="compare-empty")
        yield Static(id="compare-legend", markup=False)
        with Pane(id="compare-pane"):
            yield CompareTable((), id="compare-table")
        with CurvesPane(id="curves-pane"):
            yield Plot(id="curves")

    def on_mount(self) -> None:
        super().on_mount()
        self.watch(self.app, "compared", self._begin)
        self.watch(self.app, "entries", self._follow)

    def _begin(self, directories: tuple[Path, ...]) -> None:
        """Reads the runs; where they are the same as before, their numbers stay in sight until there are newer ones."""
        if directories != self._reading.asked or not directories:
            self._reading, self.runs, self.conditions = replace(_NOTHING, asked=directories), (), []
            self._show_nothing()
            self.query_one("#compare-empty").display = not directories
            for name in ("#compare-legend", "#compare-pane", "#curves-pane"):
                self.query_one(name).display = bool(directories)
        if directories:
            self._seen = self.app.entries
            self._read(directories, self._statuses(), ())

    def _show_nothing(self) -> None:
        self._show_legend()
        self.query_one(Plot).about = Subject(" ".join(map(str, self._reading.asked)))
        self.query_one(CurvesPane).border_title = ""
        self.query_one("#compare-pane", Pane).border_title = ""
        self.query_one(FittedTable).show_rows({})

    @on(events.ScreenResume)
    def _follow(self) -> None:
        """Reads the runs anew where one of them may have other results than when they were read."""
        is_reading = any(worker.group == "compare" and not worker.is_finished for worker in self.workers)
        has_news = self._seen is not self.app.entries
        if self._reading.asked and has_news and self.is_current and not is_reading:
            self._seen = self.app.entries
            self._read(self._reading.asked, self._statuses(), self._reading.made_from)

    @on(Worker.StateChanged)
    def _follow_what_happened_meanwhile(self, message: Worker.StateChanged) -> None:
        if message.worker.group == "compare" and message.worker.is_finished:
            self._follow()

    def _statuses(self) -> dict[Path, str]:
        return {entry.directory: entry.progress.status for entry in self.app.entries or ()}

    @work(thread=True, exclusive=True, group="compare")
    def _read(self, asked: tuple[Path, ...], statuses: Mapping[Path, str], known: tuple[object, ...]) -> None:
        """Reads runs that are not as they are known to be; where none is known, the user has asked for all of them."""
        worker = get_current_worker()
        made_from = tuple((directory, _results_of(directory), statuses.get(directory)) for directory in asked)
        if made_from == known:
            return
        read: list[tuple[Run, list[Row]]] = []
        refusals: list[PsiError | OSError] = []
        for directory in asked:
            try:
                read.append((Run(directory), self.app.statistics.ask("rows", run=str(directory), table="layers")))
            except (PsiError, OSError) as error:
                refusals.append(error)
        try:
            differences = configuration_differences([run for run, _ in read])
        except (PsiError, OSError):
            return  # One of them is being removed: the list of runs will have that news.
        if not worker.is_cancelled:
            reading = _Reading(asked, made_from, read, differences, refusals)
            self.call_later(self._take, reading, is_asked=not known)

    def _take(self, reading: _Reading, *, is_asked: bool) -> None:
        before, runs = self._reading, [run for run, _ in reading.runs]
        if reading.asked != before.asked:
            return  # Others are asked for by now.
        self._reading = reading
        if not self._has_chosen:
            self.quantity = QUANTITIES[default_quantity(rows for _, rows in reading.runs)]
        self._common = common_conditions(runs) if runs else []
        is_chosen = self.conditions and reading.directories == before.directories
        self._show_conditions(self.conditions if is_chosen else default_conditions(runs) if runs else [])
        for error in reading.refusals if is_asked else ():
            self.app.show_error(error)

    def _show_conditions(self, conditions: list[str]) -> None:
        """Every run under its condition."""
        self.conditions = conditions
        self._show(
            tuple(
                ComparedRun.from_rows(letter, run.name, condition, rows)
                for letter, condition, (run, rows) in zip(LETTERS, conditions, self._reading.runs, strict=False)
            )
        )

    def has_effect(self, action: str) -> bool:
        return bool(self.runs) or action.startswith("app.")

    def _show(self, runs: tuple[ComparedRun, ...]) -> None:
        if bool(runs) is not bool(self.runs):
            self.call_after_refresh(self.refresh_bindings)
        self.runs = runs
        if not runs:
            self._show_nothing()
            return
        self._show_legend()
        table = self.query_one(FittedTable)
        table.show_columns(comparison_columns(runs, self.quantity))
        table.show_rows(comparison_rows(runs, self.quantity))
        if self.focused is None:
            self.set_focus(table)
        self.query_one("#compare-pane", Pane).border_title = f"{quantity_title(runs, self.quantity)}   m: next"
        self.query_one(CurvesPane).border_title = self.quantity.title
        plot = self.query_one(Plot)
        plot.about = Subject(
            " ".join(map(str, self._reading.directories)),
            condition=" ".join(self.conditions),
            measure=self.quantity.title,
        )
        plot.figure = replace(comparison_curves(runs, self.quantity), subject=plot.about)

    @on(events.Resize)
    def _show_legend(self) -> None:
        """Says what stands for which run, in what they differ, and which runs are missing."""
        told = [run.legend for run in self.runs]
        if len(self.runs) > 1:
            told.append(differences_line(self._reading.differences, self.app.size.width - 2))
            told += [] if have_common_layers(self.runs) else [NOTHING_IN_COMMON]
        if not self._reading.made_from:
            told.append("reading the runs ...")
        elif not self.runs:
            told.append("None of these runs has results yet; 1 goes back to the list")
        elif self._reading.refusals:
            told += [f"missing: {error}" for error in self._reading.refusals]
        self.query_one("#compare-legend", Static).update("\n".join(told))

    def action_step_quantity(self, by: int) -> None:
        self._has_chosen = True
        quantities = list(QUANTITIES.values())
        self.quantity = quantities[(quantities.index(self.quantity) + by) % len(quantities)]
        if self.runs:
            self._show(self.runs)
        else:
            self.hint("nothing to compare yet; 1, mark two runs with space, then c")

    def action_step_condition(self) -> None:
        """Compares all runs under the next condition that they have in common."""
        if not self.runs:
            self.hint("nothing to compare yet; 1, mark two runs with space, then c")
        elif not self._common:
            self.hint("these runs have no condition in common; each is shown under its own")
        else:
            at = self._common.index(self.conditions[0]) if self.conditions[0] in self._common else -1
            following = self._common[(at + 1) % len(self._common)]
            self._show_conditions([following] * len(self._reading.runs))
            self.hint(f"every run under {following}")

    def action_open_first(self) -> None:
        if self._reading.asked:
            self.app.open_run((*self._reading.directories, *self._reading.asked)[0])
        else:
            self.hint("nothing to open; 1, mark two runs with space, then c")

    @on(FittedTable.Selected)
    def _open_at_layer(self, message: FittedTable.Selected[str]) -> None:
        first = self._reading.directories[0]
        if message.key not in self.runs[0].layers:
            self.hint(f"run a has no layer {message.key}; o opens it where it was left")
            return
        is_shown = self.app.snapshot is not None and self.app.snapshot.run.directory == first
        self.app.remember(layer=message.key, results_tab="layers")  # For a screen that has yet to show the run.
        self.app.open_run(first)
        if is_shown:
            self.app.screen.post_message(LayerWanted(message.key))

    def action_export(self) -> None:
        if self.runs:
            self.app.offer_exports(self._reading.directories[0], self.runs[0].name, own=plot_exports(self))
        else:
            super().action_export()

    def copies(self) -> dict[str, str]:
        if not self.runs:
            return {}
        table = {"this table": self.query_one(FittedTable).tab_separated()}
        heads = "\t".join(["option", *(run.name for run in self.runs)])
        lines = ["\t".join([name, *values]) for name, values in self._reading.differences.items()]
        return {**table, **({"options that differ": "\n".join([heads, *lines])} if lines else {})}


def _results_of(directory: Path) -> tuple[object, ...]:
    """Which results a run has; empty where there are none, or nobody can see them."""
    try:
        return results_stamp(directory, with_preview=False)
    except (PsiError, OSError):
        return ()
