"""The fields of the form as styled lines; only lines that changed are drawn again."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from psi_tui.screens.new_run.fields import GROUPS, FieldState, FormState

LABEL_WIDTH = 13
"""Columns before a value."""

CURSOR, CHANGED, REFUSED, CHOSEN, OTHER = "▸", "•", "✗", "●", "○"

PARTS = ("heading", "label", "current", "cursor", "changed", "value", "empty", "chosen", "other", "words", "refused")
"""Names of the styles that the lines need."""

_GAP = 2


@dataclass(frozen=True, slots=True)
class FormLook:
    """How the form is drawn.

    Attributes:
        width: width of a line.
        value_width: width of a value.
        is_airy: whether an empty line stands above each group.
        styles: styles by the names of `PARTS`.
    """

    width: int
    value_width: int
    is_airy: bool
    styles: Mapping[str, Style]


@dataclass(frozen=True, slots=True)
class FormLines:
    """The drawn form.

    Attributes:
        lines: from top to bottom.
        places: numbers of the lines of every field.
    """

    lines: list[list[Segment]]
    places: dict[str, range]


def form_lines(state: FormState, current: str, edited: str | None, look: FormLook) -> FormLines:
    """Draws the form.

    Args:
        state: what stands in it.
        current: name of the field under the cursor.
        edited: name of the field that is gone into: its words are shown in full, as those of refused fields are.
        look: how to draw.
    """
    lines: list[list[Segment]] = []
    places: dict[str, range] = {}
    for heading, names in GROUPS.items():
        if look.is_airy:
            lines.append([])
        lines.append([Segment(f"  {heading}", look.styles["heading"])])
        for name in names:
            own = _field_lines(state.fields[name], name == current, name == edited, look)
            places[name] = range(len(lines), len(lines) + len(own))
            lines += own
    return FormLines(lines, places)


def choice_at(state: FieldState, column: int, width: int) -> str | None:
    """The choice that is drawn at a column of a value, or None."""
    if not _fits(state, width):
        return None
    end = 0
    for choice in state.choices:
        end += len(choice) + len(CHOSEN) + 1 + _GAP
        if column < end:
            return choice
    return None


def _field_lines(state: FieldState, is_current: bool, is_edited: bool, look: FormLook) -> list[list[Segment]]:
    styles = look.styles
    label_style = styles["current"] if is_current else styles["label"]
    label = [
        Segment(CURSOR if is_current else " ", styles["cursor"]),
        Segment(CHANGED if state.is_changed else " ", styles["changed"]),
        Segment(state.definition.label.ljust(LABEL_WIDTH - 2), label_style),
    ]
    value = _choice_segments(state, look, is_edited) if state.choices else [_text_segment(state, look)]
    is_refused = state.refusal is not None
    words_style = styles["refused"] if is_refused else label_style if is_current else styles["words"]
    room = look.width - LABEL_WIDTH - look.value_width - _GAP
    text = f"{REFUSED} {state.words}" if is_refused else state.words
    if is_edited and state.choices:
        text += "; left and right choose"
    first, *rest = _wrapped(text, room) if is_edited or is_refused else [_cut(text, room)]
    plain = words_style + Style(bold=False)
    indent = " " * (look.width - room)
    return [
        [*label, *value, Segment(" " * _GAP), Segment(first, plain)],
        *([Segment(indent), Segment(line, plain)] for line in rest),
    ]


def _text_segment(state: FieldState, look: FormLook) -> Segment:
    if not state.text and state.definition.option.where_empty:
        return Segment(set_cell_size(state.definition.option.where_empty, look.value_width), look.styles["empty"])
    return Segment(set_cell_size(_cut(state.text, look.value_width), look.value_width), look.styles["value"])


def _choice_segments(state: FieldState, look: FormLook, is_edited: bool) -> list[Segment]:
    """All choices where they fit, else the chosen one between arrows; on the ground of a text where gone into."""
    ground = Style(bgcolor=look.styles["value"].bgcolor) if is_edited else Style()
    chosen, other = look.styles["chosen"] + ground, look.styles["other"] + ground
    if _fits(state, look.value_width):
        segments = [
            Segment(
                f"{CHOSEN if choice == state.text else OTHER} {choice}  ", chosen if choice == state.text else other
            )
            for choice in state.choices
        ]
    else:
        place = f"{state.choices.index(state.text) + 1} of {len(state.choices)}"
        segments = [Segment("◂ ", other), Segment(state.text, chosen), Segment(f" ▸  {place}", other)]
    return list(Segment.adjust_line_length(segments, look.value_width, ground))


def _fits(state: FieldState, width: int) -> bool:
    needed = sum(len(choice) + len(CHOSEN) + 1 for choice in state.choices) + _GAP * (len(state.choices) - 1)
    return needed <= width


def _cut(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{set_cell_size(text, max(0, width - 1))}…"


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(1, width)) or [""]


_WIDE, _VALUE_WIDTHS = 100, (24, 36)
"""From so many columns on, values have the second width."""

_AIRY_HEIGHT = 40
"""From so many lines of the screen on, an empty one stands between groups."""


class FormCanvas(Widget):
    """Draws a form's state.

    Args:
        state: what stands in the form.
    """

    DEFAULT_CSS = """
    FormCanvas { height: auto; width: 1fr; }
    FormCanvas > .form--heading { color: $foreground 65%; text-style: bold; }
    FormCanvas > .form--label { color: $foreground 85%; }
    FormCanvas > .form--current { color: $foreground; text-style: bold; }
    FormCanvas > .form--cursor { color: $primary; }
    FormCanvas > .form--changed { color: $accent; }
    FormCanvas > .form--value { background: $surface; color: $foreground; }
    FormCanvas > .form--empty { background: $surface; color: $foreground 45%; }
    FormCanvas > .form--chosen { text-style: bold; }
    FormCanvas > .form--other { color: $foreground 65%; }
    FormCanvas > .form--words { color: $foreground 65%; }
    FormCanvas > .form--refused { color: $error; }
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"form--{part}" for part in PARTS}

    def __init__(self, state: FormState) -> None:
        super().__init__()
        self._state = state
        self._current = next(iter(state.fields))
        self._edited: str | None = None
        self._drawn = FormLines([], {})

    @property
    def value_width(self) -> int:
        """Columns that a value takes."""
        return _VALUE_WIDTHS[self.app.size.width >= _WIDE]

    def draw(self, current: str, edited: str | None) -> None:
        """Draws again what changed.

        Args:
            current: name of the field under the cursor.
            edited: name of the field that is gone into, or None.
        """
        self._current, self._edited = current, edited
        before, self._drawn = self._drawn.lines, self._lines(self.size.width)
        lines = self._drawn.lines
        changed = [place for place, (old, new) in enumerate(zip(before, lines, strict=False)) if old != new]
        if len(lines) != len(before):
            self.refresh(layout=True)
        elif changed:
            self.refresh(*(Region(0, place, self.size.width, 1) for place in changed))

    def place_of(self, name: str) -> range:
        """Numbers of a field's lines."""
        return self._drawn.places[name]

    def name_at(self, line: int) -> str | None:
        """The field that a line belongs to, or None."""
        return next((name for name, place in self._drawn.places.items() if line in place), None)

    def on_resize(self, _event: events.Resize) -> None:
        self.draw(self._current, self._edited)

    def notify_style_update(self) -> None:
        """Draws in the colors of another theme, once all around has them too."""
        super().notify_style_update()
        if self._drawn.lines:
            self.call_after_refresh(lambda: self.draw(self._current, self._edited))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines(width).lines)

    def render_line(self, y: int) -> Strip:
        """One line."""
        lines = self._drawn.lines
        strip = Strip(lines[y] if y < len(lines) else []).apply_style(self.rich_style)
        return strip.adjust_cell_length(self.size.width, self.rich_style)

    def _lines(self, width: int) -> FormLines:
        styles = {part: self.get_component_rich_style(f"form--{part}") for part in PARTS}
        look = FormLook(width, self.value_width, self.app.size.height >= _AIRY_HEIGHT, styles)
        return form_lines(self._state, self._current, self._edited, look)
