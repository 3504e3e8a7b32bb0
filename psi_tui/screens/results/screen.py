"""Screen 4: the head of a run, its tabs, and the choices they share.

The screen follows the open run, asks for tables and computes in threads, and hands views to the active tab.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static, TabbedContent, TabPane
from textual.worker import Worker, get_current_worker

from psi_core.errors import PsiError, RunError
from psi_core.measures import MEASURES
from psi_core.presets import STUDY
from psi_core.runs.event_log import log_path
from psi_core.runs.events import Failed
from psi_core.statistics.paired import SUBSETS
from psi_core.tables.summary import headline_accuracies, headline_condition
from psi_tui.runs.open_run import Snapshot
from psi_tui.screens.base import PsiScreen
from psi_tui.screens.results.all_layers import AllLayersTab
from psi_tui.screens.results.classes import ClassesTab
from psi_tui.screens.results.epsilon import EpsilonTab
from psi_tui.screens.results.evidence import EvidenceTab, worst_mark
from psi_tui.screens.results.images.tab import ImagesTab
from psi_tui.screens.results.layers import LayersTab
from psi_tui.screens.results.log import LogTab
from psi_tui.screens.results.map import MapTab
from psi_tui.screens.results.store import RETRY_SECONDS, TableStore
from psi_tui.screens.results.study import StudyTab
from psi_tui.screens.results.tab import ImagesWanted, LayerChosen, LayerWanted, ResultsTab, ResultTabs, Tab, TabResized
from psi_tui.screens.results.view import BINNINGS, READINGS, Choices, Reading, ResultsView, choice_words
from psi_tui.widgets.plot import plot_exports
from psi_tui.widgets.progress_panel import ProgressPanel

BodyT = TypeVar("BodyT", bound=ResultsTab)

TABS: tuple[Tab, ...] = (
    Tab("layers", "Layers", LayersTab),
    Tab("all_layers", "All layers", AllLayersTab),
    Tab("map", "Map", MapTab),
    Tab("classes", "Classes", ClassesTab),
    Tab("epsilon", "Epsilon", EpsilonTab),
    Tab("images", "Images", ImagesTab),
    Tab("evidence", "Evidence", EvidenceTab),
    Tab("study", "Study", StudyTab),
    Tab("log", "Log", LogTab),
)
"""The tabs in order."""


_CHOSEN_BY = {
    "step_layer": "layer",
    "step_condition": "condition",
    "step_measure": "measure",
    "step_bins": "bins",
    "step_subset": "subset",
    "step_reading": "reading",
}
"""Which choice an action of a key changes."""

EVIDENCE = "evidence"
"""Name of a tab, and of the table that it shows."""


class ResultsScreen(PsiScreen):
    """Shows the open run; hands the choices to the active tab.

    Attributes:
        choices: what the user chose to see; None while no run was open.
    """

    NAME = "results"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left_square_bracket", "step_layer(-1)", "previous layer", key_display="[", show=False),
        Binding("right_square_bracket", "step_layer(1)", "layer", key_display="]", tooltip="next layer"),
        Binding("less_than_sign", "step_tab(-1)", "previous tab", key_display="<", show=False),
        Binding("greater_than_sign", "step_tab(1)", "tab", key_display=">", tooltip="next tab"),
        Binding("c", "step_condition", "condition", tooltip="next condition beside benign"),
        Binding("m", "step_measure", "measure", tooltip="next measure, such as the active fraction"),
        Binding("b", "step_bins", "bins", tooltip="how many bins histograms have"),
        Binding("f", "step_subset", "subset", tooltip="which images count: all, correct, fooled, kept"),
        Binding("p", "step_reading", "peak", tooltip="reading of the peak: location, height, accuracy"),
        Binding("x", "stop", "stop the run after its open chunk", show=False),
        Binding("r", "resume", "resume the run", show=False),
        Binding("n", "new", "new run", show=False),
        Binding("t", "label", "rename, tag, note", show=False),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.choices: Choices | None = None
        self._store: TableStore | None = None
        self._shown: Snapshot | None = None
        self._accuracies: tuple[float | None, float | None] = (None, None)
        self._accuracies_stamp: tuple[Any, ...] = ()

    def compose_body(self) -> ComposeResult:
        yield ProgressPanel()
        with ResultTabs(id="tabs", initial=self._remembered_tab):
            for tab in TABS:
                with TabPane(tab.title, id=tab.name):
                    yield tab.body()
        yield Static("No run is open.\n\nPress [b]1[/b], choose one, press [b]enter[/b].", id="results-empty")

    def on_mount(self) -> None:
        super().on_mount()
        self.watch(self.app, "snapshot", self._show_snapshot)

    @property
    def is_ready(self) -> bool:
        """Whether the run that was opened is the one on screen."""
        directory = self.app.open_directory
        return directory is None or (self._shown is not None and self._shown.run.directory == directory)

    def has_effect(self, action: str) -> bool:
        choice = _CHOSEN_BY.get(action.rpartition(".")[2].partition("(")[0])
        return choice is None or choice in self.tab.SHOWS

    @property
    def tabs(self) -> TabbedContent:
        return self.query_one(TabbedContent)

    @property
    def tab(self) -> ResultsTab:
        pane = self.tabs.active_pane
        assert pane is not None, "one tab is always active"
        return pane.query_one(ResultsTab)

    @property
    def _remembered_tab(self) -> str:
        name = self.app.state.results_tab
        return name if any(tab.name == name for tab in TABS) else TABS[0].name

    @property
    def view(self) -> ResultsView | None:
        """What there is to show now."""
        snapshot, choices, store = self._shown, self.choices, self._store
        if snapshot is None or choices is None or store is None:
            return None
        rows = {table: store.rows(table, choices.subset, choices.measure) for table in self.tab.TABLES}
        return ResultsView(snapshot, choices, {name: row for name, row in rows.items() if row}, store.problem)

    def _view_or_hint(self) -> ResultsView | None:
        """What there is to show now; where there is nothing, says why a key cannot act."""
        view = self.view
        if view is None:
            self.hint("no run is open; 1, then enter opens one")
        return view

    # Following the run: its snapshots, its tables, and what the tabs compute.

    def _show_snapshot(self, snapshot: Snapshot | None) -> None:
        self.query_one("#results-empty").display = snapshot is None
        self.query_one(ProgressPanel).display = self.tabs.display = snapshot is not None
        before, self._shown = self._shown, snapshot
        if snapshot is None:
            return
        if self._store is None or self._store.directory != snapshot.run.directory:
            self._begin(snapshot)
            before = None
        elif not snapshot.has_results:  # Rows of an open chunk go with it when its worker dies.
            self._store = TableStore(snapshot.run.directory, self.app.statistics)
        if before is not None and before.is_live and snapshot.progress.status == "failed":
            self._tell_failure(snapshot)
        self.query_one(ProgressPanel).show(snapshot, self._accuracies, headline_condition(snapshot.run))
        # A tab without tables reads the run itself, so that it is drawn anew at every poll.
        if before is None or _redraw_key(before) != _redraw_key(snapshot) or self.tab.TABLES == ():
            self.refresh_tab()
        else:
            self._fetch_due()

    def _tell_failure(self, snapshot: Snapshot) -> None:
        """A dialog for a run that failed while it was open: why, what to do, and where its log lies."""
        failures = [(worker.number, worker.last) for worker in snapshot.workers if isinstance(worker.last, Failed)]
        for number, failed in failures[:1]:
            cause = failed.error or "no reason given"
            advice = "" if "; " in cause else "; r resumes it, tab Log tells more"
            self.app.show_error(RunError(f"{cause}{advice}"), log_path(snapshot.run.directory, number))

    def _begin(self, snapshot: Snapshot) -> None:
        """Opens another run; keeps earlier choices that it has too."""
        run, state = snapshot.run, self.app.state
        condition = state.condition if state.condition in run.conditions[1:] else headline_condition(run)
        layer = state.layer if state.layer in run.layers else run.layers[0]
        bins = state.bins if state.bins in BINNINGS else BINNINGS[0]
        reading: Reading = next((letter for letter in READINGS if letter == state.peak), "L")
        measure = state.measure if state.measure in run.measures else run.measures[0]
        self.choices = Choices(condition, layer, measure=measure, bins=bins, reading=reading)
        self._store = TableStore(run.directory, self.app.statistics)
        self._accuracies, self._accuracies_stamp = (None, None), ()
        for tab in self.query(ResultsTab):
            tab.visible = False  # Until it shows this run.
            tab.forget()
        self.tabs.active = self._remembered_tab

    def refresh_tab(self) -> None:
        """Shows the present view in the active tab, and asks for what it lacks."""
        view = self.view
        if view is None:
            return
        tab = self.tab
        tab.show(view)
        tab.visible = True
        if self.focused is None and tab.FOCUS and tab.query_one(tab.FOCUS).display:
            self.set_focus(tab.query_one(tab.FOCUS))  # It had no rows yet when its tab was chosen.
        self._show_badge(view)
        self._compute(tab, view)
        self._fetch_due()

    def _show_badge(self, view: ResultsView) -> None:
        """Says beside the name of the tab how the worst of the checks stands: every tab has it in sight."""
        assert self._store is not None, "a view has its store"
        mark = worst_mark(self._store.rows(EVIDENCE, view.choices.subset, view.choices.measure) or ())
        label = f"Evidence {mark}".rstrip()
        tab = self.tabs.get_tab(EVIDENCE)
        if str(tab.label) != label:
            tab.label = label

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
        return self._accuracies if stamp == self._accuracies_stamp else headline_accuracies(view.snapshot.run)

    def _show_computed(
        self, tab: ResultsTab, view: ResultsView, computed: object, accuracies: tuple[float | None, float | None]
    ) -> None:
        is_stale = self._store is None or view.snapshot.run.directory != self._store.directory
        if is_stale or view.choices != self.choices or not tab.is_attached:
            return  # Newer ones are on their way.
        tab.show_computed(view, computed)
        self._accuracies_stamp = (view.snapshot.run.directory, view.snapshot.stamp)
        if accuracies != self._accuracies and self._shown is not None:
            self._accuracies = accuracies
            self.query_one(ProgressPanel).show(self._shown, accuracies, headline_condition(view.snapshot.run))

    def _fetch_due(self) -> None:
        store, snapshot, choices = self._store, self._shown, self.choices
        if store is None or snapshot is None or choices is None:
            return
        wanted = dict.fromkeys([*self.tab.TABLES, EVIDENCE])
        due = [table for table in wanted if store.is_due(table, choices.subset, choices.measure, snapshot.stamp)]
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

    # Choosing: layer, condition, measure, bins, reading, subset, and the tab.

    def _choose(self, **changes: Any) -> None:
        """Changes what every tab shows; hints which tabs show it if the active one does not."""
        assert self.choices is not None, "a view came before"
        chosen = self.choices = replace(self.choices, **changes)
        self.app.remember(
            condition=chosen.condition,
            layer=chosen.layer,
            measure=chosen.measure,
            bins=chosen.bins,
            peak=chosen.reading,
        )
        for name in changes.keys() - self.tab.SHOWS:
            tabs = ", ".join(tab.title for tab in TABS if name in tab.body.SHOWS)
            self.hint(f"{choice_words(name, changes[name])}, shown in {tabs}")
        self.refresh_tab()

    @on(TabResized)
    def _show_again(self) -> None:
        view = self.view
        if view is not None and self.tab.visible:
            self.tab.show(view)

    @on(LayerChosen)
    def _layer_chosen(self, message: LayerChosen) -> None:
        if self.choices is not None and message.layer != self.choices.layer:
            self._choose(layer=message.layer)

    @on(LayerWanted)
    def _layer_wanted(self, message: LayerWanted) -> None:
        self._go_to(LayersTab)
        self._layer_chosen(message)

    @on(ImagesWanted)
    def _images_wanted(self, message: ImagesWanted) -> None:
        self._go_to(ImagesTab).filter_by(message.filter)

    @on(TabbedContent.TabActivated)
    def _tab_chosen(self, message: TabbedContent.TabActivated) -> None:
        self.minimize()
        self.refresh_bindings()
        self.app.remember(results_tab=message.pane.id)
        self.refresh_tab()
        if self.focused is None or self.tab not in self.focused.ancestors:
            self.set_focus(self.tab.query_one(self.tab.FOCUS) if self.tab.FOCUS else None)

    def _go_to(self, body: type[BodyT]) -> BodyT:
        """Makes the tab of a class the active one."""
        self.tabs.active = next(tab.name for tab in TABS if tab.body is body)
        self.refresh_tab()  # At once: out of sight it takes no key.
        return self.query_one(body)

    def action_step_layer(self, by: int) -> None:
        if view := self._view_or_hint():
            layers = view.snapshot.run.layers
            self._choose(layer=layers[(layers.index(view.choices.layer) + by) % len(layers)])

    def action_step_tab(self, by: int) -> None:
        names = [tab.name for tab in TABS]
        self.tabs.active = names[(names.index(self.tabs.active) + by) % len(names)]

    def action_step_condition(self) -> None:
        if view := self._view_or_hint():
            conditions = self.tab.conditions_in_turn(view)
            if len(conditions) < 2:
                self.hint(f"{view.choices.condition} is the only condition to choose here")
            self._choose(condition=_after(conditions or [view.choices.condition], view.choices.condition))

    def action_step_measure(self) -> None:
        if view := self._view_or_hint():
            taken = view.snapshot.run.measures
            measure = _after(taken, view.choices.measure)
            self._choose(measure=measure)
            if len(taken) == 1:
                self.hint(f"{taken[0]} is the only measure of this run; run --measures takes more")
            elif "measure" in self.tab.SHOWS:
                self.hint(f"{MEASURES[measure].heading}: {MEASURES[measure].help}")

    def action_step_bins(self) -> None:
        if view := self._view_or_hint():
            bins = _after(BINNINGS, view.choices.bins)
            self._choose(bins=bins)
            is_study = bins == BINNINGS[-1] and MEASURES[view.choices.measure].is_share
            if "bins" in self.tab.SHOWS:
                self.hint(f"{bins} bins " + (f"over 0..1, those of {STUDY}" if is_study else "over the layer's range"))

    def action_step_reading(self) -> None:
        if view := self._view_or_hint():
            self._choose(reading=_after(tuple(READINGS), view.choices.reading))

    def action_step_subset(self) -> None:
        if view := self._view_or_hint():
            subset = _after(tuple(SUBSETS), view.choices.subset)
            self._choose(subset=subset)
            if "subset" in self.tab.SHOWS:
                self.hint(f"{subset}: {SUBSETS[subset]}")

    def places(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Tabs, and what can be chosen of the open run."""
        view = self.view
        if view is None:
            return
        for tab in TABS:
            yield f"tab {tab.title}", partial(setattr, self.tabs, "active", tab.name)
        run = view.snapshot.run
        yield "verify this run: digests, configuration, weights", partial(self.app.verify_run, run.directory, run.name)
        for choice, values in (("condition", run.conditions[1:]), ("layer", run.layers), ("measure", run.measures)):
            for value in values:
                yield f"{choice} {value}", partial(self._choose, **{choice: value})

    # Acting on the run.

    def action_stop(self) -> None:
        if view := self._view_or_hint():
            run, progress = view.snapshot.run, view.snapshot.progress
            self.app.stop_run(run.directory, run.name, progress.status)

    def action_resume(self) -> None:
        if view := self._view_or_hint():
            run = view.snapshot.run
            self.app.resume_run(run.directory, run.name)

    def action_new(self) -> None:
        self.app.new_run()

    def action_label(self) -> None:
        from psi_tui.services.labels import label_run

        if view := self._view_or_hint():
            label_run(self.app, view.snapshot.run.directory)

    def action_filter(self) -> None:
        if self._view_or_hint():
            tab = self.tab if isinstance(self.tab, LayersTab) else self._go_to(ImagesTab)
            tab.open_filter()

    def action_export(self) -> None:
        if view := self._view_or_hint():
            run = view.snapshot.run
            self.app.offer_exports(run.directory, run.name, view.choices.measure, plot_exports(self.tab))

    def copies(self) -> dict[str, str]:
        """What the tab offers, and the run itself."""
        view = self.view
        if view is None:
            return {}
        run = view.snapshot.run
        return {**self.tab.copies(view), "path of the run": str(run.directory), "id of the run": run.id}


def _redraw_key(snapshot: Snapshot) -> tuple[Any, ...]:
    """What makes a tab redraw; the progress head updates by itself."""
    return snapshot.stamp, snapshot.progress.status, snapshot.progress.phase


def _after(values: Any, value: Any) -> Any:
    """The next value, cyclic; the first if `value` is not among them."""
    return dict(pairwise([*values, values[0]])).get(value, values[0])
