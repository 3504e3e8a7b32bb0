"""An app that looks at its terminal once more when a new size has come to rest."""

import shutil

from textual.app import App
from textual.events import Resize
from textual.geometry import Size
from textual.timer import Timer

_REST_SECONDS = 0.15


class RepaintingApp(App[None]):
    """An app that is whole after any series of sizes.

    Textual paints what a new size moves. A terminal made larger and smaller again in one breath is back at the old size
    by then: nothing has moved, but what the terminal cut off in between is gone. Of two signals that come at once the
    first may be the last to be told, with the size before. And a widget that asks for a layout twice before one is made
    keeps the height of the first time.
    """

    _rest: Timer | None = None

    def on_resize(self) -> None:
        """Waits for the last of several sizes."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._look_again)

    def _look_again(self) -> None:
        size = self.size if self.is_headless else Size(*shutil.get_terminal_size())
        if size == self.size:
            self.screen.query("*").refresh(layout=True)
            self.screen.refresh()
        else:
            self.post_message(Resize(size, size))
