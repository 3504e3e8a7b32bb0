"""The fields of the form, drawn line by line; only lines that changed are drawn again."""

from typing import ClassVar

from textual import events
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from psi_tui.form_state import FormState
from psi_tui.widgets.form_lines import PARTS, FormLines, FormLook, form_lines

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
        """Sets the words anew."""
        self.draw(self._current, self._edited)

    def notify_style_update(self) -> None:
        """Draws in the colors of another theme, once all around has them too."""
        super().notify_style_update()
        if self._drawn.lines:
            self.call_after_refresh(lambda: self.draw(self._current, self._edited))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the fields need."""
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
