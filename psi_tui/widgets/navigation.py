"""The top line: the product's name, the five screens with their keys, and how many runs are live."""

from textual.app import RenderResult
from textual.content import Content
from textual.reactive import reactive
from textual.widget import Widget

SCREENS: dict[str, str] = {
    "runs": "Runs",
    "explore": "Explore",
    "new_run": "New run",
    "results": "Results",
    "compare": "Compare",
}
"""The screens in the order of their keys 1 to 5: names of modes, and titles."""


class NavigationBar(Widget):
    """One line; a click on a screen's name goes there.

    Args:
        current: the screen it stands on.
    """

    live: reactive[int] = reactive(0)

    def __init__(self, current: str) -> None:
        super().__init__()
        self.current = current

    def render(self) -> RenderResult:
        """The line as wide as the screen."""
        parts: list[Content | tuple[str, str]] = [("psi", "bold $accent"), ("-tui", "bold")]
        for number, (name, title) in enumerate(SCREENS.items(), 1):
            is_current = name == self.current
            parts.append(("  ", ""))
            style = "bold $primary reverse" if is_current else "$foreground"
            parts.append(Content.styled(f" {number} {title} ", style).stylize(f"@click=app.go('{name}')"))
        left = Content.assemble(*parts)
        right = f"{self.live} running " if self.live else ""
        return Content.assemble(
            left, " " * max(1, self.size.width - left.cell_length - len(right)), (right, "$success")
        )
