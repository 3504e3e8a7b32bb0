"""What can be done to runs from the app: started, stopped, resumed, deleted, copied from, exported."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psi_core.creation import delete_run as remove_directory
from psi_core.creation import require_deletable
from psi_core.errors import ConfigError, PsiError, RunError
from psi_core.measures import MEASURES
from psi_tui.child import Child, anonymous_file, listening

if TYPE_CHECKING:
    from psi_tui.app import PsiApp
    from psi_tui.screens.dialogs import ExportChoice


def start_run(app: "PsiApp", question: dict[str, Any]) -> None:
    """Starts a run in a session of its own and opens it at its layers; called in a thread.

    Raises:
        PsiError: the engine refuses it.
    """
    arguments = ["start", "--runs-dir", str(app.runs_dir)]
    directory = _started(arguments, question, workers=int(question.get("devices", 1)))

    def open_it() -> None:
        app.state.results_tab = "layers"  # Wherever the run before was left.
        app.open_run(directory)

    app.call_from_thread(open_it)


def resume_run(app: "PsiApp", directory: Path, name: str, status: str) -> None:
    """Makes what a run still misses; called in a thread.

    Raises:
        PsiError: it ships with the package, or the engine refuses it.
    """
    from psi_core.paths import is_example
    from psi_core.runs import Run

    if is_example(directory):
        raise RunError(f"resume: {name} ships with psi-tui and is read-only; start one of your own with n")
    if status in ("running", "done"):
        app.call_from_thread(app.say, f"{name} is {status}; nothing to resume")
        return
    app.call_from_thread(app.say, f"resuming {name}; its engine takes some seconds")
    _started(["resume", str(directory)], None, workers=Run(directory).config.devices)
    app.call_from_thread(app.say, f"{name} goes on")


def stop_run(app: "PsiApp", directory: Path, name: str, status: str) -> None:
    """Asks a run's workers to leave after their chunks."""
    from psi_tui.follow import request_stop

    if status != "running":
        app.say(f"{name} is {status}, not running; nothing to stop")
        return
    try:
        request_stop(directory)
    except OSError as error:
        app.show_error(ConfigError(f"stop: {directory} cannot be written to ({error.strerror}); check who owns it"))
        return
    app.say(f"{name} stops after its open chunk; r resumes it")


def delete_run(app: "PsiApp", directory: Path, name: str, status: str) -> None:
    """Deletes a run after a question."""
    from psi_tui.screens.dialogs import ConfirmDialog

    try:
        require_deletable(directory)
    except PsiError as error:
        app.say(str(error))
        return

    def answered(is_sure: bool | None) -> None:
        if not is_sure:
            return
        try:
            remove_directory(directory)
        except PsiError as error:
            app.show_error(error)
        else:
            app.say(f"{name} is deleted")

    question = f"Delete {name} ({status}) with all its results?\n{directory}"
    app.push_screen(ConfirmDialog(question, yes="delete"), answered)


def offer_copies(app: "PsiApp", choices: dict[str, str]) -> None:
    """Lets the user choose what to copy."""
    from psi_tui.screens.dialogs import ChoiceDialog

    def chosen(title: str | None) -> None:
        if title is not None:
            app.copy(choices[title], title)

    app.push_screen(ChoiceDialog("Copy", list(choices)), chosen)


def offer_exports(app: "PsiApp", directory: Path, name: str, measure: str = "psi") -> None:
    """Lets the user choose a format and a folder, and exports there; layers and histogram of that measure too."""
    from psi_tui.screens.dialogs import ExportDialog

    def chosen(choice: "ExportChoice | None") -> None:
        if choice is None:
            return
        if choice.format == "svg":
            _save_screenshot(app, choice.folder)
        else:
            app.run_worker(
                lambda: app.guarded(lambda: _export(app, directory, choice, measure)), thread=True, group="export"
            )

    title = name if measure == "psi" else f"{name}, of {MEASURES[measure].heading} too"
    app.push_screen(ExportDialog(title, Path.cwd() / f"results-{name}".replace(" ", "-")), chosen)


def prefill(app: "PsiApp", values: dict[str, str]) -> None:
    """Fills fields of the form."""
    from psi_tui.screens.new_run import NewRunScreen

    if isinstance(app.screen, NewRunScreen):
        app.screen.prefill(values)


def _started(arguments: list[str], question: Any, workers: int) -> Path:
    """The run directory that a child has just begun to work on; a thread waits for its end, so that it is no zombie."""
    with anonymous_file() as errors:
        child = Child(arguments, question, workers=workers, errors=errors)
        with listening(child):
            directory = Path(child.answer()["run"])
    threading.Thread(target=child.process.wait, daemon=True).start()
    return directory


def _export(app: "PsiApp", directory: Path, choice: "ExportChoice", measure: str) -> None:
    app.call_from_thread(app.say, "exporting ...")
    asked = {"run": str(directory), "to": str(choice.folder), "format": choice.format}
    paths = app.statistics.ask("export", **asked, measures=[measure])
    app.call_from_thread(app.say, f"{len(paths)} files written to {choice.folder}")


def _save_screenshot(app: "PsiApp", folder: Path) -> None:
    from psi_core.paths import temporary_beside

    path = folder / f"psi-tui-{app.clock():%Y%m%d-%H%M%S}.svg"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(path)
        temporary.write_text(app.export_screenshot(), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        app.show_error(ConfigError(f"{folder}: cannot be written to ({error.strerror}); name another folder"))
    else:
        app.say(f"screenshot written to {path}")
