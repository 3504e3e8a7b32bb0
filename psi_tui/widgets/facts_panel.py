"""Facts as a title, names with values in as many columns as the width gives, and sentences below."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from psi_tui.model_facts import Facts

_COLUMN_WIDTH = 38
_NAME_WIDTH = 15


class FactsPanel(VerticalScroll):
    """Shows facts; scrolls where they do not fit.

    Args:
        id: of the widget.
    """

    DEFAULT_CSS = """
    FactsPanel {
        height: 1fr;
        padding: 0 1;
        background: $background;
        scrollbar-size-vertical: 1;
    }
    FactsPanel Static { height: auto; }
    FactsPanel .title { text-style: bold; }
    FactsPanel .sentences { color: $foreground 75%; }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self.facts = Facts("")

    def compose(self) -> ComposeResult:
        """The three parts."""
        yield Static(markup=False, classes="title")
        yield Static(markup=False, classes="pairs")
        yield Static(markup=False, classes="sentences")

    def show(self, facts: Facts) -> None:
        """Shows other facts, where they are others."""
        if facts != self.facts:
            self.facts = facts
            self._draw()

    def on_resize(self) -> None:
        """Sets the facts into columns anew."""
        self._draw()

    def text(self) -> str:
        """The facts as plain text."""
        pairs = (f"{name}\t{value}" for name, value in self.facts.pairs)
        return "\n".join((self.facts.title, *pairs, *self.facts.sentences))

    def _draw(self) -> None:
        title, pairs, sentences = self.query(Static)
        title.update(self.facts.title)
        pairs.update(self._pairs())
        pairs.display = bool(self.facts.pairs)
        narrow = self.size.width < 2 * _COLUMN_WIDTH
        sentences.update(("\n\n" if narrow else "\n").join(self.facts.sentences))
        self.set_class(narrow, "-tall")

    def _pairs(self) -> Content:
        """Down the first column, then down the next."""
        columns = max(1, self.scrollable_content_region.width // _COLUMN_WIDTH)
        height = -(-len(self.facts.pairs) // columns)
        lines = []
        for place in range(height):
            parts: list[Content | tuple[str, str]] = []
            for name, value in self.facts.pairs[place::height]:
                cell = Content.assemble((name.ljust(_NAME_WIDTH), "$foreground 65%"), value)
                is_last = (name, value) == self.facts.pairs[place::height][-1]
                parts.append(cell if is_last else cell.pad_right(max(1, _COLUMN_WIDTH - cell.cell_length)))
            lines.append(Content.assemble(*parts))
        return Content("\n").join(lines)
