"""An app whose terminal shows all that it should, and is sent no more than what it does not show yet."""

import os
import shutil
from typing import Any, ClassVar

from rich.console import RenderableType
from textual._compositor import CompositorUpdate
from textual._styles_cache import StylesCache
from textual.binding import Binding, BindingType
from textual.events import Resize
from textual.geometry import Size
from textual.screen import Screen
from textual.timer import Timer

from psi_tui.app.keys import OrderlyApp
from psi_tui.app.wire import Wire

_REST_SECONDS = 0.15

# Textual's memo of two colors belongs to the class. It lacks the decorator that says so: every widget became part of a
# key, and the painted lines of the last thousand widgets that are gone stayed in memory.
_memo: Any = vars(StylesCache)["get_inner_outer"]
if not isinstance(_memo, classmethod | staticmethod):
    StylesCache.get_inner_outer = classmethod(_memo)  # type: ignore[assignment]


class RepaintingApp(OrderlyApp):
    """An app that is whole after any series of sizes.

    Textual paints what a new size moves. A terminal made larger and smaller again in one breath is back at the old size
    by then: nothing has moved, but what the terminal cut off in between is gone. Of two signals that come at once the
    first may be the last to be told, with the size before. And a widget that asks for a layout twice before one is made
    keeps the height of the first time.

    Only cells that change are sent; after a new size, which is also told when the terminal is ours again, all of them.

    Attributes:
        wire: what the terminal shows now.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+z", "suspend_process", "to the shell; fg comes back", show=False, priority=True)
    ]

    _rest: Timer | None = None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wire = Wire()

    def on_resize(self) -> None:
        """Waits for the last of several sizes."""
        self.wire.forget()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._paint_again)

    def action_suspend_process(self) -> None:
        """Stops where a shell can bring the app back; anywhere else it would stay stopped for good."""
        if self.is_headless or not _is_job_of_a_shell():
            self.notify("no shell here would bring the app back; q quits, and runs go on", markup=False)
        else:
            super().action_suspend_process()

    def _paint_again(self) -> None:
        if not self.screen_stack:
            return  # The app is closing.
        self.wire.forget()
        size = self.size if self.is_headless else Size(*shutil.get_terminal_size())
        if size == self.size:
            self.screen.query("*").refresh(layout=True)
            self.screen.refresh()
        else:
            self.post_message(Resize(size, size))

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        sent = self.wire.shortened(renderable) if isinstance(renderable, CompositorUpdate) else renderable
        super()._display(screen, sent)


def _is_job_of_a_shell() -> bool:
    """Whether the process above put us into a group of our own, in its session: it then hears that we have stopped."""
    try:
        return os.getpgrp() == os.getpid() and os.getsid(os.getppid()) == os.getsid(0) != os.getpid()
    except OSError:
        return False  # It is gone.
