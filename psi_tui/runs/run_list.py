"""The home screen's list: every run as one entry, read again only where the stamps of its files changed."""

import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from psi_core.conditions import EXTERNAL, epsilon_label
from psi_core.errors import PsiError
from psi_core.files import examples_directory
from psi_core.plain_text import plain_line
from psi_core.runs.chunks import CHUNKS, finished_chunks
from psi_core.runs.event_log import events_path, worker_numbers
from psi_core.runs.finding import looks_like_run
from psi_core.runs.labels import LABEL, Label
from psi_core.runs.run import Run
from psi_core.runs.status import STOP_FILE, StatusReader
from psi_core.runs.trash import tidy
from psi_core.runs.trust import needs_trust, trusted_file
from psi_core.tables.summary import RunSummary, run_summary
from psi_tui.runs.progress import Progress, progress_of
from psi_tui.text.formatting import Row
from psi_tui.text.runs import age_text


def file_stamp(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def results_stamp(directory: Path, *, with_preview: bool) -> tuple[Any, ...]:
    """Of a run's finished chunks, and of its open ones where those count; empty while there are none.

    Args:
        directory: the run's directory.
        with_preview: whether open chunks count.
    """
    previews = sorted(directory.glob("preview-*.npz")) if with_preview else []
    stamps = (file_stamp(preview) for preview in previews)
    return (*finished_chunks(directory), *(stamp for stamp in stamps if stamp is not None))


_LATEST = 253_000_000_000 * 10**9
"""Of a file's time, in nanoseconds since 1970: the year 9987."""

_SUMMARY_SECONDS = 3.0
"""A growing run's accuracies are read at most this often."""

_TIDY_SECONDS = 3600.0
"""How often the folder is tidied while it is followed."""

_BUDGET_SECONDS = 0.5
"""One poll reads the results of no further run after this long: the rows are there at once, the numbers follow."""


@dataclass(frozen=True, slots=True)
class RunEntry:
    """One run as the home screen lists it.

    Attributes:
        directory: where it lies.
        id: its identity.
        name: given, or the id.
        label: what a person said of it; why that cannot be read, where it cannot.
        needs_trust: whether its model is code that was neither made here nor is trusted.
        model: as configured.
        data: likewise.
        attack: names with commas.
        epsilon: epsilons in pixel units, separated by commas.
        created: when.
        is_example: whether it ships with the package.
        command: command that makes a shipped example again; empty for other runs.
        progress: how far it is.
        summary: accuracies and largest shift, or None where no result is read yet.
        trouble: why it cannot be read, in a sentence; empty where it can.
    """

    directory: Path
    id: str
    name: str
    label: Label
    needs_trust: bool
    model: str
    data: str
    attack: str
    epsilon: str
    created: datetime
    is_example: bool
    command: str
    progress: Progress
    summary: RunSummary | None
    trouble: str = ""


@dataclass(slots=True)
class _Known:
    """A run that is followed: its entry, and what the entry was made from."""

    run: Run
    reader: StatusReader
    entry: RunEntry
    signature: tuple[Any, ...] = ()
    summarized: tuple[Any, ...] | None = None
    summarized_at: float = field(default=0.0)


class RunList:
    """Follows the runs directory and the shipped examples.

    Args:
        runs_dir: the folder of run directories; it may not be there yet.

    Attributes:
        trouble: why the folder, if it ever was there, cannot be read now, in a sentence; empty where it can.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.trouble = ""
        self._was_there = False
        self._known: dict[Path, _Known] = {}
        self._damaged: dict[Path, tuple[tuple[Any, ...], RunEntry]] = {}
        self._tidied_at = -math.inf

    def poll(self) -> tuple[RunEntry, ...]:
        """Every run now: live ones first, then the newest, the examples last; damaged ones say why."""
        if time.monotonic() - self._tidied_at > _TIDY_SECONDS:
            self._tidied_at = time.monotonic()
            tidy(self.runs_dir)
        paths = self._own_directories()
        with contextlib.suppress(OSError):  # Whoever packages the app may leave them out.
            paths += _directories_in(examples_directory())
        for path in set(self._known) - set(paths):
            del self._known[path]
        self._damaged = {path: found for path, found in self._damaged.items() if path in paths}
        for path in paths:
            if path in self._damaged and self._damaged[path][0] == _files_stamp(path):
                continue  # It is as damaged as it was.
            try:
                self._refresh(path)
            except (PsiError, OSError) as error:
                if path not in self._known and looks_like_run(path):
                    self._damaged[path] = _files_stamp(path), _damaged_entry(path, str(error))
            else:
                self._damaged.pop(path, None)
        self._summarize()
        entries = [known.entry for known in self._known.values()] + [entry for _, entry in self._damaged.values()]
        return tuple(sorted(entries, key=_place))

    def _own_directories(self) -> list[Path]:
        self.trouble = ""
        try:
            found = _directories_in(self.runs_dir)
        except FileNotFoundError:
            if self._was_there:
                self.trouble = f"{self.runs_dir}: the folder of runs is gone; put it back, and they are listed again"
        except OSError as error:
            self.trouble = f"{self.runs_dir}: the folder of runs cannot be read ({error.strerror}); check whose it is"
        else:
            self._was_there = True
            return found
        return []

    def _refresh(self, path: Path) -> None:
        known = self._known.get(path)
        signature = _signature(path)
        if known is None:
            run = Run(path)
            reader = StatusReader(path)
            known = _Known(run, reader, entry_of(run, progress_of(run, reader.poll())))
            self._known[path] = known
        elif signature != known.signature or known.entry.progress.is_live:
            if signature[0] != known.signature[0]:
                known.run = Run(path)
            progress = progress_of(known.run, known.reader.poll())
            shown = known.entry
            has_news = (known.run.label, needs_trust(known.run)) != (shown.label, shown.needs_trust)
            if has_news or progress != shown.progress:
                known.entry = entry_of(known.run, progress, known.entry.summary)
        known.signature = signature

    def _summarize(self) -> None:
        """Reads results of runs that have new ones, the newest runs first, as long as the budget lasts."""
        began = time.monotonic()
        for known in sorted(self._known.values(), key=lambda known: _place(known.entry)):
            is_live = known.entry.progress.is_live
            try:
                made_from = results_stamp(known.entry.directory, with_preview=is_live)
            except PsiError:  # Its chunks cannot be seen any more.
                continue
            too_soon = is_live and began - known.summarized_at < _SUMMARY_SECONDS
            if made_from == known.summarized or too_soon:
                continue
            known.summarized, known.summarized_at = made_from, began
            summary = None
            with contextlib.suppress(PsiError, OSError):
                summary = run_summary(Run(known.entry.directory, preview=is_live))
            known.entry = entry_of(known.run, known.entry.progress, summary)
            if time.monotonic() - began > _BUDGET_SECONDS:
                return


def _directories_in(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return [Path(item.path) for item in found if not item.name.startswith(".") and item.is_dir()]


def _files_stamp(path: Path) -> tuple[Any, ...]:
    """Changes whenever a file of a run does: any of them may be what cannot be read."""
    try:
        return tuple((each.name, file_stamp(each)) for each in sorted(path.iterdir()))
    except OSError:
        return ()


def _signature(path: Path) -> tuple[Any, ...]:
    """Changes whenever something was said of the run, a worker wrote, a chunk was finished, or a stop was asked for.

    So it does where a run was trusted, whichever.

    The first part is of what was said.
    """
    places = [path / CHUNKS, path / STOP_FILE, *(events_path(path, number) for number in worker_numbers(path))]
    return tuple(file_stamp(place) for place in (path / LABEL, *places, trusted_file()))


def entry_of(run: Run, progress: Progress, summary: RunSummary | None = None) -> RunEntry:
    """A run as the list has it."""
    config = run.config
    epsilon = ", ".join(map(epsilon_label, config.epsilon)) if config.attack else ""
    return RunEntry(
        run.directory,
        run.id,
        run.name,
        run.label,
        needs_trust(run),
        config.model,
        config.data,
        ", ".join([*config.attack, *([EXTERNAL] if config.attacked else [])]),
        epsilon,
        run.created_at,
        run.is_example,
        str(run.card.get("command", "")),
        progress,
        summary,
    )


def is_unreadable(entry: RunEntry) -> bool:
    """Whether a run that is at rest has results of which none can be read."""
    progress = entry.progress
    return entry.summary == RunSummary() and progress.done > 0 and not progress.is_live


def status_words(entry: RunEntry, red: str = ", red", unreadable: str = ", damaged") -> str:
    """`done`, `running fit`, `stopped 41 %`.

    Args:
        entry: the run.
        red: what follows the status where the run's evidence is red.
        unreadable: what follows it where its results cannot be read.
    """
    progress = entry.progress
    if progress.is_live and progress.phase != "run":
        return f"{progress.status} {progress.phase}"
    is_red = entry.summary is not None and entry.summary.evidence == "red"
    word = f"{progress.status}{red if is_red else unreadable if is_unreadable(entry) else ''}"
    is_part = progress.status not in ("done", "queued", "damaged") and progress.total
    return f"{word} {100 * progress.done // progress.total} %" if is_part else word


def run_row(entry: RunEntry, now: datetime) -> Row:
    """A run as RUN_COLUMNS take it.

    Args:
        entry: the run.
        now: the present time, with its zone.
    """
    return {
        "entry": entry,
        "run": entry.name,
        "tags": ", ".join(entry.label.tags),
        "model": entry.model,
        "needs_trust": entry.needs_trust,
        "data": entry.data,
        "attack": entry.attack,
        "epsilon": entry.epsilon,
        "done": entry.progress.done,
        "total": entry.progress.total,
        "summary": entry.summary,
        "status": status_words(entry),
        "age": age_text(entry.created, entry.is_example, now),
    }


def _damaged_entry(path: Path, trouble: str) -> RunEntry:
    """A run of which only its directory is known."""
    stamp = file_stamp(path)
    created = datetime.fromtimestamp(min(max(0, stamp[1] if stamp else 0), _LATEST) / 1e9).astimezone()
    progress = Progress("damaged")
    name = plain_line(path.name)
    return RunEntry(
        path, name, name, Label(), False, "", "", "", "", created, False, "", progress, None, plain_line(trouble)
    )


def _place(entry: RunEntry) -> tuple[bool, bool, float, str]:
    newest = 0.0 if entry.is_example else -entry.created.timestamp()
    return entry.is_example, not entry.progress.is_live, newest, entry.name if entry.is_example else ""
