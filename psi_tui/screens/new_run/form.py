"""The form for a run: a line for every field of RunConfig, and a cursor that goes over them or into them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.geometry import Region
from textual.message import Message
from textual.suggester import SuggestFromList
from textual.widgets import Input

from psi_core.config import RunConfig
from psi_tui.screens.new_run.canvas import LABEL_WIDTH, FormCanvas, choice_at
from psi_tui.screens.new_run.fields import FormState
from psi_tui.widgets.prompt_line import TextField


class ConfigForm(VerticalScroll, can_focus=True):
    """All fields. Its cursor goes from field to field and letters stay keys; enter goes into a field.

    The fields are drawn, and one Input stands over the one that is typed into: 23 would take a quarter of a second.

    Args:
        id: the widget's id.

    Attributes:
        state: what stands in it.
        current: name of the field under the cursor.
        is_inside: whether the cursor is in a field; moving on then goes into the next one.
    """

    DEFAULT_CSS = """
    ConfigForm { height: 1fr; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    ConfigForm Input { position: absolute; display: none; background: $surface; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        # Before the next key is handed out, which may be a letter of the field: on a slow line many come at once.
        Binding("up", "cursor_up", "previous field", show=False, priority=True),
        Binding("down", "cursor_down", "next field", show=False, priority=True),
        Binding("enter", "edit", "edit, next", priority=True),
        Binding("left", "cursor_left", "previous choice", show=False),
        Binding("right", "cursor_right", "next choice", show=False),
        Binding("space", "cursor_right", "next choice", show=False),
        Binding("home", "scroll_top", "first field", show=False),
        Binding("end", "scroll_bottom", "last field", show=False),
        Binding("d", "reset", "default", show=False),
        Binding("D", "reset_all", "all defaults", show=False),
    ]

    class Changed(Message):
        """A value changed."""

    class Left(Message):
        """The cursor went on after the last field."""

    @dataclass
    class Refused(Message):
        """A key could not act."""

        sentence: str

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.state = FormState()
        self._names = list(self.state.fields)
        self.current = self._names[0]
        self.is_inside = False
        self._typed_into = self.current

    def compose(self) -> ComposeResult:
        yield FormCanvas(self.state)
        field = TextField(compact=True, select_on_focus=False)
        yield field

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)

    @property
    def field(self) -> Input:
        return self.query_one(Input)

    @property
    def canvas(self) -> FormCanvas:
        return self.query_one(FormCanvas)

    # What stands in it.

    @property
    def typed(self) -> dict[str, str]:
        """The texts that are no defaults."""
        return self.state.typed

    @property
    def refusals(self) -> dict[str, str]:
        """Why fields cannot stand, by name."""
        return self.state.refusals

    def config(self) -> RunConfig:
        """The run that is described.

        Raises:
            ConfigError: it cannot stand.
        """
        return self.state.config()

    def fill(self, values: Mapping[str, str]) -> None:
        """Puts texts into fields; the others keep theirs. The cursor goes to the first field."""
        self.leave()
        for name, text in values.items():
            self._set(name, text)
        self._go_over(self._names[0])

    def offer_devices(self, choices: Sequence[tuple[str, str]]) -> None:
        """Offers the devices of this machine.

        Args:
            choices: words and value of each.
        """
        self.state.offer_devices(choices)
        self._draw()

    # Into a field and out of it.

    def edit(self, name: str) -> None:
        self._keep_typed()
        self.is_inside = True
        self.current = name
        if self.state.fields[name].choices:
            self.field.display = False
            self.screen.set_focus(self)
        else:
            self._type_into(name)
        self._draw()

    def leave(self) -> None:
        self._keep_typed()
        self.is_inside = False
        self.field.display = False
        if self.field.has_focus:
            self.screen.set_focus(self)
        self._draw()

    def _type_into(self, name: str) -> None:
        state, field = self.state.fields[name], self.field
        self._typed_into = name
        with self.prevent(Input.Changed):
            field.value = state.text
        field.cursor_position = len(state.text)
        option = state.definition.option
        field.placeholder = option.where_empty
        field.suggester = SuggestFromList(option.suggestions) if option.suggestions else None
        field.display = True
        self.screen.set_focus(field)

    def _keep_typed(self) -> None:
        """Keeps what is typed, where its message is still under way."""
        if self.field.display:
            self.state.set(self._typed_into, self.field.value)

    @on(Input.Changed)
    def _typed(self, message: Input.Changed) -> None:
        message.stop()
        self._set(self._typed_into, self.field.value)

    def _set(self, name: str, text: str) -> None:
        self.state.set(name, text)
        if name == self._typed_into:
            with self.prevent(Input.Changed):
                self.field.value = text
        self._draw()
        self.post_message(self.Changed())

    # The cursor.

    def action_cursor_up(self) -> None:
        self._step(-1)

    def action_cursor_down(self) -> None:
        self._step(1)

    def action_scroll_top(self) -> None:
        self._go_over(self._names[0])

    def action_scroll_bottom(self) -> None:
        self._go_over(self._names[-1])

    def action_cursor_left(self) -> None:
        self._turn(-1)

    def action_cursor_right(self) -> None:
        self._turn(1)

    def action_edit(self) -> None:
        """Goes into the field under the cursor; from inside a field, into the next."""
        if self.is_inside:
            self._step(1)
        elif self.state.fields[self.current].about:
            self._choose_from_list(self.current)
        else:
            self.edit(self.current)

    def action_reset(self) -> None:
        state = self.state.fields[self.current]
        if state.is_changed:
            self._set(self.current, state.default)
        else:
            self.post_message(self.Refused(f"{self.current} has its default already; D resets all fields"))

    def action_reset_all(self) -> None:
        changed = [name for name, state in self.state.fields.items() if state.is_changed]
        for name in changed:
            self._set(name, self.state.fields[name].default)
        if not changed:
            self.post_message(self.Refused("all fields have their defaults already"))

    def _step(self, step: int) -> None:
        if self.screen.focused is self.field:
            self.field.call_later(self._step_now, step)  # After the letters that are on their way to the field.
        else:
            self._step_now(step)

    def _step_now(self, step: int) -> None:
        place = self._names.index(self.current) + step
        if place >= len(self._names):
            self.leave()
            self.post_message(self.Left())
        elif self.is_inside:
            self.edit(self._names[max(0, place)])
        else:
            self._go_over(self._names[max(0, place)])

    def _go_over(self, name: str) -> None:
        self.is_inside = False
        self.current = name
        self._draw()

    def _turn(self, step: int) -> None:
        if self.state.fields[self.current].choices:
            self.state.turn(self.current, step)
            self._set(self.current, self.state.fields[self.current].text)
        else:
            self.post_message(self.Refused(f"enter goes into {self.current}; j and k go to its neighbors"))

    def _choose_from_list(self, name: str) -> None:
        from psi_tui.widgets.dialogs import ChoiceDialog

        values = {words: value for value, words in self.state.fields[name].about.items()}

        def chosen(words: str | None) -> None:
            if words is not None:
                self._set(name, values[words])

        self.app.push_screen(ChoiceDialog(name, list(values)), chosen)

    def on_click(self, event: events.Click) -> None:
        """Goes into a field, or chooses what was clicked at."""
        offset = event.get_content_offset(self.canvas)
        name = None if offset is None else self.canvas.name_at(offset.y)
        if offset is None or name is None:
            return
        self.edit(name)
        state = self.state.fields[name]
        if state.choices and offset.x >= LABEL_WIDTH:
            choice = choice_at(state, offset.x - LABEL_WIDTH, self.canvas.value_width)
            if choice is not None:
                self._set(name, choice)

    def _draw(self) -> None:
        """Draws what changed, and brings the cursor's field into sight once it has the height that its words need."""
        self.canvas.draw(self.current, self.current if self.is_inside else None)
        if self.field.display:
            self.field.styles.offset = (LABEL_WIDTH, self.canvas.place_of(self._typed_into).start)
            self.field.styles.width = self.canvas.value_width
        self.call_after_refresh(self._show_current)

    def _show_current(self) -> None:
        if self.current == self._names[0]:
            self.scroll_home(animate=False)  # Its heading too.
        else:
            place = self.canvas.place_of(self.current)
            self.scroll_to_region(Region(0, place.start, 1, len(place)), animate=False, force=True)
