"""Tab Images: every image of the run, filtered and sorted, and any one of them as the network saw it."""

from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from psi_core.errors import ConfigError
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.screens.results.images.index import EXAMPLES, EXAMPLES_ALONE, ImageIndex
from psi_tui.screens.results.images.table import ImageTable
from psi_tui.screens.results.tab import ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.widgets.prompt_line import TextField

_QUICK_FILTERS = ("", "fooled", "kept", "wrong")
"""What `f` cycles through here."""

_QUICK_FILTERS_ALONE = ("", "correct", "wrong")
"""Where nothing was done to the images."""


@dataclass(frozen=True, slots=True)
class _Read:
    """An index, and what it was made from."""

    index: ImageIndex
    made_from: tuple[object, ...]


class ImagesTab(ResultsTab):
    """A filter line and the table."""

    SHOWS = frozenset({"condition", "layer"})
    FOCUS = "#image-table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "step_filter", "quick filter"),
        Binding("escape", "clear_filter", "clear the filter", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield TextField(id="image-filter", compact=True, select_on_focus=False)
        yield Static(id="image-problem", markup=False)
        with Pane(id="image-pane"):
            yield ImageTable(id="image-table")
            yield Static(id="image-waiting", markup=False, classes="empty")

    def on_mount(self) -> None:
        self._read: _Read | None = None
        self._view: ResultsView | None = None
        field = self.query_one(Input)
        state = self.app.state
        field.value = state.image_filter
        self.table.sort_column, self.table.descending = state.image_sort, state.image_descending
        self.query_one("#image-problem").display = False

    @property
    def table(self) -> ImageTable:
        return self.query_one(ImageTable)

    def show(self, view: ResultsView) -> None:
        self._view = view
        examples = EXAMPLES_ALONE if view.condition.is_benign else EXAMPLES
        field = self.query_one(Input)
        field.placeholder = _hint(view.both_names, examples, field.content_size.width)
        waiting = self.query_one("#image-waiting", Static)
        waiting.display = not view.snapshot.has_results
        self.table.display = view.snapshot.has_results
        waiting.update(view.waiting)

    def compute(self, view: ResultsView) -> object:
        """Reads every image of the chosen condition, unless that is done."""
        snapshot, choices = view.snapshot, view.choices
        if not snapshot.has_results:
            return None
        made_from = (snapshot.run.directory, snapshot.stamp, choices.condition)
        if self._read is not None and self._read.made_from == made_from:
            return _Read(self._read.index.with_layer(choices.layer), made_from)
        return _Read(ImageIndex.of(snapshot.run, choices.condition, choices.layer), made_from)

    def show_computed(self, view: ResultsView, computed: object) -> None:
        if isinstance(computed, _Read):
            self._read = computed
            self._apply()

    def forget(self) -> None:
        self._read = None
        self.table.show(None)

    def copies(self, view: ResultsView) -> dict[str, str]:
        return {"command that prints every image": f"psi-tui show {view.snapshot.run.id} --table images --json"}

    def filter_by(self, text: str) -> None:
        self.query_one(Input).value = text

    def open_filter(self) -> None:
        self.screen.set_focus(self.query_one(Input))

    def action_step_filter(self) -> None:
        field = self.query_one(Input)
        is_alone = self._read is not None and self._read.index.is_alone
        filters = _QUICK_FILTERS_ALONE if is_alone else _QUICK_FILTERS
        now = field.value if field.value in filters else ""
        field.value = filters[(filters.index(now) + 1) % len(filters)]

    def action_clear_filter(self) -> None:
        """Clears the filter; where there is none, leaves the field, then the screen."""
        field = self.query_one(Input)
        if field.value:
            field.value = ""
        elif not field.has_focus and isinstance(self.screen, PsiScreen):
            self.screen.action_back()
            return
        self.screen.set_focus(self.table)

    def _apply(self) -> None:
        """Shows the images that fit the filter; one that means nothing leaves the table as it is and says why."""
        if self._read is None:
            return
        problem = self.query_one("#image-problem", Static)
        if self.table.index is not self._read.index:
            self.table.show(self._read.index)
        try:
            self.table.filter_by(self.query_one(Input).value)
        except ConfigError as error:
            problem.update(str(error))
            problem.display = True
        else:
            problem.display = False

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        self.app.remember(image_filter=message.value)
        self._apply()

    @on(Input.Submitted)
    def _done(self) -> None:
        self.screen.set_focus(self.table)

    @on(ImageTable.Sorted)
    def _sorted(self, message: ImageTable.Sorted) -> None:
        self.app.remember(image_sort=message.column, image_descending=message.descending)

    @on(ImageTable.Selected)
    def _open(self, message: ImageTable.Selected[int]) -> None:
        from psi_tui.screens.results.images.picture import PictureDialog

        table = self.table
        if self._view is not None and table.index is not None:
            run, condition = self._view.snapshot.run, self._view.choices.condition
            view = table.index.filtered(table.filter_text).sorted_by(table.sort_column, table.descending)
            images = view.index.image[view.places].tolist()
            self.app.push_screen(PictureDialog(run, message.key, condition, images))


def _hint(compared: str, examples: str, width: int) -> str:
    """What is compared, and as many whole examples of a filter as there is room for; no width is known yet: all."""
    told = f"{compared}   / filters: {examples}"
    while width and len(told) + len(", …") > width and ", " in examples:
        examples = examples.rpartition(", ")[0]
        told = f"{compared}   / filters: {examples}, …"
    return told
