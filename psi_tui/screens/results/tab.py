"""What every tab of the results screen is, and what it tells the screen."""

from dataclasses import dataclass
from typing import ClassVar

from textual import getters, on
from textual.containers import Container
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from psi_tui.screens.results.view import ResultsView
from psi_tui.services.services import Services
from psi_tui.widgets.fitted_table import FittedTable


class LayerChosen(Message):
    """Another layer came under the cursor.

    Attributes:
        layer: its name.
    """

    def __init__(self, layer: str) -> None:
        super().__init__()
        self.layer = layer


class LayerWanted(LayerChosen):
    """A layer was chosen whose histogram the user wants to see."""


class ImagesWanted(Message):
    """Some images are to be shown in their tab.

    Attributes:
        filter: words that choose them.
    """

    def __init__(self, filter: str) -> None:  # noqa: A002
        super().__init__()
        self.filter = filter


class TabResized(Message):
    """A tab has another size, or one at all: how much it can tell depends on that."""


class ResultsTab(Container):
    """One tab: it shows a view at once as far as that is cheap, and the rest when a thread has computed it."""

    app = getters.app(Services)

    TABLES: ClassVar[tuple[str, ...]] = ()
    """Tables whose rows it needs."""

    SHOWS: ClassVar[frozenset[str]] = frozenset()
    """Which of the choices change what it shows."""

    FOCUS: ClassVar[str] = ""
    """Which of its widgets takes the keys first; empty where none does."""

    def on_resize(self) -> None:
        self.post_message(TabResized())

    def show(self, view: ResultsView) -> None:
        """Shows what needs no computing."""

    def compute(self, view: ResultsView) -> object:
        """What needs computing, in a thread; touches no widget."""
        return None

    def show_computed(self, view: ResultsView, computed: object) -> None:
        """Shows what `compute` gave."""

    def forget(self) -> None:
        """Lets go of what was computed of another run."""

    def conditions_in_turn(self, view: ResultsView) -> list[str]:
        """Conditions that the key for the next one goes through."""
        return view.snapshot.run.conditions[1:]

    def copies(self, view: ResultsView) -> dict[str, str]:
        """What `y` offers here: a title, and the text."""
        return {}


class LayerRowsTab(ResultsTab):
    """A tab with a table of layers: the row under the cursor is the layer that all tabs show."""

    shown_layer: str = ""
    """The layer that it shows; the table says so too when it is put there, and that is no choice."""

    @on(FittedTable.Highlighted)
    def _layer_chosen(self, message: FittedTable.Highlighted[str]) -> None:
        message.stop()
        if message.key is not None and message.key != self.shown_layer:
            self.post_message(LayerChosen(message.key))


@dataclass(frozen=True, slots=True)
class Tab:
    """One tab of the results screen.

    Attributes:
        name: by which it is remembered from one start to the next.
        title: above it.
        body: what fills it.
    """

    name: str
    title: str
    body: type[ResultsTab]


class ResultTabs(TabbedContent):
    """Tabs that are changed by whoever chooses one.

    Textual's follow the focus too. They hear of it late: a tab that was chosen meanwhile would be left again.
    """

    def _on_tab_pane_focused(self, event: TabPane.Focused) -> None:
        event.stop()
        event.prevent_default()  # Else Textual's own goes there after this one.
