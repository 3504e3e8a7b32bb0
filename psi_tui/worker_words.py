"""Words for the workers of a run: what a shell and the app say of each beside its bar."""

from collections import Counter
from collections.abc import Sequence

from psi_tui.formatting import format_count, format_duration
from psi_tui.progress import PHASE_WORDS
from psi_tui.worker_progress import WorkerProgress


def state_words(worker: WorkerProgress) -> str:
    """What it is about where that is not its share, `lost` or `loading`; empty while it measures its share."""
    if worker.state != "running":
        return worker.state
    return "" if worker.phase == "run" else PHASE_WORDS.get(worker.phase, worker.phase)


def time_words(worker: WorkerProgress) -> str:
    """`12 s left`, or what it is about instead."""
    left = worker.seconds_left
    return state_words(worker) or ("" if left is None else f"{format_duration(left)} left")


def percent_words(worker: WorkerProgress) -> str:
    """`62 %`, or what it is about instead."""
    return state_words(worker) or f"{int(100 * worker.share_done)} %"


def count_words(worker: WorkerProgress) -> str:
    """`3,100/5,000`, images of its share."""
    return f"{format_count(worker.done)}/{format_count(worker.total)}"


def rest_words(workers: Sequence[WorkerProgress], shown: Sequence[WorkerProgress], *, names_broken: bool = True) -> str:
    """`and 4 more, 1 lost`: those without room, and which of them are broken; empty where all are shown."""
    numbers = {worker.number for worker in shown}
    rest = [worker for worker in workers if worker.number not in numbers]
    broken = Counter(worker.state for worker in rest if worker.is_broken and names_broken)
    what = f"and {len(rest)} more" if shown else f"{len(rest)} workers"
    return ", ".join([what, *(f"{count} {state}" for state, count in broken.items())]) if rest else ""
