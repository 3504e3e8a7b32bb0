"""What screens may ask of the app: to say, copy, open, start, stop, resume and export."""

import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import work
from textual.message import Message
from textual.reactive import var
from textual.timer import Timer
from textual.worker import Worker

from psi_core.errors import ConfigError, PsiError, RunError, attempted, incomplete
from psi_core.files import current_folder, state_directory
from psi_core.measures import MEASURES
from psi_core.plain_text import counted, plain_text
from psi_core.runs.events import Event, TableBegun, Warned
from psi_tui.engine.client import Client, anonymous_file, start
from psi_tui.graphics.terminal import Graphics
from psi_tui.plots.figures import Palette
from psi_tui.plots.themes import palette_of
from psi_tui.services.attention import AttentiveApp
from psi_tui.services.clipboard import copy
from psi_tui.services.state import ScreenName, load_state, write_whole
from psi_tui.text.runs import folders_of

if TYPE_CHECKING:
    from psi_core.runs.status import Status
    from psi_tui.runs.open_run import Snapshot
    from psi_tui.runs.run_list import RunEntry
    from psi_tui.runs.watcher import RunWatcher
    from psi_tui.widgets.dialogs import ExportChoice, OwnExport


_STATE_REST_SECONDS = 0.5
"""Quiet time before the state is saved; a killed app loses at most this much."""


class PrefillForm(Message):
    """The form of a new run is to be filled with these values.

    Args:
        values: texts by RunConfig's names.
    """

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__()
        self.values = values


