"""Chunks computed again and compared with those of a run: bit by bit, or within rounding.

Bits agree on a device of the run's kind, in batches of the run's size; memory that ran out made them smaller.
"""

import itertools
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.devices import Device
from psi_core.engine.again.run_images import reopen
from psi_core.engine.devices import (
    MEMORY_ERRORS,
    available_device,
    cpu_threads,
    current_device,
    describe_device,
    is_out_of_memory,
)
from psi_core.engine.kernels import sums_on
from psi_core.engine.precision import precision
from psi_core.engine.work.chunk_maker import make_chunk_maker
from psi_core.errors import PsiError, first_of
from psi_core.plain_text import counted
from psi_core.runs.chunks import Arrays, share_of
from psi_core.runs.event_log import EventReader, events_path, worker_numbers
from psi_core.runs.events import BatchDone, Started, Warned
from psi_core.runs.run import Run
from psi_core.runs.verification import Verified

_ELSEWHERE_IMAGES = 64
"""Images of a chunk that are computed again on another kind of device, where bits cannot agree anyway."""

ROUNDING = 1e-4
"""How far the PSI of benign images may lie apart on another kind of device, or in smaller batches."""


def recompute(run: Run, numbers: list[int]) -> list[Verified]:
    """What computing some finished chunks of a run again finds, one part a chunk.

    Nothing is fitted, downloaded or written. Where weights or images are not at hand, nothing could be checked.
    """
    device = available_device(run.config.device)
    try:
        prepared = reopen(run, device).with_axes_of(run.layer_infos)
    except PsiError as error:
        return [Verified("computed again", "not checked", str(error))]
    maker, other = make_chunk_maker(run.config, prepared, device), _other_device(run, device)
    in_smaller, found = _made_in_smaller_batches(run), []
    try:
        with cpu_threads(run.config.threads), current_device(device), precision(run.config.precision, device):
            for number, following in itertools.zip_longest(numbers, numbers[1:]):
                positions = run.chunk_positions(number)
                after = None if following is None or other else run.chunk_positions(following)
                try:
                    theirs = run.read_chunk(number)
                except PsiError as error:
                    found.append(Verified(f"chunk {number} again", "wrong", str(error)))
                    continue
                positions = positions[:_ELSEWHERE_IMAGES] if other else positions
                try:
                    ours = maker.make(positions, lambda _chunk: None, lambda _before, _after: None, after)
                except (PsiError, *MEMORY_ERRORS) as error:
                    if not isinstance(error, PsiError) and not is_out_of_memory(error):
                        raise
                    found.append(Verified(f"chunk {number} again", "not checked", str(error)))
                    continue
                is_smaller = maker.batch < run.config.batch or number in in_smaller
                found.append(_compared(number, ours, theirs, other, is_smaller=is_smaller))
    finally:
        maker.leave()
    return found


def _other_device(run: Run, device: Device) -> str:
    """What the run was made on, where that is not in every start what computes here; empty where it is.

    No chunk says which start it was made in.
    """
    logs = (EventReader(events_path(run.directory, number)) for number in worker_numbers(run.directory))
    started = [event for log in logs for event in log.events() if isinstance(event, Started)]
    here = describe_device(device)
    mine = here["device_name"], here["torch"], sums_on(device)
    started = [event for event in started if event.torch is not None]  # Others ended before they had a device.
    others = [event for event in started if (event.device_name, event.torch, event.sums) != mine]
    if started and not others:
        return ""
    return (
        first_of(
            [*{f"{event.device_name or 'an unknown device'}, torch {event.torch}": None for event in others}],
            between=" and ",
        )
        or "an unknown device"
    )


def _made_in_smaller_batches(run: Run) -> set[int]:
    """Chunks that a worker may have made after memory ran out, in batches smaller than the run's."""
    found: set[int] = set()
    for number in worker_numbers(run.directory):
        first, workers = None, 1
        for event in EventReader(events_path(run.directory, number)).events():
            if isinstance(event, Started):
                first, workers = None, event.workers or 1
            elif isinstance(event, Warned) and event.batch is not None and event.chunks:
                first = event.chunks[0] if first is None else first
                found |= {each for each in share_of(number, workers, run.chunks) if each >= first} | {*event.chunks}
            elif isinstance(event, BatchDone) and first is not None and event.chunk is not None:
                found.add(event.chunk)  # One that it took over from another.
    return found


def _compared(number: int, ours: Arrays, theirs: Arrays, other: str, *, is_smaller: bool) -> Verified:
    name, images = f"chunk {number} again", len(ours["index"])
    if not np.array_equal(ours["index"], theirs["index"][:images]):
        return Verified(name, "wrong", "its images are others than those that are read now")
    apart = largest_difference(ours["psi"][0], theirs["psi"][0][..., :images])
    if other or is_smaller:
        same = 100 * float((ours["prediction"] == theirs["prediction"][..., :images]).mean())
        made = f"made on {other}" if other else "once in smaller batches, since memory ran out"
        where = "on the device that made them" if other else "in batches of one size"
        words = (
            f"{counted(images, 'image')}, {made}: benign PSI within {apart:.1e}, {same:.1f} % of the predictions "
            f"the same; bits are compared only {where}"
        )
        return Verified(name, "right" if apart <= ROUNDING else "wrong", words)
    differing = sorted(key for key in ours if key not in theirs or not _is_same(ours[key], theirs[key]))
    if differing:
        words = f"other bits in {first_of(differing)}; benign PSI differs by at most {apart:.1e}"
        return Verified(name, "wrong", words)
    return Verified(name, "right", f"{counted(images, 'image')}: the same bits in all {len(ours)} arrays")


def _is_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """The largest difference; infinite where only one of them is NaN."""
    if not np.array_equal(np.isnan(one), np.isnan(other)):
        return float("inf")
    return float(np.max(np.abs(np.nan_to_num(one) - np.nan_to_num(other)), initial=0))


def recomputed_rows(run: Run, numbers: list[int]) -> list[dict[str, str]]:
    """The same, as JSON holds it."""
    return [asdict(each) for each in recompute(run, numbers)]
