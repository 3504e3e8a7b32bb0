"""The results screen's reading side: follows the open run, computes in threads, and hands views to the active tab."""

from typing import Any

from textual import on, work
from textual.widgets import TabbedContent
from textual.worker import Worker, get_current_worker

from psi_core.errors import PsiError, RunError
from psi_core.events import log_path
from psi_tui.progress import headline_accuracies, headline_condition
from psi_tui.run_reader import Snapshot
from psi_tui.screens.base import PsiScreen
from psi_tui.screens.results.store import RETRY_SECONDS, TableStore
from psi_tui.screens.results.view import BINNINGS, READINGS, Choices, Reading, ResultsTab, ResultsView
from psi_tui.widgets.progress_panel import ProgressPanel


class ResultsReader(PsiScreen):
    """A screen with a ProgressPanel and tabs over the open run.

    Attributes:
        choices: what the user chose to see; None while no run is open.
    """

    def __init__(self) -> None:
        super().__init__()
        self.choices: Choices | None = None
        self._store: TableStore | None = None
        self._shown: Snapshot | None = None
        self._accuracies: tuple[float | None, float | None] = (None, None)
        self._accuracies_of: tuple[Any, ...] = ()

    def on_mount(self) -> None:
        """Follows the open run."""
        super().on_mount()
        self.watch(self.app, "snapshot", self._advance)

    @property
    def tab(self) -> ResultsTab:
        """The active tab."""
        pane = self.query_one(TabbedContent).active_pane
        assert pane is not None, "one tab is always active"
        return pane.query_one(ResultsTab)

    @property
    def view(self) -> ResultsView | None:
        """What there is to show now."""
        snapshot, choices, store = self._shown, self.choices, self._store
        if snapshot is None or choices is None or store is None:
            return None
        rows = {table: store.rows(table, choices.subset, choices.measure) for table in self.tab.TABLES}
        return ResultsView(snapshot, choices, {name: row for name, row in rows.items() if row}, store.problem)

    def _advance(self, snapshot: Snapshot | None) -> None:
        self.query_one("#results-empty").display = snapshot is None
        for part in (ProgressPanel, TabbedContent):
            self.query_one(part).display = snapshot is not None
        before, self._shown = self._shown, snapshot
        if snapshot is None:
            return
        if self._store is None or self._store.directory != snapshot.run.directory:
            self._begin(snapshot)
            before = None
        if before is not None and before.is_live and snapshot.progress.status == "failed":
            self._tell_failure(snapshot)
        self.query_one(ProgressPanel).show(snapshot, self._accuracies, headline_condition(snapshot.run))
        if before is None or _told(before) != _told(snapshot) or self.tab.TABLES == ():
            self.refresh_tab()
        else:
            self._fetch_due()

    def _tell_failure(self, snapshot: Snapshot) -> None:
        """A dialog for a run that has failed before our eyes: why, what to do, and where its log lies."""
        failed = [worker for worker in snapshot.workers if worker.last and worker.last["event"] == "failed"]
        for worker in failed[:1]:
            cause = str((worker.last or {}).get("error") or "no reason given")
            advice = "" if "; " in cause else "; r resumes it, tab Log tells more"
            self.app.show_error(RunError(f"{cause}{advice}"), log_path(snapshot.run.directory, worker.number))

    def _begin(self, snapshot: Snapshot) -> None:
        """Another run: what was chosen before is kept where the run has it."""
        run, state = snapshot.run, self.app.state
        condition = state.condition if state.condition in run.conditions[1:] else headline_condition(run)
        layer = state.layer if state.layer in run.layers else run.layers[0]
        bins = state.bins if state.bins in BINNINGS else BINNINGS[0]
        reading: Reading = next((letter for letter in READINGS if letter == state.peak), "L")
        measure = state.measure if state.measure in run.measures else run.measures[0]
        self.choices = Choices(condition, layer, measure=measure, bins=bins, reading=reading)
        self._store = TableStore(run.directory, self.app.statistics)
        self._accuracies, self._accuracies_of = (None, None), ()
        self.query_one(TabbedContent).active = state.results_tab

    def refresh_tab(self) -> None:
        """Shows the present view in the active tab, and asks for what it lacks."""
        view = self.view
        if view is None:
            return
        tab = self.tab
        tab.show(view)
        if self.focused is None and tab.FOCUS and tab.query_one(tab.FOCUS).display:
            tab.query_one(tab.FOCUS).focus()  # It had no rows yet when its tab was chosen.
        self._compute(tab, view)
        self._fetch_due()

    @work(thread=True, exclusive=True, group="compute")
    def _compute(self, tab: ResultsTab, view: ResultsView) -> None:
        worker = get_current_worker()
        try:
            computed = tab.compute(view)
            accuracies = self._read_accuracies(view)
        except (PsiError, OSError) as error:
            self.call_later(self.hint, str(error))
            return
        if not worker.is_cancelled:
            self.call_later(self._show_computed, tab, view, computed, accuracies)

    def _read_accuracies(self, view: ResultsView) -> tuple[float | None, float | None]:
        stamp = (view.snapshot.run.directory, view.snapshot.stamp)
        return self._accuracies if stamp == self._accuracies_of else headline_accuracies(view.snapshot.run)

    def _show_computed(
        self, tab: ResultsTab, view: ResultsView, computed: object, accuracies: tuple[float | None, float | None]
    ) -> None:
        if self._store is None or view.snapshot.run.directory != self._store.directory or not tab.is_attached:
            return
        tab.show_computed(view, computed)
        self._accuracies_of = (view.snapshot.run.directory, view.snapshot.stamp)
        if accuracies != self._accuracies and self._shown is not None:
            self._accuracies = accuracies
            self.query_one(ProgressPanel).show(self._shown, accuracies, headline_condition(view.snapshot.run))

    def _fetch_due(self) -> None:
        store, snapshot, choices = self._store, self._shown, self.choices
        if store is None or snapshot is None or choices is None:
            return
        due = [
            table for table in self.tab.TABLES if store.is_due(table, choices.subset, choices.measure, snapshot.stamp)
        ]
        if due and not any(worker.group == "tables" and worker.is_running for worker in self.workers):
            self._fetch(store, due, choices, snapshot)

    @work(thread=True, group="tables")
    def _fetch(self, store: TableStore, tables: list[str], choices: Choices, snapshot: Snapshot) -> None:
        worker = get_current_worker()

        def is_wanted() -> bool:
            return store is self._store and not worker.is_cancelled

        for table in tables:
            wanted = (table, choices.subset, choices.measure)
            if store.fetch(*wanted, snapshot.stamp, snapshot.is_live, is_wanted):
                self.call_later(self._fetched, store)

    def _fetched(self, store: TableStore) -> None:
        if store is self._store:
            self.refresh_tab()

    @on(Worker.StateChanged)
    def _fetch_what_was_chosen_meanwhile(self, message: Worker.StateChanged) -> None:
        if message.worker.group == "tables" and message.worker.is_finished:
            self._fetch_due()
            if self._store is not None and self._store.problem:
                self.set_timer(RETRY_SECONDS, self._fetch_due)


def _told(snapshot: Snapshot) -> tuple[Any, ...]:
    """What of a run its tabs depend on; the counters in their head go on by themselves."""
    return snapshot.stamp, snapshot.progress.status, snapshot.progress.phase
