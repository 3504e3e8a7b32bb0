"""The app: five screens over the run directories, and the services they share. It starts runs and computes nothing."""

import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import work
from textual.binding import Binding, BindingType
from textual.filter import LineFilter
from textual.reactive import var
from textual.screen import Screen
from textual.worker import WorkerFailed

from psi_core.errors import PsiError
from psi_tui import actions
from psi_tui.ascii_filter import AsciiFilter
from psi_tui.assistant import Assistant
from psi_tui.clipboard import copy
from psi_tui.figures import Palette
from psi_tui.messages import ReadingFailed, RunAdvanced, RunsListed, WatchingFailed
from psi_tui.palette import ActionProvider
from psi_tui.repainting import RepaintingApp
from psi_tui.run_list import RunEntry
from psi_tui.run_reader import Snapshot
from psi_tui.state import ScreenName, load_state
from psi_tui.state_folder import state_directory, write_whole
from psi_tui.themes import THEMES, palette_of
from psi_tui.watcher import RunsWatcher, RunWatcher


def _screen(name: str) -> Callable[[], Screen[Any]]:
    """Imports a screen when it is first shown."""

    def make() -> Screen[Any]:
        from psi_tui.screens.catalog import screen_class

        return screen_class(name)()

    return make


class PsiApp(RepaintingApp):
    """The app.

    Args:
        runs_dir: the folder of run directories.
        open_directory: a run to show at once.
        ascii_only: whether only ASCII may reach the terminal.
        clock: tells the time; tests freeze it.

    Attributes:
        entries: the list of runs; None until it is read for the first time.
        snapshot: the open run, or None.
        compared: directories of the runs on the compare screen.
    """

    TITLE = "psi-tui"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    COMMANDS: ClassVar[set[Any]] = {ActionProvider}
    DEFAULT_MODE = "runs"
    MODES: ClassVar[dict[str, Any]] = {
        name: _screen(name) for name in ("runs", "explore", "new_run", "results", "compare")
    }
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

    entries: var[tuple[RunEntry, ...] | None] = var(None)
    snapshot: var[Snapshot | None] = var(None)
    compared: var[tuple[Path, ...]] = var(())

    def __init__(
        self,
        runs_dir: Path,
        *,
        open_directory: Path | None = None,
        ascii_only: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
    ) -> None:
        super().__init__()
        self.runs_dir = runs_dir
        self.ascii_only = ascii_only
        self.clock = clock
        self.state = load_state()
        self.animation_level = "none"
        self.statistics = Assistant()
        self.engine = Assistant()
        self._first_run = open_directory
        self._ascii_filter = AsciiFilter()
        self._runs_watcher = RunsWatcher(runs_dir, self.post_message)
        self._run_watcher: RunWatcher | None = None
        self._has_told_state = False
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = self.state.theme if self.state.theme in self.available_themes else THEMES[0].name

    # Services of the screens.

    @property
    def palette(self) -> Palette:
        """Colors of plots under the present theme."""
        return palette_of(self.current_theme)

    @property
    def open_directory(self) -> Path | None:
        """The run on the results screen, or None."""
        return self._run_watcher.directory if self._run_watcher is not None else None

    def get_line_filters(self) -> list[LineFilter]:
        """Textual's filters, and ours where the terminal knows only ASCII."""
        return [*super().get_line_filters(), *([self._ascii_filter] if self.ascii_only else [])]

    def get_key_display(self, binding: Binding) -> str:
        """A key as the footer and the help name it: in letters, which every terminal has."""
        shown = super().get_key_display(binding)
        return "enter" if shown == "⏎" else shown

    def say(self, sentence: str) -> None:
        """Shows a sentence for a few seconds, as it is, in the place of the one before."""
        self.clear_notifications()
        self.notify(sentence, markup=False, timeout=4)

    def go(self, name: ScreenName) -> None:
        """Goes to one of the five screens."""
        if name == "results" and self.open_directory is None:
            self.say("no run is open; choose one and press enter")
            name = "runs"
        self.switch_mode(name)
        self.state.screen = name
        self.remember()

    def open_run(self, directory: Path) -> None:
        """Shows a run on the results screen."""
        if directory != self.open_directory:
            if self._run_watcher is not None:
                self._run_watcher.stop()
            self.snapshot = None
            self._run_watcher = RunWatcher(directory, self.post_message)
            self._run_watcher.start()
            self.state.run = directory
        self.go("results")

    def compare(self, directories: list[Path]) -> None:
        """Shows runs side by side."""
        self.compared = self.state.compared = tuple(directories)
        self.go("compare")

    def new_run(self, **prefilled: str) -> None:
        """Goes to the form, with these fields filled in."""
        self.go("new_run")
        if prefilled:
            self.call_after_refresh(actions.prefill, self, prefilled)

    @work(thread=True, group="copy")
    def copy(self, text: str, what: str) -> None:
        """Copies a text and says where it went; in a thread, for tmux may take its time."""

        def write_to_terminal(copied: str) -> None:
            self.call_from_thread(self.copy_to_clipboard, copied)

        outcome = copy(text, write_to_terminal, state_directory())
        self.call_from_thread(self.say, f"{what}: {outcome.sentence}")

    def remember(self) -> None:
        """Writes the state; a home that cannot be written to is told once."""
        sentence = self.state.save()
        if sentence and not self._has_told_state:
            self._has_told_state = True
            self.say(sentence)

    def show_error(self, error: Exception, log: Path | None = None) -> None:
        """Shows what went wrong, what to do next, and where the log lies."""
        from psi_tui.screens.dialogs import ErrorDialog

        self.push_screen(ErrorDialog(str(error), log))

    def offer_copies(self, choices: dict[str, str]) -> None:
        """Lets the user choose what to copy."""
        actions.offer_copies(self, choices)

    def offer_exports(self, directory: Path, name: str, measure: str = "psi") -> None:
        """Lets the user choose what to export, and where to."""
        actions.offer_exports(self, directory, name, measure)

    def stop_run(self, directory: Path, name: str, status: str) -> None:
        """Asks a run's workers to leave after their chunks."""
        actions.stop_run(self, directory, name, status)

    def delete_run(self, directory: Path, name: str, status: str) -> None:
        """Deletes a run after a question."""
        actions.delete_run(self, directory, name, status)

    @work(thread=True, group="start")
    def resume_run(self, directory: Path, name: str, status: str) -> None:
        """Makes what a run still misses."""
        self.guarded(lambda: actions.resume_run(self, directory, name, status))

    @work(thread=True, group="start")
    def start_run(self, question: dict[str, Any]) -> None:
        """Starts a run in a process of its own and opens it."""
        self.guarded(lambda: actions.start_run(self, question))

    def guarded(self, act: Callable[[], object]) -> None:
        """The door of the app's worker threads: what went wrong becomes a dialog."""
        try:
            act()
        except (PsiError, OSError) as error:
            self.call_from_thread(self.show_error, error)

    # Life.

    def on_mount(self) -> None:
        """Begins to read; the first screen is painted before that."""
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        self._runs_watcher.start()
        if self._first_run is not None:
            self.open_run(self._first_run)
        elif self.state.screen == "results" and self.state.run and self.state.run.is_dir():
            self.open_run(self.state.run)
        elif self.state.screen == "compare" and all(path.is_dir() for path in self.state.compared):
            self.compare([*self.state.compared])
        elif self.state.screen in ("explore", "new_run"):
            self.go(self.state.screen)

    def on_unmount(self) -> None:
        """Lets go of threads and assistants; runs go on."""
        self._runs_watcher.stop()
        if self._run_watcher is not None:
            self._run_watcher.stop()
        self.statistics.close()
        self.engine.close()
        self.state.save()

    def on_runs_listed(self, message: RunsListed) -> None:
        """Hands the list to the screens."""
        self.entries = message.entries

    def on_run_advanced(self, message: RunAdvanced) -> None:
        """Hands the open run to the results screen."""
        if message.snapshot.run.directory == self.open_directory:
            self.snapshot = message.snapshot

    def on_reading_failed(self, message: ReadingFailed) -> None:
        """Lets go of a run that cannot be read."""
        if message.directory == self.open_directory:
            self._run_watcher = None
            self.go("runs")
            self.show_error(PsiError(message.sentence))

    def on_watching_failed(self, message: WatchingFailed) -> None:
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
        self.panic(Text(f"psi-tui: the app failed over something unforeseen; {told}; runs go on without it"))

    def watch_theme(self, theme: str) -> None:
        """Keeps the theme for the next start."""
        if self.is_running:
            self.state.theme = theme
            self.remember()

    def action_go(self, name: ScreenName) -> None:
        """Goes to one of the five screens."""
        self.go(name)

    def action_help(self) -> None:
        """Shows what every key does here."""
        from psi_tui.screens.help import HelpScreen

        self.push_screen(HelpScreen.of(self.screen))
