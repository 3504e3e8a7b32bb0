"""The command palette's provider: every action of the present screen, every place to go to, set-ups and themes."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.binding import Binding
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.dom import DOMNode
from textual.screen import Screen

from psi_tui.plots.themes import THEMES
from psi_tui.screens.base import PsiScreen
from psi_tui.services.services import Services

if TYPE_CHECKING:
    from psi_core.presets import Preset

_MOVES = ("move(", "cursor_", "page_", "scroll_", "step_pane(")
"""How the names of actions begin that only move."""


class Palette(CommandPalette):
    """Textual's palette, whose list turns no page before it is laid out: it would look for lines that are not there."""

    def _action_command_list(self, action: str) -> None:
        if self.query_one(CommandList).size:
            super()._action_command_list(action)


class ActionProvider(Provider):
    """Every action that a key has now, with that key; then places of the screen, runs, presets and themes.

    Last come the keys that only move: nobody looks for these here.
    """

    async def discover(self) -> Hits:
        """All of them."""
        for text, act in self._actions():
            yield DiscoveryHit(text, act)

    async def search(self, query: str) -> Hits:
        """Those whose words fit."""
        matcher = self.matcher(query)
        for text, act in self._actions():
            score = matcher.match(text)
            if score > 0:
                yield Hit(score, matcher.highlight(text), act)

    def _actions(self) -> Iterator[tuple[str, Callable[[], object]]]:
        keys: dict[str, tuple[Callable[[], object], bool]] = {}
        told: set[tuple[str, DOMNode]] = set()
        for node, binding in bindings_of(self.screen):
            if (binding.action, node) in told:
                continue  # Another key of the same action.
            told.add((binding.action, node))
            text = f"{words_of(binding)}  ({self.app.get_key_display(binding)})"
            is_move = binding.action.rpartition(".")[2].startswith(_MOVES)
            keys.setdefault(text, (partial(self.app.run_action, binding.action, node), is_move))
        yield from ((text, act) for text, (act, is_move) in keys.items() if not is_move)
        if isinstance(self.screen, PsiScreen):
            yield from self.screen.places()
        from psi_core.presets import PRESETS

        app = cast(Services, self.app)
        for entry in app.entries or ():
            yield f"open run {entry.name}: {entry.model}, {entry.attack}", partial(app.open_run, entry.directory)
        for name, preset in PRESETS.items():
            yield f"new run: preset {name}: {preset.description}", partial(self._begin, preset)
        for theme in THEMES:
            yield f"theme {theme.name.removeprefix('psi-')}", partial(setattr, self.app, "theme", theme.name)
        yield from ((text, act) for text, (act, is_move) in keys.items() if is_move)

    def _begin(self, preset: "Preset") -> None:
        """Opens the form filled with a preset."""
        from psi_core.options import option_text

        app = cast(Services, self.app)
        app.new_run(**{name: option_text(value) for name, value in preset.values.items()})


def words_of(binding: Binding) -> str:
    """What a key does, at more length than the last line has room for; Textual's own begin in capitals."""
    words = binding.tooltip or binding.description
    return words.lower() if words.istitle() else words[:1].lower() + words[1:]


def bindings_of(screen: Screen[Any]) -> Iterator[tuple[DOMNode, Binding]]:
    """Bindings with a description of the focused widget and all that it lies in, up to the app.

    Of one node those come first that the footer shows. A key that an inner node answers is not repeated.
    """
    taken: set[str] = set()
    for node in (screen.focused or screen).ancestors_with_self:
        bound = [binding for bindings in node._bindings.key_to_bindings.values() for binding in bindings]
        own = {binding.key: binding for binding in sorted(bound, key=lambda binding: not binding.show)}
        for key, binding in own.items():
            if binding.description and key not in taken:
                yield node, binding
        taken |= set(own)
