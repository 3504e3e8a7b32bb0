"""Screen 5: runs side by side, layers aligned by name, one quantity at a time as table and curves."""

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from textual.worker import get_current_worker

from psi_core.errors import PsiError
from psi_core.runs.run import Run
from psi_core.tables.columns import Row
from psi_tui.plots.figures import Subject
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
from psi_tui.widgets.fitted_table import FittedTable
from psi_tui.widgets.plot import Plot, plot_exports

_EMPTY = "Nothing to compare yet.\n\nPress [b]1[/b], mark two runs or more with [b]space[/b], then press [b]c[/b]."


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
        self._directories: tuple[Path, ...] = ()
        self._read_runs: list[tuple[Run, list[Row]]] = []
        self._common: list[str] = []
        self._differences: dict[str, list[str]] = {}
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

    def _begin(self, directories: tuple[Path, ...]) -> None:
        self._directories, self.runs = directories, ()
        self.query_one("#compare-empty").display = not directories
        self.query_one(Plot).about = Subject(" ".join(map(str, directories)))
        self.query_one(CurvesPane).border_title = ""
        self.query_one("#compare-pane", Pane).border_title = ""
        self.query_one(FittedTable).show_rows({})
        for name in ("#compare-legend", "#compare-pane", "#curves-pane"):
            self.query_one(name).display = bool(directories)
        if directories:
            self.query_one("#compare-legend", Static).update("reading the runs ...")
            self._read(directories)

    @work(thread=True, exclusive=True, group="compare")
    def _read(self, directories: tuple[Path, ...]) -> None:
        worker = get_current_worker()
        read: list[tuple[Run, list[Row]]] = []
        for directory in directories:
            try:
                read.append((Run(directory), self.app.statistics.ask("rows", run=str(directory), table="layers")))
            except (PsiError, OSError) as error:
                self.app.call_later(self.app.show_error, error)
        if not worker.is_cancelled:
            self.app.call_later(self._take, read)

    def _take(self, read: list[tuple[Run, list[Row]]]) -> None:
        self._read_runs = read
        self._directories = tuple(run.directory for run, _ in read)  # One that cannot be read has no column.
        self._differences = configuration_differences([run for run, _ in read])
        if not self._has_chosen:
            self.quantity = QUANTITIES[default_quantity(rows for _, rows in read)]
        self._common = common_conditions([run for run, _ in read]) if read else []
        self._show_conditions(default_conditions([run for run, _ in read]) if read else [])

    def _show_conditions(self, conditions: list[str]) -> None:
        """Every run under its condition."""
        self.conditions = conditions
        self._show(
            tuple(
                ComparedRun.from_rows(letter, run.name, condition, rows)
                for letter, condition, (run, rows) in zip(LETTERS, conditions, self._read_runs, strict=False)
            )
        )

    def has_effect(self, action: str) -> bool:
        return bool(self.runs) or action.startswith("app.")

    def _show(self, runs: tuple[ComparedRun, ...]) -> None:
        if bool(runs) is not bool(self.runs):
            self.call_after_refresh(self.refresh_bindings)
        self.runs = runs
        legend = self.query_one("#compare-legend", Static)
        if not runs:
            legend.update("None of these runs has results yet; 1 goes back to the list")
            return
        told = [run.legend for run in runs]
        if len(runs) > 1:
            told.append(differences_line(self._differences, self.app.size.width - 2))
            told += [] if have_common_layers(runs) else [NOTHING_IN_COMMON]
        legend.update("\n".join(told))
        table = self.query_one(FittedTable)
        table.show_columns(comparison_columns(runs, self.quantity))
        table.show_rows(comparison_rows(runs, self.quantity))
        if self.focused is None:
            self.set_focus(table)
        self.query_one("#compare-pane", Pane).border_title = f"{quantity_title(runs, self.quantity)}   m: next"
        self.query_one(CurvesPane).border_title = self.quantity.title
        plot = self.query_one(Plot)
        plot.about = Subject(
            " ".join(map(str, self._directories)), condition=" ".join(self.conditions), measure=self.quantity.title
        )
        plot.figure = replace(comparison_curves(runs, self.quantity), subject=plot.about)

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
            self._show_conditions([following] * len(self._read_runs))
            self.hint(f"every run under {following}")

    def action_open_first(self) -> None:
        if self._directories:
            self.app.open_run(self._directories[0])
        else:
            self.hint("nothing to open; 1, mark two runs with space, then c")

    @on(FittedTable.Selected)
    def _open_at_layer(self, message: FittedTable.Selected[str]) -> None:
        self.app.remember(layer=message.key)
        self.action_open_first()

    def action_export(self) -> None:
        if self.runs:
            self.app.offer_exports(self._directories[0], self.runs[0].name, own=plot_exports(self))
        else:
            super().action_export()

    def copies(self) -> dict[str, str]:
        if not self.runs:
            return {}
        table = {"this table": self.query_one(FittedTable).tab_separated()}
        heads = "\t".join(["option", *(run.name for run in self.runs)])
        lines = ["\t".join([name, *values]) for name, values in self._differences.items()]
        return {**table, **({"options that differ": "\n".join([heads, *lines])} if lines else {})}
