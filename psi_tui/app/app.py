"""The app: five screens over the run directories. It starts runs and computes nothing."""

import traceback
from collections.abc import Callable
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.filter import LineFilter
from textual.screen import Screen
from textual.worker import WorkerFailed

from psi_core.errors import PsiError
from psi_core.files import is_folder, state_directory
from psi_tui.app.driver import own_driver
from psi_tui.app.palette import ActionProvider, Palette
from psi_tui.app.repainting import RepaintingApp
from psi_tui.app.wire import AsciiFilter
from psi_tui.graphics.terminal import Graphics, Wish
from psi_tui.plots.themes import THEMES, Colors, themes_for
from psi_tui.services.services import Services
from psi_tui.services.state import ScreenName, write_whole

if TYPE_CHECKING:
    from psi_tui.runs.watcher import ReadingFailed, RunAdvanced, RunsListed, RunsWatcher, WatchingFailed

SCREEN_CLASSES = {
    "runs": ("psi_tui.screens.runs", "RunsScreen"),
    "explore": ("psi_tui.screens.explore.screen", "ExploreScreen"),
    "new_run": ("psi_tui.screens.new_run.screen", "NewRunScreen"),
    "results": ("psi_tui.screens.results.screen", "ResultsScreen"),
    "compare": ("psi_tui.screens.compare", "CompareScreen"),
}
"""Module and class of each screen; it is imported when it is first shown."""


def screen_class(name: str) -> type[Screen[Any]]:
    """The class of a screen by the name of its mode."""
    module, class_name = SCREEN_CLASSES[name]
    found: type[Screen[Any]] = getattr(import_module(module), class_name)
    return found


