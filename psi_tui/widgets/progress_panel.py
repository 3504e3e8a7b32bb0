"""The head of the results screen: which run, how far, how fast, where its time goes, and how accuracy stands."""

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from psi_tui.bar import PARTS
from psi_tui.formatting import format_accuracies, format_bytes, format_count, format_duration, format_rate
from psi_tui.gpu import gpu_line
from psi_tui.progress import PHASE_WORDS
from psi_tui.run_reader import Snapshot
from psi_tui.screens.runs import STATUS_GLYPHS
from psi_tui.widgets.bars import bar
from psi_tui.widgets.worker_lines import worker_lines

_STATUS_STYLES = {"running": "bold $primary", "done": "bold $success", "failed": "bold $error", "lost": "bold $error"}


_TALL = 30
"""Lines from which a finished run has more than its title."""

_WORKER_LINES = 4
"""Lines for the single workers, at most; a low terminal has room for one."""


class ProgressPanel(Widget):
    """One or two lines of a finished run, three or four of a live one and some more where several workers share it."""

    def __init__(self) -> None:
        super().__init__(id="progress")
        self._snapshot: Snapshot | None = None
        self._accuracies: tuple[float | None, float | None] = (None, None)
        self._attacked = ""
        self._lines: list[Content] = []

    def show(self, snapshot: Snapshot, accuracies: tuple[float | None, float | None], attacked: str) -> None:
        """Shows a run as it is now; a line that stays the same is not sent again.

        Args:
            snapshot: of the run.
            accuracies: in percent, benign and under `attacked`.
            attacked: name of the condition that stands for the run.
        """
        self._snapshot, self._accuracies, self._attacked = snapshot, accuracies, attacked
        self._draw()

    def on_resize(self) -> None:
        """Draws the bars anew."""
        if self._snapshot is not None:
            self._draw()

    def render(self) -> Content:
        """The lines that were drawn last."""
        return Content("\n").join(self._lines)

    def _draw(self) -> None:
        before, self._lines = self._lines, self._content()
        if len(before) != len(self._lines):
            self.refresh(layout=True)  # It sends the whole screen.
            return
        pairs = enumerate(zip(before, self._lines, strict=True))
        changed = [place for place, (old, new) in pairs if not old.is_same(new)]
        if changed:
            self.refresh(*(Region(0, place, self.size.width, 1) for place in changed))

    def _content(self) -> list[Content]:
        assert self._snapshot is not None, "shown only once there is one"
        snapshot, width = self._snapshot, max(40, self.size.width)
        lines = [_title(snapshot, width)]
        is_tall = self.app.size.height >= _TALL
        if snapshot.is_live:
            lines.append(_progress_line(snapshot, width))
            lines += worker_lines(snapshot.progress.workers, width, _WORKER_LINES if is_tall else 1)
            lines += _share_bars(snapshot, width) if is_tall else []
        elif snapshot.progress.status != "done":
            lines.append(_last_words(snapshot))
        if snapshot.progress.status != "done" or is_tall:
            lines.append(self._facts(snapshot, is_tall))
        return lines

    def _facts(self, snapshot: Snapshot, is_tall: bool) -> Content:
        progress = snapshot.progress
        facts = []
        if snapshot.is_live and not is_tall:
            facts += _share_words(snapshot)
        elif self._accuracies[0] is not None:
            facts.append(f"accuracy {format_accuracies(*self._accuracies)} % under {self._attacked}")
        if snapshot.is_live:
            if progress.batch:
                facts.append(f"batch {progress.batch}")
            memory = _memory(snapshot)
            if memory and is_tall:
                facts.append(f"{format_bytes(memory)} of memory")
            facts.append(", ".join(gpu_line(gpu) for gpu in snapshot.gpus) or "GPU n/a")
        else:
            if snapshot.elapsed_seconds:
                facts.append(f"took {format_duration(snapshot.elapsed_seconds)}")
            if progress.images_per_second:
                facts.append(format_rate(progress.images_per_second))
        if progress.warnings:
            facts.append(f"{len(progress.warnings)} warnings: {progress.warnings[-1]}")
        return Content("   ".join(facts)).stylize("$foreground 70%")


