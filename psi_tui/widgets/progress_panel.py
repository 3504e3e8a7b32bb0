"""The head of the results screen: which run, how far, how fast, where its time goes, and how accuracy stands.

Several workers have a line each while they are few, and share lines otherwise.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len, set_cell_size
from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget

from psi_core.plain_text import counted
from psi_core.runs.events import BatchDone, Failed
from psi_tui.runs.gpu import gpu_line
from psi_tui.runs.open_run import Snapshot
from psi_tui.runs.progress import (
    PARTS,
    PHASE_WORDS,
    WorkerProgress,
    count_words,
    most_urgent,
    percent_words,
    rest_words,
    time_words,
)
from psi_tui.text.columns import elided
from psi_tui.text.formatting import format_accuracies, format_bytes, format_count, format_duration, format_rate
from psi_tui.text.runs import STATUS_COLORS, STATUS_GLYPHS, said_parts

_EIGHTHS = " ▏▎▍▌▋▊▉"


def bar(share: float, width: int, style: str, empty: str = "─") -> Content:
    """A bar that is filled to a share of its width.

    Args:
        share: 0..1; what lies outside counts as its nearer end.
        width: in columns.
        style: of the filled part.
        empty: what stands where nothing is filled.
    """
    eighths = round(min(1.0, max(0.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    filled = "█" * full + (_EIGHTHS[rest] if rest else "")
    return Content.assemble((filled, style), (empty * (width - len(filled)), "$foreground 30%"))


_SHORTEST, _LONGEST = 4, 60
"""Columns of a bar."""

_BESIDE_RATE = 10
"""Columns of a bar from which there is room for the rate beside it."""

_GAP = "  "


def worker_lines(workers: Sequence[WorkerProgress], width: int, lines: int) -> list[Content]:
    """At most so many lines, none wider than `width`; none where there are no workers.

    Args:
        workers: of the run.
        width: in columns, 40 or more.
        lines: how many there is room for.
    """
    if not workers:
        return []
    if 1 < lines >= len(workers):
        return _long_lines(workers, width)
    most = lines * (width // len("0 ████ 0 %  "))
    rooms = range(min(len(workers), most), 0, -1)
    tries = ((room, names_broken) for names_broken in (True, False) for room in rooms)
    return next((drawn for each in tries if (drawn := _cells(workers, *each, width, lines))), [])


def _long_lines(workers: Sequence[WorkerProgress], width: int) -> list[Content]:
    """A line for each, in columns: `worker 1  ██████────  62 %  3,100/5,000  320 images/s  12 s left`."""
    counts = _even([count_words(worker) for worker in workers])
    rates = _even([_rate(worker) for worker in workers])
    times = [time_words(worker) for worker in workers]
    texts, columns = times, 0
    for columns_of_text in ((counts, rates, times), (counts, times), (times,)):
        texts = [_GAP.join(filter(None, parts)) for parts in zip(*columns_of_text, strict=True)]
        columns = min(_LONGEST, width - len("worker 00  100 %  ") - max(map(len, texts)))
        if columns >= 2 * _SHORTEST:
            break
    return [
        Content.assemble(
            f"{f'worker {worker.number}':<9} ",
            bar(worker.share_done, max(_SHORTEST, columns), _bar_style(worker)),
            f" {int(100 * worker.share_done):3} %  ",
            (text, _word_style(worker)),
        )
        for worker, text in zip(workers, texts, strict=True)
    ]


def _cells(workers: Sequence[WorkerProgress], room: int, names_broken: bool, width: int, lines: int) -> list[Content]:
    """Lines of cells as wide as each other, `1 ████──  62 %`, of so many workers; empty where they do not fit."""
    shown = most_urgent(workers, room)
    rest = rest_words(workers, shown, names_broken=names_broken)
    in_a_line = -(-len(shown) // lines)
    cell = (width - (len(rest) + len(_GAP) if rest else 0) + len(_GAP)) // in_a_line - len(_GAP)
    digits = len(str(len(workers) - 1))
    words = _even([percent_words(worker) for worker in shown])
    rates = _even([_rate(worker) for worker in shown])
    texts, columns = words, cell - digits - len(words[0]) - 2
    if columns - len(_GAP + rates[0]) >= _BESIDE_RATE:
        texts, columns = list(map(_GAP.join, zip(words, rates, strict=True))), columns - len(_GAP + rates[0])
    if columns < _SHORTEST:
        return []
    drawn = [
        Content.assemble(
            f"{worker.number:{digits}} ",
            bar(worker.share_done, min(_LONGEST, columns), _bar_style(worker)),
            " ",
            (text, _word_style(worker)),
        )
        for worker, text in zip(shown, texts, strict=True)
    ]
    rows = [drawn[start : start + in_a_line] for start in range(0, len(drawn), in_a_line)]
    rows[-1] += [Content(rest)] if rest else []
    return [Content(_GAP).join(row) for row in rows]


def _even(texts: Sequence[str]) -> list[str]:
    """The same texts, all as wide as the widest, so that what stands beside them stays where it is."""
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]


def _rate(worker: WorkerProgress) -> str:
    return format_rate(worker.images_per_second) if worker.images_per_second else ""


def _bar_style(worker: WorkerProgress) -> str:
    return "$error" if worker.is_broken else "$primary"


def _word_style(worker: WorkerProgress) -> str:
    return "bold $error" if worker.is_broken else ""


_SHORTEST_NAME = 20
"""Cells of a run's name that a long name of a model leaves."""

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
        if self._snapshot is not None:
            self._draw()

    def render(self) -> Content:
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
            lines.append(_last_words(snapshot, width))
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
            facts.append(f"{counted(len(progress.warnings), 'warning')}: {progress.warnings[-1]}")
        if is_tall:
            facts += said_parts(snapshot.run.label)
        return Content("   ".join(facts)).stylize("$foreground 70%")


