"""One line for typing, out of sight until it is asked for, and the text field in it."""

from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input, Static


class TextField(Input):
    """An Input without a blinking cursor, whose editing keys act in the order in which they came.

    Textual lets such a key bubble up to the app before it acts; on a slow line, where many keys come in one packet, the
    letters behind it would be typed first and then be deleted.
    """

    def on_mount(self) -> None:
        self.cursor_blink = False

    async def _on_key(self, event: events.Key) -> None:
        own = [binding for binding in self._bindings.key_to_bindings.get(event.key, ()) if not binding.priority]
        if not own or (event.is_printable and self.check_consume_key(event.key, event.character)):
            await super()._on_key(event)
            return
        if await self.app.run_action(own[0].action, self):
            event.stop()
            event.prevent_default()


class PromptLine(Horizontal):
    """A label, what is typed, and a note at the end.

    On a slow line many keys come in one packet, so whatever moves the focus does so before the next key is handed out,
    and whatever reads or clears the text first lets the keys through that are on their way to it.

    Args:
        label: before the typed text.
        placeholder: in the place of a text.
        leave_to: selects the widget that has the focus afterwards.
        id: of the widget.
    """

    DEFAULT_CSS = """
    PromptLine { height: 1; display: none; background: $surface; }
    PromptLine.-open { display: block; }
    PromptLine Static { width: auto; padding: 0 1; color: $foreground 65%; }
    PromptLine Input { width: 1fr; background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "keep", show=False, priority=True)]

    @dataclass
    class Changed(Message):
        """The text changed."""

        line: "PromptLine"
        text: str

        @property
        def control(self) -> "PromptLine":
            return self.line

    class Submitted(Changed):
        """Enter was pressed."""

    def __init__(self, label: str, placeholder: str, *, leave_to: str, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._leave_to = leave_to
        self._label = label
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        yield Static(self._label, markup=False)
        field = TextField(placeholder=self._placeholder, compact=True, select_on_focus=False)
        yield field
        yield Static(markup=False, classes="note")

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    @property
    def text(self) -> str:
        return self.field.value

    @property
    def is_open(self) -> bool:
        return self.has_class("-open")

    def show(self, text: str) -> None:
        """Shows it with a text in it."""
        self.field.value = text
        self.add_class("-open")

    def open(self) -> None:
        self.add_class("-open")
        self.screen.set_focus(self.field)

    def close(self) -> None:
        """Hides it and clears its text."""
        self.remove_class("-open")
        self._leave()
        self.field.call_later(self._clear)

    def note(self, sentence: str) -> None:
        self.query_one(".note", Static).update(sentence)

    def action_submit(self) -> None:
        self._leave()
        self.field.call_later(self._submit)

    def _leave(self) -> None:
        self.screen.set_focus(self.screen.query_one(self._leave_to))

    def _submit(self) -> None:
        self.post_message(self.Submitted(self, self.text))

    def _clear(self) -> None:
        self.field.value = ""

    @on(Input.Changed)
    def _changed(self, message: Input.Changed) -> None:
        message.stop()
        self.post_message(self.Changed(self, message.value))