class Services(AttentiveApp):
    """An app as its screens know it.

    Args:
        runs_dir: the folder of run directories.
        clock: tells the time; tests freeze it.
        graphics: the terminal, as pictures know it.

    Attributes:
        entries: the list of runs; None until it is read for the first time.
        runs_trouble: why their folder cannot be read, in a sentence; empty where it can.
        snapshot: the open run, or None.
        compared: directories of the runs on the compare screen.
        state: what is remembered until the next start.
        statistics: the process that is asked for tables.
        engine: the process that is asked for models, plans and pictures.
    """

    entries: "var[tuple[RunEntry, ...] | None]" = var(None)
    runs_trouble: var[str] = var("")
    snapshot: "var[Snapshot | None]" = var(None)
    compared: var[tuple[Path, ...]] = var((), always_update=True)

    def __init__(self, runs_dir: Path, clock: Callable[[], datetime], graphics: Graphics) -> None:
        super().__init__()
        self.runs_dir, self.clock, self.graphics = runs_dir, clock, graphics
        self.state = load_state()
        self.statistics = Client()
        self.engine = Client()
        self._run_watcher: RunWatcher | None = None
        self._resuming: dict[Path, Worker[None]] = {}
        self._save_timer: Timer | None = None
        self._has_told_state = False

    @property
    def palette(self) -> Palette:
        """Colors of plots under the present theme."""
        return palette_of(self.current_theme)

    # Saying and remembering.

    def say(self, sentence: str) -> None:
        """Shows a sentence for a few seconds, as it is, in the place of the one before."""
        self.clear_notifications()
        self.notify(plain_text(sentence), markup=False, timeout=4)

    def show_error(self, error: Exception, log: Path | None = None) -> None:
        """Shows what went wrong, what to do next, and where the log lies; no letter of a text being typed leaves it."""
        from psi_tui.widgets.dialogs import ErrorDialog

        self.push_screen(ErrorDialog(str(error), log, copy=self.copy, needs_escape=self.is_typing))

    def guarded(self, act: Callable[[], object]) -> None:
        """Runs `act` in a worker thread; errors become a dialog."""
        try:
            act()
        except (PsiError, OSError) as error:
            self.call_from_thread(self.show_error, error)

    def remember(self, **changes: Any) -> None:
        """Changes fields of the state; the file is written once no more changes come.

        Raises:
            ValueError: the state has no such field.
        """
        for name, value in changes.items():
            setattr(self.state, name, value)
        if self._save_timer is not None:
            self._save_timer.stop()
        self._save_timer = self.set_timer(_STATE_REST_SECONDS, self._write_state)

    def _write_state(self) -> None:
        """Writes the file; a home that cannot be written to is told once."""
        sentence = self.state.save()
        if sentence and not self._has_told_state:
            self._has_told_state = True
            self.say(sentence)

    # Going and opening.

    def go(self, name: ScreenName) -> None:
        """Goes to one of the five screens."""
        if name == "results" and self.open_directory is None:
            self.say("no run is open; choose one and press enter")
            name = "runs"
        self.switch_mode(name)
        self.remember(screen=name)

    @property
    def open_directory(self) -> Path | None:
        """The run on the results screen, or None."""
        return self._run_watcher.directory if self._run_watcher is not None else None

    def open_run(self, directory: Path) -> None:
        """Shows a run on the results screen."""
        self._follow(directory)
        self.go("results")

    def _open_begun(self, directory: Path) -> None:
        """Opens a run that has just begun, if the user waits for it; a run that they look at meanwhile stays."""
        if not self.is_waiting and self.current_mode == "results":
            self.say("the run has begun; 1 lists it")
            return
        self.remember(results_tab="")  # Not the tab that the previous run was left on.
        if self.is_waiting:
            self.open_run(directory)
        else:
            self._follow(directory)
            self.say("the run has begun; 4 shows it")

    def _follow(self, directory: Path) -> None:
        """Has the results screen follow a run."""
        if directory != self.open_directory:
            from psi_tui.runs.watcher import RunWatcher

            self.close_run()
            self._run_watcher = RunWatcher(directory, self.post_message)
            self._run_watcher.start()
            if directory != self.state.run:
                self.remember(run=directory, condition="")  # A condition chosen for one run says nothing of another.

    def close_run(self) -> None:
        """Lets go of the open run, if there is one."""
        if self._run_watcher is not None:
            self._run_watcher.stop()
        self._run_watcher = self.snapshot = None

    def compare(self, directories: list[Path]) -> None:
        """Shows runs side by side, as they are now."""
        self.compared = tuple(directories)
        self.remember(compared=self.compared)
        self.go("compare")

    def new_run(self, **prefilled: str) -> None:
        """Goes to the form, with these fields filled in."""
        self.go("new_run")
        if prefilled:
            self.call_after_refresh(lambda: self.screen.post_message(PrefillForm(prefilled)))

    # Copying and exporting.

    @work(thread=True, group="copy")
    def copy(self, text: str, what: str) -> None:
        """Copies a text and says where it went; in a thread, for tmux may take its time."""

        def write_to_terminal(copied: str) -> None:
            self.call_from_thread(self.copy_to_clipboard, copied)

        outcome = copy(text, write_to_terminal, state_directory())
        self.call_from_thread(self.say, f"{what}: {outcome.sentence}")

    def offer_copies(self, choices: dict[str, str]) -> None:
        """Lets the user choose what to copy."""
        from psi_tui.widgets.dialogs import ChoiceDialog

        def chosen(title: str | None) -> None:
            if title is not None:
                self.copy(choices[title], title)

        self.push_screen(ChoiceDialog("Copy", list(choices)), chosen)

    def offer_exports(self, directory: Path, name: str, measure: str = "psi", own: "Sequence[OwnExport]" = ()) -> None:
        """Lets the user choose a format and a folder, and exports there; layers and histogram of that measure too.

        Args:
            directory: of the run.
            name: of the run.
            measure: beside PSI.
            own: what the present view alone can export.
        """
        self._offer_exports([(directory, "")], name, measure, own)

    def offer_exports_of(self, runs: Sequence[tuple[Path, str]]) -> None:
        """Lets the user choose a format and a folder, and exports runs there, each into a folder of its own.

        Args:
            runs: directory and name of each.
        """
        pairs = list(zip((directory for directory, _ in runs), folders_of(runs), strict=True))
        self._offer_exports(pairs, f"{len(runs)} runs" if len(runs) > 1 else runs[0][1], "psi", ())

    def _offer_exports(
        self, runs: Sequence[tuple[Path, str]], name: str, measure: str, own: "Sequence[OwnExport]"
    ) -> None:
        """Asks where to and in which format; each run has its directory, and its folder below the chosen one."""
        from psi_tui.widgets.dialogs import ConfirmDialog, ExportDialog

        def chosen(choice: "ExportChoice | None") -> None:
            if choice is None:
                return
            if choice.own is not None:
                self._save(choice.folder, choice.own.stem, choice.own.suffix, choice.own.content)
            elif choice.format == "svg":
                self._save(choice.folder, "screenshot", ".svg", lambda: self.export_screenshot().encode())
            elif there := [
                path for _, below in runs for path in _tables_in(choice.folder / below, choice.format, measure)
            ]:
                files = "1 file" if len(there) == 1 else f"{len(there)} files"
                them = "it" if len(there) == 1 else "them"
                question = f"{choice.folder} holds {files} of an earlier export.\nReplace {them}?"
                self.push_screen(ConfirmDialog(question, yes="replace"), lambda sure: export(choice) if sure else None)
            else:
                export(choice)

        def export(choice: "ExportChoice") -> None:
            self.run_worker(
                lambda: self.guarded(lambda: self._export(runs, choice, measure)), thread=True, group="export"
            )

        title = name if measure == "psi" else f"{name}, of {MEASURES[measure].heading} too"
        self.push_screen(ExportDialog(title, current_folder() / f"results-{name}".replace(" ", "-"), own), chosen)

    def _export(self, runs: Sequence[tuple[Path, str]], choice: "ExportChoice", measure: str) -> None:
        remarks: dict[str, None] = {}
        written: list[str] = []

        def tell(event: Event) -> None:
            match event:
                case TableBegun(table, done, total) if done:
                    self.call_from_thread(self.say, f"exporting {table}, {done} of {total} tables are done")
                case Warned(text):
                    remarks[text] = None

        def export(run: tuple[Path, str]) -> None:
            asked = {"run": str(run[0]), "to": str(choice.folder / run[1]), "format": choice.format}
            written.extend(self.statistics.ask("export", tell, **asked, measures=[measure], with_progress=True))

        self.call_from_thread(self.say, "exporting ...")
        done, refusals = attempted(export, runs)
        if done:
            self.call_from_thread(
                self.say, "; ".join([f"{counted(len(written), 'file')} written to {choice.folder}", *remarks])
            )
        if refusals:
            raise incomplete("are exported", len(done), refusals, MOST_TOLD)

    def _save(self, folder: Path, stem: str, suffix: str, content: Callable[[], bytes]) -> None:
        """Writes one file of the present view, of a new name, into a folder."""
        path = folder / f"psi-tui-{stem}-{self.clock():%Y%m%d-%H%M%S}{suffix}"
        try:
            write_whole(path, content())
        except OSError as error:
            self.show_error(ConfigError(f"{folder}: cannot be written to ({error.strerror}); name another folder"))
        else:
            self.say(f"{stem} written to {path}")

    # Runs: started, resumed, stopped.

    def start_run(self, question: dict[str, Any]) -> Worker[None]:
        """Starts a run in a session of its own; it opens at its layers if the user waits for it."""

        def start() -> None:
            directory = start_child("start", config=question, runs_dir=str(self.runs_dir))
            self.call_from_thread(self._open_begun, directory)

        self.wait_here()
        return self.run_worker(lambda: self.guarded(start), thread=True, group="start")

    def resume_run(self, directory: Path, name: str) -> None:
        """Computes the missing chunks of a run, unless an engine is on its way to it already."""
        under_way = self._resuming.get(directory)
        if under_way is not None and not under_way.is_finished:
            self.say(f"{name} is being resumed; its engine takes some seconds")
            return
        self._resuming[directory] = self.run_worker(
            lambda: self.guarded(lambda: self._resume(directory, name)), thread=True, group="start"
        )

    def _resume(self, directory: Path, name: str) -> None:
        from psi_core.runs.run import Run

        run = Run(directory)
        if reason := run.why_not_resumed():
            if run.is_example:
                raise RunError(f"resume: {name} {reason}")
            self.call_from_thread(self.say, f"{name} {reason}")
            return
        self.call_from_thread(self.say, f"resuming {name}; its engine takes some seconds")
        start_child("resume", run=str(directory))
        self.call_from_thread(self.say, f"{name} goes on")

    @work(thread=True, group="verify")
    def verify_run(self, directory: Path, name: str) -> None:
        """Compares a run with what its workers wrote, and says what is wrong."""
        from psi_core.runs.run import Run
        from psi_core.runs.verification import verdict_words

        self.guarded(lambda: self.call_from_thread(self.say, f"{name}, {verdict_words(Run(directory))}"))

    def stop_run(self, directory: Path, name: str, status: "Status") -> None:
        """Asks a run's workers to leave after their chunks."""
        from psi_core.runs.status import can_stop, request_stop

        if not can_stop(status):
            self.say(f"{name} is {status}, not running; nothing to stop")
            return
        try:
            request_stop(directory)
        except PsiError as error:
            self.show_error(error)
            return
        self.say(f"{name} stops after its open chunk; r resumes it")


MOST_TOLD = 6
"""Runs that a question or an error names."""


def _tables_in(folder: Path, suffix: str, measure: str) -> list[Path]:
    """Tables that an export of this format and measure into this folder would replace."""
    from psi_core.tables.registry import TABLE_NAMES, tables_taking

    names = [*TABLE_NAMES, *(f"{table}-{measure}" for table in tables_taking("measure"))]
    return [path for name in names for path in [folder / f"{name}.{suffix}"] if os.path.lexists(path)]


def start_child(do: str, **fields: Any) -> Path:
    """The run directory that a child has just begun to work on; a thread waits for its end, so that it is no zombie.

    Raises:
        PsiError: the engine refuses it.
    """
    with anonymous_file() as errors:
        directory, child = start(do, errors, **fields)
    threading.Thread(target=child.wait, daemon=True).start()
    return directory
