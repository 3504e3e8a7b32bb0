"""Shows a run, a fit or a computation besides runs in a shell until it ends, obeys Ctrl-C, and says how a run ended."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from psi_core.plain_text import counted
from psi_core.runs.event_log import last_lines, log_path
from psi_core.runs.events import AblationAdvanced, Event, Failed, FitAdvanced, PhaseBegan, Warned
from psi_core.runs.finding import load_run
from psi_core.runs.processes import is_here
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader, WorkerState, request_stop
from psi_core.tables.summary import attack_text, headline_accuracies
from psi_tui.engine.client import EngineError, NoAnswerError, on_interrupt, stream
from psi_tui.runs.progress import Progress, progress_of
from psi_tui.shell.bar import ProgressView, progress_view
from psi_tui.shell.console import narrate
from psi_tui.text.formatting import format_duration


def finished_job(do: str, question: dict[str, Any], *, hint: str) -> dict[str, Any] | None:
    """The answer of a child that computes for long, or None where it was interrupted; a bar shows how far it is.

    Args:
        do: `fit`, `ablate` or `liu`.
        question: what the answer takes.
        hint: what Ctrl-C does, shown beside the bar.

    Raises:
        PsiError: the child refused.
        EngineError: it failed, or ended without an answer.
    """
    with progress_view(hint=hint) as view:
        view.update(Progress("running", "load"))
        try:
            answer: dict[str, Any] | None = stream(do, lambda event: _show(event, view), **question)
        except NoAnswerError as error:
            raise EngineError(f"{do}: ended with status {error.status}; its message stands above") from None
    return answer


def _show(event: Event, view: ProgressView) -> None:
    match event:
        case FitAdvanced(phase, done, total, accuracy, rate, loss):
            view.update(Progress("running", phase, done, total, rate, loss=loss, accuracy=accuracy))
        case AblationAdvanced(phase, done, total, rate):
            view.update(Progress("running", phase, done, total, rate))
        case PhaseBegan():
            view.say("the model's weights are fitted first, and kept")
        case Warned(text):
            view.say(f"warning: {text}")


DONE, FAILED, INTERRUPTED = 0, 1, 130

_POLL_SECONDS = 0.25
_ACCURACY_SECONDS = 2.0
_LOG_LINES = 10


def follow(
    directory: Path, child: subprocess.Popen[str] | None = None, *, quiet: bool = False, is_ours: bool = True
) -> int:
    """Shows a run until it ends and gives the exit code.

    Args:
        directory: the run directory.
        child: the worker that we started, if we did; its run goes on at least as long as it lives.
        quiet: whether to show warnings and errors only.
        is_ours: whether Ctrl-C stops the run; otherwise it only ends the viewing.
    """
    return _Follower(directory, child, quiet, is_ours).follow()


class _Follower:
    def __init__(self, directory: Path, child: subprocess.Popen[str] | None, quiet: bool, is_ours: bool) -> None:
        self.run = Run(directory)
        self.child = child
        self.quiet = quiet
        self.is_ours = is_ours
        self.reader = StatusReader(directory)
        self.workers: list[WorkerState] = []
        self.presses = 0
        self.accuracies: tuple[float | None, float | None] = (None, None)

    def follow(self) -> int:
        began = time.monotonic()
        if not self.quiet:
            narrate(_title(self.run))
        hint = "Ctrl-C stops after the open chunk" if self.is_ours else "Ctrl-C leaves; the run goes on"
        with (
            progress_view(quiet=self.quiet, hint=hint) as view,
            on_interrupt(self._press),
        ):
            progress = self._watch(view)
        if self.presses and (not self.is_ours or self.presses > 1):
            return self._leave()
        return self._end(progress, time.monotonic() - began)

    def _press(self, presses: int) -> None:
        self.presses = presses
        if presses == 1 and self.is_ours:
            request_stop(self.run.directory)

    def _watch(self, view: ProgressView) -> Progress:
        said: set[str] = set()
        has_told_stop = False
        next_accuracy = time.monotonic() + _POLL_SECONDS
        while True:
            is_child_alive = self.child is not None and self.child.poll() is None
            self.run.require_there()
            self.workers = self.reader.poll()
            progress = progress_of(self.run, self.workers)
            for text in progress.warnings:
                if text not in said:
                    view.say(f"warning: {text}")
                    said.add(text)
            if time.monotonic() >= next_accuracy:
                self.accuracies = headline_accuracies(load_run(self.run.directory, preview=True))
                next_accuracy = time.monotonic() + _ACCURACY_SECONDS
            view.update(progress, self.accuracies)
            if self.presses and self.is_ours and not has_told_stop:
                has_told_stop = True
                view.say("stopping after the open chunk; Ctrl-C again leaves at once")
            is_waiting = progress.status == "queued" and self.child is None
            is_starting = is_child_alive and not self._child_has_begun()
            if not progress.is_live and not is_starting and not is_waiting:
                return progress
            if self.presses > 1 or (self.presses and not self.is_ours):
                return progress
            time.sleep(_POLL_SECONDS)

    def _child_has_begun(self) -> bool:
        """Whether our child's own `started` event is there: from then on, the run's files tell all about it."""
        assert self.child is not None, "asked only where there is one"
        return any(worker.started and worker.started.pid == self.child.pid for worker in self.workers)

    def _leave(self) -> int:
        name = self.run.id
        if not self.is_ours:
            narrate(f"left; the run goes on: psi-tui watch {name}")
            return INTERRUPTED
        for worker in self.workers:
            if worker.is_alive and worker.started and is_here(worker.started):
                os.kill(worker.started.pid, signal.SIGTERM)
        narrate(f"interrupted; go on with: psi-tui resume {name}")
        return INTERRUPTED

    def _end(self, progress: Progress, seconds: float) -> int:
        name = self.run.id
        match progress.status:
            case "done":
                if not self.quiet:
                    took = f" ({format_duration(seconds)})" if self.child else ""
                    narrate(f"done: {counted(self.run.images, 'image')}{took}")
                return DONE
            case "stopped":
                narrate(f"stopped; go on with: psi-tui resume {name}")
                return INTERRUPTED
            case "failed":
                failures = [(worker.last, worker.number) for worker in self.workers if isinstance(worker.last, Failed)]
                failed, number = max(failures, key=lambda failure: failure[0].time)
                narrate(f"psi-tui: the run failed: {failed.error or 'no reason given'}")
                narrate(f"its log is {log_path(self.run.directory, number)}; psi-tui resume {name} tries again")
                return FAILED
            case _:
                numbers = [worker.number for worker in self.workers] or [0]
                narrate(f"psi-tui: the run's workers ended without a message; go on with: psi-tui resume {name}")
                for number in numbers:
                    _show_log_end(log_path(self.run.directory, number))
                return FAILED


def _title(run: Run) -> str:
    config = run.config
    named = f"{run.name} " if run.name != run.id else ""
    return f"{named}{run.id}: {config.model} on {config.data}, {counted(run.images, 'image')}, {attack_text(config)}"


def _show_log_end(path: Path) -> None:
    lines = last_lines(path, _LOG_LINES)
    if not lines:
        return
    narrate(f"last lines of {path}:")
    for line in lines:
        narrate(f"  {line}")
