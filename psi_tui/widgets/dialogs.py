"""Dialogs over a screen: a choice, a question, an export, an error. Each is one modal that esc leaves."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static

from psi_core.files import current_folder, typed_path
from psi_core.plain_text import plain_text
from psi_core.tables.columns import PAGE_ROWS
from psi_tui.text.formatting import format_count
from psi_tui.widgets.prompt_line import TextField

ResultT = TypeVar("ResultT")

FORMAT_WORDS = {
    "csv": "CSV      every table, full precision",
    "json": "JSON     every table, full precision",
    "md": f"Markdown key columns, rounded, tables up to {format_count(PAGE_ROWS)} rows",
    "tex": f"LaTeX    booktabs, key columns, rounded, tables up to {format_count(PAGE_ROWS)} rows",
    "svg": "SVG      this screen as a picture",
}


@dataclass(frozen=True, slots=True)
class OwnExport:
    """Something that only the present view can export: a plot alone, the pictures of an image.

    Attributes:
        words: what it is, in the list of choices.
        stem: of its file's name.
        suffix: of its file, with the dot.
        content: gives what the file holds.
    """

    words: str
    stem: str
    suffix: str
    content: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class ExportChoice:
    """What to export.

    Attributes:
        format: one of the table formats, or svg for a picture of the screen.
        folder: to write into.
        own: what the present view alone can export, in the place of a format; None otherwise.
    """

    format: str
    folder: Path
    own: OwnExport | None = None


class Modal(ModalScreen[ResultT]):
    """A screen over another one. Leaving it twice, as two clicks in one moment would, leaves it once."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark", "app.help", "help", show=False, key_display="?")]

    def dismiss(self, result: ResultT | None = None) -> AwaitComplete:
        """Gives the result; nothing where it is left already."""
        return super().dismiss(result) if self.is_current else AwaitComplete()


class Question(Modal[ResultT]):
    """A modal that takes no key from before it could be read: that was typed for something else."""

    _readable_from = math.inf

    def painted(self) -> None:
        """Called whenever something was painted while it is in front."""
        if self._readable_from == math.inf and any(dialog.size for dialog in self.query(".dialog")):
            self._readable_from = Message().time

    def could_be_read_at(self, time: float) -> bool:
        """Whether it was painted by then; `time` is that of an event."""
        return time >= self._readable_from


_LIST_KEYS: tuple[Binding, ...] = (
    Binding("j", "move('down')", "down", show=False),
    Binding("k", "move('up')", "up", show=False),
)


class ListQuestion(Question[ResultT]):
    """A question with a list of answers, in which j and k move as everywhere."""

    def action_move(self, where: str) -> None:
        choices = self.query_one(OptionList)
        (choices.action_cursor_down if where == "down" else choices.action_cursor_up)()


class ChoiceDialog(ListQuestion[str | None]):
    """Lets the user choose one line; gives it, or None.

    Args:
        title: of the dialog.
        choices: the lines.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "leave"),
        *_LIST_KEYS,
    ]

    def __init__(self, title: str, choices: list[str]) -> None:
        super().__init__()
        self._title = title
        self._choices = choices

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = "enter chooses, esc leaves"
            yield OptionList(*self._choices, markup=False, compact=True)

    @on(OptionList.OptionSelected)
    def _chosen(self, message: OptionList.OptionSelected) -> None:
        self.dismiss(self._choices[message.option_index])


class ConfirmDialog(Question[bool]):
    """Asks a question; gives True only for an explicit yes.

    Args:
        question: what to ask.
        yes: the word for doing it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
        Binding("left,h", "app.focus_previous", show=False),
        Binding("right,l", "app.focus_next", show=False),
    ]

    def __init__(self, question: str, yes: str) -> None:
        super().__init__()
        self._question = question
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = "Are you sure?"
            dialog.border_subtitle = f"y {self._yes}, n or esc leaves"
            yield Static(plain_text(self._question), markup=False)
            with Horizontal(classes="buttons"):
                yield Button("keep", id="no", compact=True)
                yield Button(self._yes, id="yes", variant="error", compact=True)

    @on(Button.Pressed)
    def _pressed(self, message: Button.Pressed) -> None:
        self.dismiss(message.button.id == "yes")

    def action_answer(self, is_yes: bool) -> None:
        self.dismiss(is_yes)


