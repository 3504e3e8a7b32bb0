"""The top line with the five screens and the number of live runs, and the line of keys at the bottom."""

from collections.abc import Iterable

from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

SCREENS: dict[str, str] = {
    "runs": "Runs",
    "explore": "Explore",
    "new_run": "New run",
    "results": "Results",
    "compare": "Compare",
}
"""The screens in the order of their keys 1 to 5: names of modes, and titles."""


class NavigationBar(Widget):
    """One line; a click on a screen's name goes there. `live` says which runs live: `1 running, 1 paused`.

    Args:
        current: the screen it stands on.
    """

    live: reactive[str] = reactive("")

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current

    def render(self) -> RenderResult:
        parts: list[Content | tuple[str, str]] = [("psi", "bold $accent"), ("-tui", "bold")]
        for number, (name, title) in enumerate(SCREENS.items(), 1):
            is_current = name == self.current
            parts.append(("  ", ""))
            style = "bold $primary reverse" if is_current else "$foreground"
            parts.append(Content.styled(f" {number} {title} ", style).stylize(f"@click=app.go('{name}')"))
        left = Content.assemble(*parts)
        right = f"{self.live} " if self.live else ""
        return Content.assemble(
            left, " " * max(1, self.size.width - left.cell_length - len(right)), (right, "$success")
        )


_HELP = "app.help"


class KeyFooter(Footer):
    """Textual's footer with as many keys as fit whole; the key that tells all the others is always there."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False)

    def compose(self) -> ComposeResult:
        for key in fitting_keys(super().compose(), self.app.size.width):
            # A value in place of the footer's own attribute: whoever is bound to that is held by the footer for ever.
            yield key.data_bind(compact=self.compact)

    async def on_resize(self) -> None:
        await self.recompose()


def fitting_keys(keys: Iterable[Widget], width: int) -> list[FooterKey]:
    """The first keys that fit into a width, and the one for help.

    Args:
        keys: as Textual's footer would show them.
        width: of the line, in cells.
    """
    fitting = [key for key in keys if isinstance(key, FooterKey)]
    while sum(map(_width, fitting)) - 1 > width and len(fitting) > 1:  # The blank behind the last may go.
        fitting.remove(next(key for key in reversed(fitting) if key.action != _HELP))
    return fitting


def _width(key: FooterKey) -> int:
    return cell_len(key.key_display) + cell_len(key.description) + 3
