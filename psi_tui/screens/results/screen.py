"""Screen 4: the head of a run, its tabs, and the choices they share.

The results screen's reading side: follows the open run, computes in threads, and hands views to the active tab.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.widgets import Static, TabbedContent, TabPane
from textual.worker import Worker, get_current_worker

from psi_core.errors import PsiError, RunError
from psi_core.measures import MEASURES
from psi_core.runs.events import Failed, log_path
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.summary import headline_accuracies, headline_condition
from psi_tui.runs.open_run import Snapshot
from psi_tui.screens.base import PsiScreen
from psi_tui.screens.results.all_layers import AllLayersTab
from psi_tui.screens.results.classes import ClassesTab
from psi_tui.screens.results.epsilon import EpsilonTab
from psi_tui.screens.results.evidence import EvidenceTab
from psi_tui.screens.results.images.tab import ImagesTab
from psi_tui.screens.results.layers import LayersTab
from psi_tui.screens.results.log import LogTab
from psi_tui.screens.results.store import RETRY_SECONDS, TableStore
from psi_tui.screens.results.study import StudyTab
from psi_tui.screens.results.view import (
    BINNINGS,
    READINGS,
    Choices,
    ImagesWanted,
    LayerChosen,
    LayerWanted,
    Reading,
    ResultsTab,
    ResultsView,
)
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
        super().on_mount()
        self.watch(self.app, "snapshot", self._advance)

    @property
    def tab(self) -> ResultsTab:
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
        failures = [(worker.number, worker.last) for worker in snapshot.workers if isinstance(worker.last, Failed)]
        for number, failed in failures[:1]:
            cause = failed.error or "no reason given"
            advice = "" if "; " in cause else "; r resumes it, tab Log tells more"
            self.app.show_error(RunError(f"{cause}{advice}"), log_path(snapshot.run.directory, number))

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


TABS: dict[str, tuple[str, type[ResultsTab]]] = {
    "layers": ("Layers", LayersTab),
    "all_layers": ("All layers", AllLayersTab),
    "classes": ("Classes", ClassesTab),
    "epsilon": ("Epsilon", EpsilonTab),
    "images": ("Images", ImagesTab),
    "evidence": ("Evidence", EvidenceTab),
    "study": ("Study", StudyTab),
    "log": ("Log", LogTab),
}
"""The tabs in order: id, title, and what fills each."""


class ResultsScreen(ResultsReader):
    """Shows the open run; hands the choices to the active tab."""

    NAME = "results"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "step_layer(-1)", "previous layer", key_display="[", show=False),
        Binding("right_square_bracket", "step_layer(1)", "layer", key_display="]"),
        Binding("less_than_sign", "step_tab(-1)", "previous tab", key_display="<", show=False),
        Binding("greater_than_sign", "step_tab(1)", "tab", key_display=">"),
        Binding("c", "step_condition", "condition"),
        Binding("m", "step_measure", "measure"),
        Binding("b", "step_bins", "bins"),
        Binding("f", "step_subset", "subset"),
        Binding("p", "step_reading", "peak"),
        Binding("x", "stop", "stop", show=False),
        Binding("r", "resume", "resume", show=False),
        Binding("n", "new", "new run", show=False),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit", show=False),
    ]

    def compose_body(self) -> ComposeResult:
        yield ProgressPanel()
        with TabbedContent(id="tabs", initial=self.app.state.results_tab):
            for name, (title, tab_class) in TABS.items():
                with TabPane(title, id=name):
                    yield tab_class()
        yield Static("No run is open.\n\nPress [b]1[/b], choose one, press [b]enter[/b].", id="results-empty")

    def _choose(self, **changes: Any) -> None:
        if self.choices is None:
            self.hint("no run is open; 1, then enter opens one")
            return
        chosen = self.choices = replace(self.choices, **changes)
        self.app.remember(
            condition=chosen.condition,
            layer=chosen.layer,
            measure=chosen.measure,
            bins=chosen.bins,
            peak=chosen.reading,
        )
        for name in changes.keys() - self.tab.SHOWS:
            tabs = ", ".join(title for title, tab_class in TABS.values() if name in tab_class.SHOWS)
            self.hint(f"{name}: {changes[name]}, shown in {tabs}")
        self.refresh_tab()

    @on(LayerChosen)
    def _layer_chosen(self, message: LayerChosen) -> None:
        if self.choices is not None and message.layer != self.choices.layer:
            self._choose(layer=message.layer)

    @on(LayerWanted)
    def _layer_wanted(self, message: LayerWanted) -> None:
        self.query_one(TabbedContent).active = "layers"
        self._layer_chosen(message)

    @on(ImagesWanted)
    def _images_wanted(self, message: ImagesWanted) -> None:
        self.query_one(TabbedContent).active = "images"
        self.query_one(ImagesTab).filter_by(message.filter)

    @on(TabbedContent.TabActivated)
    def _tab_chosen(self, message: TabbedContent.TabActivated) -> None:
        self.minimize()
        name = message.pane.id
        if name in TABS:
            self.app.remember(results_tab=name)
            self.refresh_tab()
            self._focus_tab()

    def _focus_tab(self) -> None:
        """Keys go to the first thing in the tab that takes them."""
        if self.tab.FOCUS:
            self.tab.query_one(self.tab.FOCUS).focus()
        else:
            self.set_focus(None)

    def action_step_layer(self, by: int) -> None:
        if self.choices is not None and self._shown is not None:
            layers = self._shown.run.layers
            self._choose(layer=layers[(layers.index(self.choices.layer) + by) % len(layers)])
        else:
            self._choose()

    def action_step_tab(self, by: int) -> None:
        names = list(TABS)
        tabs = self.query_one(TabbedContent)
        tabs.active = names[(names.index(tabs.active) + by) % len(names)]

    def action_step_condition(self) -> None:
        view = self.view
        if view is not None:
            conditions = self.tab.conditions_in_turn(view)
            if len(conditions) < 2:
                self.hint(f"{view.choices.condition} is the only condition to choose here")
            self._choose(condition=_after(conditions or [view.choices.condition], view.choices.condition))
        else:
            self._choose()

    def action_step_measure(self) -> None:
        if self.choices is None or self._shown is None:
            self._choose()
            return
        taken = self._shown.run.measures
        measure = _after(taken, self.choices.measure)
        self._choose(measure=measure)
        if len(taken) == 1:
            self.hint(f"{taken[0]} is the only measure of this run; run --measures takes more")
        elif "measure" in self.tab.SHOWS:
            self.hint(f"{MEASURES[measure].heading}: {MEASURES[measure].help}")

    def action_step_bins(self) -> None:
        if self.choices is not None:
            self._choose(bins=_after(BINNINGS, self.choices.bins))
            is_share = MEASURES[self.choices.measure].is_share
            is_study = self.choices.bins == BINNINGS[-1] and is_share
            self.hint(
                f"{self.choices.bins} bins " + ("over 0..1, the study's" if is_study else "over the layer's range")
            )
        else:
            self._choose()

    def action_step_reading(self) -> None:
        self._choose(**({"reading": _after(tuple(READINGS), self.choices.reading)} if self.choices else {}))

    def action_step_subset(self) -> None:
        if self.choices is not None:
            self._choose(subset=_after(tuple(SUBSETS), self.choices.subset))
            self.hint(f"{self.choices.subset}: {SUBSETS[self.choices.subset]}")
        else:
            self._choose()

    def action_stop(self) -> None:
        if self._shown is not None:
            self.app.stop_run(self._shown.run.directory, self._shown.run.name, self._shown.progress.status)
        else:
            self._choose()

    def action_resume(self) -> None:
        if self._shown is not None:
            self.app.resume_run(self._shown.run.directory, self._shown.run.name, self._shown.progress.status)
        else:
            self._choose()

    def action_new(self) -> None:
        self.app.new_run()

    def action_filter(self) -> None:
        try:
            self.query_one(TabbedContent).active = "images"
            self.query_one(ImagesTab).open_filter()
        except NoMatches:
            self._choose()

    def action_export(self) -> None:
        if self._shown is not None and self.choices is not None:
            self.app.offer_exports(self._shown.run.directory, self._shown.run.name, self.choices.measure)
        else:
            self._choose()

    def copies(self) -> dict[str, str]:
        """What the tab offers, and the run itself."""
        view = self.view
        if view is None:
            return {}
        run = view.snapshot.run
        return {**self.tab.copies(view), "path of the run": str(run.directory), "id of the run": run.id}


def _after(values: Any, value: Any) -> Any:
    """The value that follows, the first after the last or after one that is not among them."""
    return dict(pairwise([*values, values[0]])).get(value, values[0])