class ErrorDialog(Question[None]):
    """Says what went wrong, what to do next, and where the log lies.

    Args:
        sentence: cause and next step, parted by a semicolon as all our errors are; or several lines.
        log: of the worker, or None.
        copy: copies a text and says so under a title.
        needs_escape: whether escape alone leaves it: it comes over a text that is being typed.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "leave"),
        Binding("enter,q", "leave", "leave"),
        Binding("y", "copy", "copy the message"),
    ]

    def __init__(
        self, sentence: str, log: Path | None, copy: Callable[[str, str], object], *, needs_escape: bool = False
    ) -> None:
        super().__init__()
        self._needs_escape = needs_escape
        self._copy = copy
        self.sentence = sentence
        self.log_file = log

    def compose(self) -> ComposeResult:
        is_one = "\n" not in self.sentence
        cause, _, next_step = self.sentence.partition("; ") if is_one else (self.sentence, "", "")
        with Vertical(classes="dialog error") as dialog:
            dialog.border_title = "This did not work"
            dialog.border_subtitle = "esc leaves, y copies"
            yield Static(plain_text(cause), markup=False, classes="cause")
            if next_step:
                yield Static(plain_text(f"Next: {next_step}"), markup=False)
            if self.log_file is not None:
                yield Static(plain_text(f"Log: {self.log_file}"), markup=False)

    def action_leave(self) -> None:
        if not self._needs_escape:
            self.dismiss()

    def action_copy(self) -> None:
        text = self.sentence if self.log_file is None else f"{self.sentence}\n{self.log_file}"
        self._copy(text, "message")


class FieldsDialog(Question[dict[str, str] | None]):
    """Lets the user fill in some lines; gives their texts by name, or None. What cannot stand is told at once.

    Args:
        title: of the dialog.
        fields: name and present text of each line.
        placeholders: by name, what stands in an empty line.
        complaint: what is wrong with texts, in a sentence; empty where they can stand.
        words: below the lines.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "leave")]

    def __init__(
        self,
        title: str,
        fields: Mapping[str, str],
        placeholders: Mapping[str, str],
        complaint: Callable[[dict[str, str]], str],
        words: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._fields = fields
        self._placeholders = placeholders
        self._complaint = complaint
        self._words = words

    def compose(self) -> ComposeResult:
        width = max(map(len, self._fields)) + 1
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = self._title
            dialog.border_subtitle = f"enter keeps, {'tab to the next line, ' * (len(self._fields) > 1)}esc leaves"
            for name, text in self._fields.items():
                with Horizontal(classes="labeled"):
                    yield Static(name.ljust(width), markup=False, classes="label")
                    yield TextField(
                        text, placeholder=self._placeholders[name], compact=True, name=name, select_on_focus=False
                    )
            yield Static(self._words, markup=False, id="fields-words")

    def on_mount(self) -> None:
        self.set_focus(self.query(Input).first())

    @property
    def texts(self) -> dict[str, str]:
        """What stands in the lines, by their names."""
        return {str(field.name): field.value for field in self.query(Input)}

    @on(Input.Changed)
    def _typed(self) -> None:
        self.query_one("#fields-words", Static).update(self._complaint(self.texts) or self._words)

    @on(Input.Submitted)
    def _submitted(self) -> None:
        if not self._complaint(self.texts):
            self.dismiss(self.texts)


class ExportDialog(ListQuestion[ExportChoice | None]):
    """Lets the user choose a format and a folder.

    Args:
        name: of the run.
        folder: proposed.
        own: what the present view alone can export, offered below the formats.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss", "leave"), *_LIST_KEYS]

    def __init__(self, name: str, folder: Path, own: Sequence[OwnExport] = ()) -> None:
        super().__init__()
        self._run_name = name
        self._own = own
        self._folder = folder

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as dialog:
            dialog.border_title = f"Export {self._run_name}"
            dialog.border_subtitle = "enter exports, tab to the folder, esc leaves"
            field = TextField(str(self._folder), compact=True, id="folder", select_on_focus=False)
            with Horizontal(classes="labeled"):
                yield Static("to ", classes="label")
                yield field
            words = [*FORMAT_WORDS.values(), *(each.words for each in self._own)]
            yield OptionList(*words, markup=False, compact=True)

    def on_mount(self) -> None:
        self.set_focus(self.query_one(OptionList))

    @on(Input.Submitted)
    def _folder_typed(self) -> None:
        self.set_focus(self.query_one(OptionList))

    @on(OptionList.OptionSelected)
    def _chosen(self, message: OptionList.OptionSelected) -> None:
        folder = current_folder() / typed_path(self.query_one(Input).value.strip() or ".")
        formats, place = list(FORMAT_WORDS), message.option_index
        if place < len(formats):
            self.dismiss(ExportChoice(formats[place], folder))
        else:
            own = self._own[place - len(formats)]
            self.dismiss(ExportChoice(own.suffix, folder, own))