def _title(snapshot: Snapshot, width: int) -> Content:
    run, status = snapshot.run, snapshot.progress.status
    config = run.config
    device = f"{config.device} x {config.devices}" if config.devices > 1 else config.device
    facts = f"{config.model} on {config.data} {config.split}, {counted(run.images, 'image')}, {config.size} px"
    long = f"{facts}, {config.precision}, {device}"
    word = f"{STATUS_GLYPHS[status]} {status}"
    room = width - cell_len(word) - 2
    name = elided(run.name, max(_SHORTEST_NAME, room - cell_len(config.model) - 2))
    room -= cell_len(name) + 2
    model = elided(config.model, max(1, room))
    told = next((text for text in (long, facts) if cell_len(text) <= room), model)
    left = Content.assemble((name, "bold"), f"  {told}")
    gap = " " * max(2, width - left.cell_length - len(word))
    return Content.assemble(left, gap, (word, f"bold ${STATUS_COLORS[status]}" if status in STATUS_COLORS else "bold"))


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


_LEAST_REASON = 36
"""Cells of what a worker said last that how far it came, and the next key, leave."""


def _last_words(snapshot: Snapshot, width: int) -> Content:
    """How far it came, and the next key, always whole; what the worker said last, where nobody asked it to stop."""
    progress = snapshot.progress
    lasts = [worker.last for worker in snapshot.workers if worker.last]
    last = max(lasts, key=lambda event: event.time, default=None)
    error = _without_path(last.error or "", snapshot.run.directory) if isinstance(last, Failed) else ""
    done = f"{format_count(progress.done)} of {format_count(snapshot.run.images)} images are there"
    style = "$error" if progress.status in ("failed", "lost") else "$warning"
    if progress.status == "queued":
        return Content.assemble(("no worker has begun; r starts one here", style))
    if progress.status == "stopped" and not error:
        return Content.assemble((f"{done}; r resumes", style))
    reason = error or f"last event: {last.kind if last else 'none'}"
    ends = (f"{done}; r resumes, tab Log tells more", f"{done}; r resumes")
    end = next((text for text in ends if cell_len(text) + 2 + min(_LEAST_REASON, cell_len(reason)) <= width), ends[-1])
    room = max(_LEAST_REASON // 2, width - cell_len(end) - 2)
    said = reason if cell_len(reason) <= room else f"{set_cell_size(reason, room - 1).rstrip()}…"
    return Content.assemble((f"{said}; {end}", style))


def _without_path(sentence: str, directory: Path) -> str:
    """A sentence without the path of the run that it stands below, also as another machine has it."""
    return re.sub(rf"(?:{re.escape(str(directory))}|\S*/{re.escape(directory.name)})(?:: |/)", "", sentence)


def _memory(snapshot: Snapshot) -> float:
    batches = [worker.progress for worker in snapshot.workers if worker.is_alive]
    return max((batch.memory or 0.0 for batch in batches if isinstance(batch, BatchDone)), default=0.0)