def _title(snapshot: Snapshot, width: int) -> Content:
    run, status = snapshot.run, snapshot.progress.status
    config = run.config
    device = f"{config.device} x {config.devices}" if config.devices > 1 else config.device
    facts = f"{config.model} on {config.data} {config.split}, {format_count(run.images)} images, {config.size} px"
    long = f"{facts}, {config.precision}, {device}"
    word = f"{STATUS_GLYPHS[status]} {status}"
    room = width - len(run.name) - len(word) - 4
    told = next((text for text in (long, facts, config.model) if len(text) <= room), "")
    left = Content.assemble((run.name, "bold"), f"  {told}")
    gap = " " * max(2, width - left.cell_length - len(word))
    return Content.assemble(left, gap, (word, _STATUS_STYLES.get(status, "bold")))


def _progress_line(snapshot: Snapshot, width: int) -> Content:
    progress = snapshot.progress
    phase = PHASE_WORDS.get(progress.phase, progress.phase)
    counts, times = [], []
    if progress.total:
        counts.append(f"{format_count(progress.done)}/{format_count(progress.total)}")
    if progress.images_per_second:
        counts.append(format_rate(progress.images_per_second))
    if progress.loss is not None:
        counts.append(f"loss {progress.loss:.3f}")
    if snapshot.elapsed_seconds is not None:
        times.append(format_duration(snapshot.elapsed_seconds))
    if progress.seconds_left is not None:
        times.append(f"ETA {format_duration(progress.seconds_left)}")
    text = "  ".join([*counts, *times])
    share = progress.done / progress.total if progress.total else 0.0
    columns = max(8, min(60, width - len(phase) - len(text) - 11))
    return Content.assemble(
        f"{phase:<9} ", bar(share, columns, "$primary"), f" {int(100 * share):3} %  " if progress.total else "  ", text
    )


def _share_words(snapshot: Snapshot) -> list[str]:
    """Where the time goes, in percent."""
    shares = snapshot.progress.shares if snapshot.progress.phase == "run" else None
    return [f"{PARTS.get(part, part)} {100 * share:.0f} %" for part, share in (shares or {}).items()]


def _share_bars(snapshot: Snapshot, width: int) -> list[Content]:
    """The same with bars, on a line of its own; none before the first batch."""
    words = _share_words(snapshot)
    if not words:
        return []
    columns = max(9, min(60, width - 12 - sum(len(word) + 2 for word in words)))
    parts = [Content("time      ")]
    for word, share in zip(words, (snapshot.progress.shares or {}).values(), strict=True):
        parts += [bar(1.0, max(1, round(share * columns)), "$secondary"), Content(f" {word} ")]
    return [Content.assemble(*parts)]


def _last_words(snapshot: Snapshot) -> Content:
    """How far it came, and the next key; where nobody asked it to stop, what the worker said last."""
    progress = snapshot.progress
    lasts = [worker.last for worker in snapshot.workers if worker.last]
    last = max(lasts, key=lambda event: float(event["time"]), default={})
    done = f"{format_count(progress.done)} of {format_count(snapshot.run.images)} images are there"
    style = "$error" if progress.status in ("failed", "lost") else "$warning"
    if progress.status == "stopped" and not last.get("error"):
        return Content.assemble((f"{done}; r resumes", style))
    said = str(last.get("error") or f"last event: {last.get('event', 'none')}")
    return Content.assemble((f"{said}; {done}; r resumes, tab Log tells more", style))


def _memory(snapshot: Snapshot) -> float:
    events = [worker.progress for worker in snapshot.workers if worker.is_alive and worker.progress]
    return max((float(event.get("memory") or 0) for event in events), default=0.0)
