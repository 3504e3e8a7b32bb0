"""Lines that show how far each of several workers is: a line for each of a few, else several on a line."""

from collections.abc import Sequence

from textual.content import Content

from psi_tui.formatting import format_rate
from psi_tui.widgets.bars import bar
from psi_tui.worker_progress import WorkerProgress, most_urgent
from psi_tui.worker_words import count_words, percent_words, rest_words, time_words

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
