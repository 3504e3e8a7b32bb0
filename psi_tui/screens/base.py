"""What all five screens share: the frame, and the keys that move, zoom, copy, export and help."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar

from textual import getters
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.screen import Screen
from textual.widget import Widget

from psi_tui.services.services import Services
from psi_tui.widgets.navigation import KeyFooter, NavigationBar
from psi_tui.widgets.plot import Plot

if TYPE_CHECKING:
    from psi_tui.runs.run_list import RunEntry

_MOVES: dict[str, tuple[str, ...]] = {
    "up": ("cursor_up", "scroll_up"),
    "down": ("cursor_down", "scroll_down"),
    "left": ("cursor_left", "scroll_left"),
    "right": ("cursor_right", "scroll_right"),
    "top": ("scroll_top", "scroll_home"),
    "bottom": ("scroll_bottom", "scroll_end"),
}
"""Actions of a focused widget that answer a move; the first that it has."""

_NO_SIDES = "nothing lies to the left or right in this pane; j and k move down and up"


class Pane(Container):
    """A part of a screen that `+` makes as large as the screen."""

    ALLOW_MAXIMIZE = True


class PlotPane(Pane, can_focus=True):
    """A pane with a plot; focused, left and right move a cursor that reads values off, and escape takes it away."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "cursor_left", "value to the left", show=False),
        Binding("right,l", "cursor_right", "read values off", show=False),
        Binding("escape", "leave_cursor", "take the cursor away", show=False),
    ]

    def on_blur(self) -> None:
        """Takes the cursor away: no key moves it any more."""
        self.query_one(Plot).stop = None

    def action_cursor_left(self) -> None:
        self._move(-1)

    def action_cursor_right(self) -> None:
        self._move(1)

    def _move(self, by: int) -> None:
        if not self.query_one(Plot).move_cursor(by) and isinstance(self.screen, PsiScreen):
            self.screen.hint("nothing to read off here yet; + makes a small plot large")

    def action_leave_cursor(self) -> None:
        plot = self.query_one(Plot)
        if plot.stop is not None:
            plot.stop = None
        else:
            raise SkipAction  # The key is meant for what the plot lies in.


class PsiScreen(Screen[None]):
    """One of the five screens.

    Attributes:
        NAME: of its mode.
    """

    app = getters.app(Services)

    NAME: ClassVar[str] = ""
    AUTO_FOCUS = ""  # None would be Textual's: whatever comes first, such as the line of tabs.
    # Textual declares it as an attribute of instances, and reads it from the class.
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]]] = [  # type: ignore[misc]
        (0, "-narrow"),
        (100, "-medium"),
        (140, "-wide"),
    ]

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "move('up')", "up", show=False),
        Binding("j", "move('down')", "down", show=False),
        Binding("h", "move('left')", "left", show=False),
        Binding("l", "move('right')", "right", show=False),
        Binding("g", "move('top')", "first", show=False),
        Binding("G", "move('bottom')", "last", show=False),
        Binding("plus,equals_sign", "zoom", "zoom the pane", show=False, key_display="+"),
        Binding("minus", "zoom_out", "zoom out", show=False, key_display="-"),
        Binding("slash", "filter", "filter", show=False, key_display="/"),
        Binding("y", "copy", "copy", show=False),
        Binding("e", "export", "export", show=False),
        Binding("tab", "step_pane(1)", "next pane", show=False),
        Binding("shift+tab", "step_pane(-1)", "previous pane", show=False),
        Binding("escape", "back", "back", show=False),
    ]

    def compose(self) -> ComposeResult:
        yield NavigationBar(self.NAME)
        yield from self.compose_body()
        yield KeyFooter()

    @property
    def is_ready(self) -> bool:
        """Whether what it was opened for is there; a key that was typed ahead waits for that."""
        return True

    def has_effect(self, action: str) -> bool:
        """Whether an action changes what is in sight now: the line of keys names no other; they say where they act."""
        return True

    def compose_body(self) -> ComposeResult:
        """Everything between the top line and the keys."""
        yield from ()

    def on_mount(self) -> None:
        self.watch(self.app, "entries", self._count_live)

    _focus_before: Widget | None = None

    def enlarge(self, pane: Widget) -> None:
        """Makes a pane large and gives it the keys until it is small again."""
        self._focus_before = self.focused
        self.set_focus(pane)
        self.maximize(pane, container=False)

    def watch_maximized(self, maximized: Widget | None) -> None:
        """Gives the keys back to whatever had them before a pane was made large."""
        if maximized is None and self._focus_before is not None:
            before, self._focus_before = self._focus_before, None
            self.set_focus(before)

    def _count_live(self, entries: "tuple[RunEntry, ...] | None") -> None:
        live = Counter(entry.progress.status for entry in entries or () if entry.progress.is_live)
        told = ", ".join(f"{count} {status}" for status, count in sorted(live.items(), reverse=True))
        self.query_one(NavigationBar).live = told

    def hint(self, sentence: str) -> None:
        self.app.say(sentence)

    def copies(self) -> dict[str, str]:
        """What `y` offers: a title, and the text that would be copied."""
        return {}

    def places(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """What the palette can go to on this screen: words, and what goes there."""
        yield from ()

    def action_move(self, where: str) -> None:
        """Moves in the focused widget, whatever it is."""
        focused = self.focused
        for name in _MOVES[where] if focused is not None else ():
            action = getattr(focused, f"action_{name}", None)
            if action is not None:
                try:
                    action()
                except SkipAction:  # Textual's word for a pane that does not scroll that way.
                    self.hint(_NO_SIDES if where in ("left", "right") else "all of this pane is in sight")
                return
        self.hint("no pane is focused in which to move; tab goes to the next one")

    def action_step_pane(self, by: int) -> None:
        before = self.focused
        if (self.focus_next() if by > 0 else self.focus_previous()) is before:
            self.hint("there is only one pane here")

    def action_zoom(self) -> None:
        pane = pane_of(self.focused)
        if pane is None:
            self.hint("no pane is focused; tab goes to the next one, + makes it large")
        elif not self.maximize(pane, container=False):
            self.hint("this pane is large already; - brings the others back")

    def action_zoom_out(self) -> None:
        if self.maximized is None:
            self.hint("no pane is large; + makes the focused one so")
        else:
            self.minimize()

    def action_filter(self) -> None:
        """Puts the cursor into the screen's filter, where it has one."""
        self.hint("nothing to filter here; layers, images, models and runs have a filter")

    def action_copy(self) -> None:
        choices = self.copies()
        if choices:
            self.app.offer_copies(choices)
        else:
            self.hint("nothing to copy yet; open a run first (1, then enter)")

    def action_copy_text(self) -> None:
        """Copies what is selected with the mouse; ctrl+c alone ends nothing here."""
        selected = self.get_selected_text()
        if selected:
            self.app.copy(selected, "selected text")
        else:
            self.hint("no text is selected; y copies, q quits")

    def action_export(self) -> None:
        self.hint("nothing to export here; mark or open a run first (1, then enter)")

    def action_back(self) -> None:
        """Leaves a large pane or a filter, else goes to the home screen."""
        if self.maximized is not None:
            self.minimize()
        elif self.NAME == "runs":
            self.hint("this is the home screen; q quits, and runs go on")
        else:
            self.app.go("runs")


def pane_of(widget: Widget | None) -> Widget | None:
    """The pane that a widget lies in, or None."""
    for node in widget.ancestors_with_self if widget is not None else ():
        if isinstance(node, Pane):
            return node
    return None
