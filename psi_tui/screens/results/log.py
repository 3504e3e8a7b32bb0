"""Tab Log: what the workers said, and the tail of their logs."""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from pathlib import Path

from textual import events
from textual.app import ComposeResult
from textual.widgets import RichLog, Static

from psi_core.plain_text import plain_line, short_number
from psi_core.runs.event_log import EventReader, events_path, last_lines, log_path, worker_numbers
from psi_core.runs.events import EventLine
from psi_tui.screens.base import Pane
from psi_tui.screens.results.tab import ResultsTab
from psi_tui.screens.results.view import ResultsView
from psi_tui.text.formatting import format_bytes

_EVENTS = 200
_LOG_LINES = 200
_NARROWEST = 20
_NOTHING: tuple[object, ...] = (None, "", [], {})
_QUIET = ("heartbeat",)
_PROGRESS = ("batch", "fit")


@dataclass(frozen=True, slots=True)
class _Read:
    """Lines of the events and of the logs."""

    events: tuple[str, ...]
    logs: tuple[str, ...]


class WorkerLog(RichLog):
    """The last of many lines, wrapped at the width of the pane, whatever that becomes.

    Args:
        id: of the widget.
        most: lines.
    """

    def __init__(self, *, id: str, most: int) -> None:  # noqa: A002
        super().__init__(id=id, max_lines=most, wrap=True, min_width=_NARROWEST, auto_scroll=True)
        self._told: tuple[str, ...] = ()
        self._wrapped_at = 0

    def show(self, lines: tuple[str, ...]) -> None:
        """Puts other lines in the place of the present ones."""
        self._told = lines
        self._wrap()

    def on_resize(self, _event: events.Resize) -> None:
        if self.scrollable_content_region.width != self._wrapped_at:
            self._wrap()

    def _wrap(self) -> None:
        self._wrapped_at = self.scrollable_content_region.width
        self.clear()
        for line in self._told:
            self.write(line, width=max(_NARROWEST, self._wrapped_at), animate=False)


class LogTab(ResultsTab):
    """Events above, the workers' own output below."""

    FOCUS = "#events"

    def compose(self) -> ComposeResult:
        with Pane(id="events-pane") as pane:
            pane.border_title = "events"
            yield WorkerLog(id="events", most=_EVENTS)
        with Pane(id="output-pane") as pane:
            pane.border_title = "output of the workers"
            yield WorkerLog(id="output", most=_LOG_LINES)
        yield Static(id="log-place", markup=False)

    def on_mount(self) -> None:
        self._shown: _Read | None = None
        self._followed: _RunEvents | None = None

    def compute(self, view: ResultsView) -> object:
        directory = view.snapshot.run.directory
        followed = self._followed
        if followed is None or followed.directory != directory:
            followed = self._followed = _RunEvents(directory)
        logs = (
            line for number in worker_numbers(directory) for line in last_lines(log_path(directory, number), _LOG_LINES)
        )
        return _Read(followed.last_lines(), tuple(logs))

    def show_computed(self, view: ResultsView, computed: object) -> None:
        """Writes what changed."""
        assert isinstance(computed, _Read), "it is what compute gives"
        if self._shown is None or computed.events != self._shown.events:
            self.query_one("#events", WorkerLog).show(computed.events or ("no events",))
        if self._shown is None or computed.logs != self._shown.logs:
            self.query_one("#output", WorkerLog).show(computed.logs or ("the workers wrote nothing",))
        self._shown = computed
        run = view.snapshot.run
        place = "ships with psi-tui" if run.is_example else str(run.directory)
        self.query_one("#log-place", Static).update(plain_line(place), layout=False)

    def forget(self) -> None:
        self._shown = self._followed = None
        for log in self.query(WorkerLog):
            log.show(())

    def copies(self, view: ResultsView) -> dict[str, str]:
        shown = self._shown or _Read((), ())
        return {
            "events": "\n".join(shown.events),
            "output of the workers": "\n".join(shown.logs),
            "path of the log": str(log_path(view.snapshot.run.directory, 0)),
        }


class _RunEvents:
    """The last events of a run's workers, each log read once however long it grows.

    Args:
        directory: the run's directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()  # A look that nobody waits for any more may still be under way.
        self._workers: dict[int, _WorkerEvents] = {}

    def last_lines(self) -> tuple[str, ...]:
        """The last lines of all workers, in order of time."""
        with self._lock:
            for number in worker_numbers(self.directory):
                if number not in self._workers:
                    self._workers[number] = _WorkerEvents(number, EventReader(events_path(self.directory, number)))
            found = [line for worker in self._workers.values() for line in worker.poll()]
        return tuple(line for _, line in sorted(found, key=itemgetter(0))[-_EVENTS:])


class _WorkerEvents:
    """The last events of one worker, of each series of progress only the last, which alone tells something."""

    def __init__(self, number: int, reader: EventReader) -> None:
        self._number = number
        self._reader = reader
        self._kept: deque[EventLine] = deque(maxlen=_EVENTS)

    def poll(self) -> list[tuple[float, str]]:
        """Times and lines, oldest first."""
        for event in self._reader.each_line():
            if event["event"] in _QUIET:
                continue
            if event["event"] in _PROGRESS and self._kept and self._kept[-1]["event"] == event["event"]:
                self._kept.pop()
            self._kept.append(event)
        return [(float(event["time"]), _line(self._number, event)) for event in self._kept]


def _line(worker: int, event: EventLine) -> str:
    when = datetime.fromtimestamp(float(event["time"])).astimezone()
    facts = {key: value for key, value in event.items() if key not in ("event", "time", "seconds", "boot_id")}
    told = ", ".join(_fact(str(event["event"]), key, value) for key, value in facts.items() if value not in _NOTHING)
    return f"{when:%H:%M:%S}  worker {worker}  {event['event']}  {told}"


_LONGEST_FACT = 1000


def _fact(event: str, key: str, value: object) -> str:
    if key == "memory" and isinstance(value, int | float):
        text = format_bytes(value)
    else:
        text = short_number(value, 4) if isinstance(value, float) else plain_line(str(value)[:_LONGEST_FACT])
    return text if key == event == "phase" else f"{key.replace('_', ' ')} {text}"
