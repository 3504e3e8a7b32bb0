"""An app that paints everything once more when the size of its terminal has come to rest."""

from textual.app import App
from textual.timer import Timer

_REST_SECONDS = 0.15


class RepaintingApp(App[None]):
    """Textual paints what a new size moves. A terminal made larger and smaller again in one breath is back at the old
    size by then: nothing has moved, but what the terminal cut off in between is gone.
    """

    _rest: Timer | None = None

    def on_resize(self) -> None:
        """Waits for the last of several sizes; the first is painted in full anyway."""
        if self._rest is not None:
            self._rest.stop()
        if self.is_mounted:
            self._rest = self.set_timer(_REST_SECONDS, self._repaint)

    def _repaint(self) -> None:
        self.screen.refresh()
