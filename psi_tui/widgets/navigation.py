"""The top line with the five screens and the number of live runs, and the line of keys at the bottom."""

from collections.abc import Callable, Iterable
from typing import Any

from rich.cells import cell_len
from textual.app import ComposeResult, RenderResult
from textual.binding import Binding
from textual.content import Content
from textual.reactive import reactive
from textual.screen import Screen
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
        self._shown: list[tuple[Binding, bool, str]] = []

    def compose(self) -> ComposeResult:
        self._shown = shown_bindings(self.screen) if self._bindings_ready else []
        keys = [
            key for key in super().compose() if not isinstance(key, FooterKey) or _has_effect(self.screen, key.action)
        ]
        for key in fitting_keys(keys, self.app.size.width):
            # A value in place of the footer's own attribute: whoever is bound to that is held by the footer for ever.
            yield key.data_bind(compact=self.compact)

    def bindings_changed(self, screen: Screen[Any]) -> None:
        # Told with every move of the focus. Most leave the keys alone, and to make them anew costs the most of a key.
        if not self._bindings_ready or shown_bindings(screen) != self._shown:
            super().bindings_changed(screen)

    async def on_resize(self) -> None:
        await self.recompose()


def shown_bindings(screen: Screen[Any]) -> list[tuple[Binding, bool, str]]:
    """What a footer tells of the keys that do something now: each with whether it is enabled, and its tooltip."""
    return [
        (active.binding, active.enabled, active.tooltip)
        for active in screen.active_bindings.values()
        if active.binding.show and _has_effect(screen, active.binding.action)
    ]


def _has_effect(screen: Screen[Any], action: str) -> bool:
    """Whether a screen's key changes what is in sight; a dialog's keys do."""
    asked: Callable[[str], bool] | None = getattr(screen, "has_effect", None)
    return asked is None or asked(action)


def fitting_keys(keys: Iterable[Widget], width: int) -> list[FooterKey]:
    """The first keys that fit into a width, and the one for help.

    Args:
        keys: as Textual's footer would show them.
        width: of the line, in cells.
    """
    fitting = [key for key in keys if isinstance(key, FooterKey)]
    for key in fitting:  # As the footer is. Said later, it has every key's style found three times.
        key.set_reactive(FooterKey.compact, False)
    while sum(map(_width, fitting)) - 1 > width and len(fitting) > 1:  # The blank behind the last may go.
        fitting.remove(next(key for key in reversed(fitting) if key.action != _HELP))
    return fitting


def _width(key: FooterKey) -> int:
    return cell_len(key.key_display) + cell_len(key.description) + 3
