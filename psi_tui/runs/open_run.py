"""One open run, followed: each poll gives what a screen shows of it at that moment. Draws nothing."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psi_core.runs.labels import LABEL
from psi_core.runs.run import Run
from psi_core.runs.status import StatusReader, WorkerState
from psi_tui.runs.gpu import Gpu, read_gpus
from psi_tui.runs.progress import Progress, progress_of
from psi_tui.runs.run_list import file_stamp, results_stamp

_RESULTS_SECONDS = 10.0
"""Previews of a growing run are looked at no more often."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        run: the run, with the open chunks of living workers.
        progress: how far it is.
        workers: what each said last.
        stamp: differs where the results differ; empty while there are none.
        elapsed_seconds: from the first worker's start to now, or to its last word; None before the first start.
        gpus: of this machine, where the run lives on one; empty elsewhere.
    """

    run: Run
    progress: Progress
    workers: tuple[WorkerState, ...]
    stamp: tuple[Any, ...]
    elapsed_seconds: float | None
    gpus: tuple[Gpu, ...] = ()

    @property
    def has_results(self) -> bool:
        """Whether there is an image to show."""
        return bool(self.stamp)

    @property
    def is_live(self) -> bool:
        """Whether a worker is at it."""
        return self.progress.is_live


class RunReader:
    """Follows one run directory.

    Args:
        directory: the run's directory.

    Raises:
        RunError: it is no run directory that can be read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._label_stamp = file_stamp(directory / LABEL)
        self._run = Run(directory)
        self._run.layer_infos  # noqa: B018 - A damaged layers.json is refused here, not on the screen.
        self._reader = StatusReader(directory)
        self._stamp: tuple[Any, ...] = ()
        self._looked = 0.0

    def poll(self) -> Snapshot:
        """The run now.

        Raises:
            RunError: it was removed, or is damaged now.
        """
        self._run.require_there()
        workers = self._reader.poll()
        progress = progress_of(self._run, workers)
        is_live = progress.is_live
        label_stamp = file_stamp(self.directory / LABEL)
        if label_stamp != self._label_stamp:
            self._run, self._label_stamp = Run(self.directory, preview=is_live), label_stamp
        if not is_live or time.monotonic() - self._looked >= _RESULTS_SECONDS:
            self._look(is_live)
        self._run.layer_infos  # noqa: B018 - Of a run that was read anew too: it may be on its way out.
        return Snapshot(
            self._run,
            progress,
            tuple(dataclasses.replace(worker, warnings=list(worker.warnings)) for worker in workers),
            self._stamp,
            _elapsed(workers, is_live),
            read_gpus() if is_live and self._run.config.device.is_cuda else (),
        )

    def _look(self, is_live: bool) -> None:
        """Takes in new results, if there are any."""
        self._looked = time.monotonic()
        stamp = results_stamp(self.directory, with_preview=is_live)
        if stamp != self._stamp:
            self._run = Run(self.directory, preview=is_live)
            self._stamp = stamp


def _elapsed(workers: list[WorkerState], is_live: bool) -> float | None:
    starts = [worker.started.time for worker in workers if worker.started]
    if not starts:
        return None
    ends = [worker.last.time for worker in workers if worker.last]
    return max(0.0, (time.time() if is_live else max(ends)) - min(starts))
