"""One line of text to type into."""

from textual import events
from textual.widgets import Input


class TextField(Input):
    """An Input without a blinking cursor, whose editing keys act in the order in which they came.

    Textual lets such a key bubble up to the app before it acts; on a slow line, where many keys come in one packet, the
    letters behind it would be typed first and then be deleted.
    """

    def on_mount(self) -> None:
        """Keeps the line quiet while nothing is typed."""
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        own = [binding for binding in self._bindings.key_to_bindings.get(event.key, ()) if not binding.priority]
        if not own or (event.is_printable and self.check_consume_key(event.key, event.character)):
            await super()._on_key(event)
            return
        if await self.app.run_action(own[0].action, self):
            event.stop()
            event.prevent_default()
