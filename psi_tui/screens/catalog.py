"""Which class each of the five screens is; imported when it is first shown."""

from importlib import import_module
from typing import Any

from textual.screen import Screen

_CLASSES = {
    "runs": ("psi_tui.screens.runs", "RunsScreen"),
    "explore": ("psi_tui.screens.explore", "ExploreScreen"),
    "new_run": ("psi_tui.screens.new_run", "NewRunScreen"),
    "results": ("psi_tui.screens.results.screen", "ResultsScreen"),
    "compare": ("psi_tui.screens.compare", "CompareScreen"),
}


def screen_class(name: str) -> type[Screen[Any]]:
    """The class of a screen by the name of its mode."""
    module, class_name = _CLASSES[name]
    found: type[Screen[Any]] = getattr(import_module(module), class_name)
    return found
