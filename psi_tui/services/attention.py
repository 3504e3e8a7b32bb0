"""What the user is at: nothing that comes by itself takes the screen, and with it the keys, from under their hands."""

from typing import Any

from textual import events
from textual.app import App
from textual.screen import Screen
from textual.widgets import Input


class AttentiveApp(App[None]):
    """An app that knows whether its user still waits where they asked for something that takes time.

    A screen that opens by itself would take keys that were meant for the one before: letters become commands, and `q`
    ends the app.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._acts = 0
        self._waits: tuple[Screen[Any], int] | None = None

    @property
    def is_typing(self) -> bool:
        """Whether a text is being typed: letters are no commands then."""
        return isinstance(self.focused, Input)

    @property
    def has_keys_waiting(self) -> bool:
        """Whether something was typed that is not answered yet."""
        return False

    def wait_here(self) -> None:
        """The user has just asked for something, on this screen, that is to open by itself."""
        self._waits = (self.screen, self._acts)

    @property
    def is_waiting(self) -> bool:
        """Whether the user has done nothing since: typed no key and clicked nowhere, and is on the same screen."""
        return self._waits == (self.screen, self._acts) and not self.has_keys_waiting

    async def on_event(self, event: events.Event) -> None:
        """Counts what the user does, when its turn comes."""
        if isinstance(event, events.Key | events.Paste | events.MouseDown) and not event.is_forwarded:
            self._acts += 1
        await super().on_event(event)