class PsiApp(RepaintingApp, Services):
    """The app.

    Args:
        runs_dir: the folder of run directories.
        open_directory: a run to show at once.
        ascii_only: whether only ASCII may reach the terminal.
        clock: tells the time; tests freeze it.
        pictures: how they are shown; `auto`: as well as the terminal can.
    """

    TITLE = "psi-tui"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    COMMANDS: ClassVar[set[Any]] = {ActionProvider}
    DEFAULT_MODE = "runs"
    MODES: ClassVar[dict[str, Any]] = {name: lambda name=name: screen_class(name)() for name in SCREEN_CLASSES}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "go('runs')", "runs", show=False),
        Binding("2", "go('explore')", "explore models", show=False),
        Binding("3", "go('new_run')", "new run", show=False),
        Binding("4", "go('results')", "results", show=False),
        Binding("5", "go('compare')", "compare runs", show=False),
        Binding("ctrl+p", "command_palette", "all actions", show=False, priority=True),
        Binding("colon", "command_palette", "all actions", show=False, key_display=":"),
        Binding("question_mark", "help", "help", show=False, key_display="?"),
        Binding("q", "quit", "quit", show=False),
    ]

    def __init__(
        self,
        runs_dir: Path,
        *,
        open_directory: Path | None = None,
        ascii_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
        pictures: Wish = "auto",
    ) -> None:
        super().__init__(runs_dir, clock, Graphics(pictures))
        self.ascii_only = ascii_only
        self.animation_level = "none"
        self._first_run = open_directory
        self._ascii_filter = AsciiFilter()
        self._runs_watcher: RunsWatcher | None = None
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.state.theme if self.state.theme in self.available_themes else THEMES[0].name

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's filters, and ours where the terminal knows only ASCII."""
        return [*super().get_line_filters(), *([self._ascii_filter] if self.ascii_only else [])]

    def get_key_display(self, binding: Binding) -> str:
        """A key as the footer and the help name it: in letters, which every terminal has."""
        shown = super().get_key_display(binding)
        return "enter" if shown == "⏎" else shown

    # The terminal.

    def get_driver_class(self) -> type[Driver]:
        """Textual's driver, with ears for what the terminal says of pictures."""
        return own_driver(super().get_driver_class())

    def _display(self, screen: Screen[Any], renderable: RenderableType | None) -> None:
        if self.graphics.has_painted:
            self.wire.forget()
        super()._display(screen, renderable)
        self.graphics.paint_over(getattr(renderable, "spans", None))

    def export_screenshot(self, *, title: str | None = None, simplify: bool = False) -> str:
        """The screen as SVG; pictures in it are half blocks, for a file holds no pixels of the terminal's."""
        with self.graphics.paused():
            return super().export_screenshot(title=title, simplify=simplify)

    # Life.

    def on_mount(self) -> None:
        """Begins to read; the first screen is painted before that."""
        self.call_after_refresh(self._begin)

    def use_colors(self, colors: Colors) -> None:
        """Puts our themes into colors that the terminal has."""
        for theme in themes_for(colors):
            self.register_theme(theme)
        if self.is_running:
            self.refresh_css(animate=False)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """What our styles name and other themes lack."""
        return {**super().get_theme_variable_defaults(), "separator": self.current_theme.panel or "ansi_bright_black"}

    def _begin(self) -> None:
        from psi_tui.runs.watcher import RunsWatcher

        self._runs_watcher = RunsWatcher(self.runs_dir, self.post_message)
        self._runs_watcher.start()
        if self._first_run is not None:
            self.open_run(self._first_run)
        elif self.state.screen == "results" and self.state.run and is_folder(self.state.run):
            self.open_run(self.state.run)
        elif self.state.screen == "compare" and all(map(is_folder, self.state.compared)):
            self.compare([*self.state.compared])
        elif self.state.screen in ("explore", "new_run"):
            self.go(self.state.screen)

    def on_unmount(self) -> None:
        """Lets go of threads and children; runs go on."""
        if self._runs_watcher is not None:
            self._runs_watcher.stop()
        self.close_run()
        self.statistics.close()
        self.engine.close()
        self.state.save()

    def on_runs_listed(self, message: "RunsListed") -> None:
        """Hands the list to the screens."""
        self.runs_trouble = message.trouble
        self.entries = message.entries

    def on_run_advanced(self, message: "RunAdvanced") -> None:
        """Hands the open run to the results screen."""
        if message.snapshot.run.directory == self.open_directory:
            self.snapshot = message.snapshot

    def on_reading_failed(self, message: "ReadingFailed") -> None:
        """Lets go of a run that cannot be read; only whoever looks at it is interrupted, and goes back to the list."""
        from psi_core.runs.finding import looks_like_run
        from psi_core.runs.run import MOVED

        if message.directory != self.open_directory:
            return
        self.close_run()
        is_gone = not looks_like_run(message.directory)
        sentence = f"{message.directory}: {MOVED}" if is_gone else message.sentence
        if self.current_mode != "results":
            self.say(sentence)
            return
        if len(self.screen_stack) == 1 and not self.is_typing:
            self.go("runs")
        self.show_error(PsiError(sentence))

    def on_watching_failed(self, message: "WatchingFailed") -> None:
        """Leaves by the app's door."""
        raise message.error

    def _handle_exception(self, error: Exception) -> None:
        super()._handle_exception(error.error if isinstance(error, WorkerFailed) else error)  # type: ignore[arg-type]

    def _fatal_error(self) -> None:
        """The app's door: what nobody foresaw goes to a file in full, and one sentence to the terminal."""
        self.bell()
        where = state_directory() / "error.log"
        try:
            write_whole(where, "".join(traceback.format_exception(self._exception)).encode())
            told = f"the traceback is in {where}"
        except OSError:
            told = f"the traceback could not be written to {where}"
        self.panic(Text(f"psi-tui: the app met an error that nobody foresaw; {told}; runs go on without it"))

    def watch_theme(self, theme: str) -> None:
        """Keeps the theme for the next start."""
        if self.is_running:
            self.remember(theme=theme)

    def action_go(self, name: ScreenName) -> None:
        """Goes to one of the five screens."""
        self.go(name)

    def action_command_palette(self) -> None:
        if not isinstance(self.screen, Palette):
            self.push_screen(Palette(id="--command-palette"))

    def action_help(self) -> None:
        """Shows what every key does here."""
        from psi_tui.app.help import HelpScreen

        self.push_screen(HelpScreen.of(self.screen))
