"""Liu's preset image by image: a run's images once more through its own step, each channel's means by the yardstick.

What can be asked, and the rows of what comes out, live in `psi_core.tables.liu`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from psi_core.engine.again.run_images import reopen
from psi_core.engine.devices import available_device, cpu_threads, current_device, device_note
from psi_core.engine.precision import precision
from psi_core.engine.recompute import ROUNDING, largest_difference
from psi_core.engine.work.chunk_maker import ChunkMaker, make_chunk_maker
from psi_core.engine.work.open_chunk import OpenChunk
from psi_core.errors import RunError
from psi_core.runs.chunks import Arrays
from psi_core.runs.events import AblationAdvanced, Warned
from psi_core.runs.run import Run
from psi_core.statistics.classes import liu_sparseness
from psi_core.tables.liu import LiuRequest, LiuResult, LiuValues, liu_result, yardstick

Tell = Callable[[AblationAdvanced | Warned], None]
"""Receives progress and warnings."""


def liu(run: Run, request: LiuRequest, tell: Tell, is_interrupted: Callable[[], bool]) -> LiuResult:
    """Computes images of a run again, and gives the rows of Liu's preset image by image.

    Nothing is fitted, downloaded or kept.

    Args:
        run: a run with finished chunks.
        request: what is asked of it.
        tell: receives progress and warnings.
        is_interrupted: asked after every batch.

    Raises:
        PsiError: weights or images are missing, or what comes out is not what the run measured.
        KeyboardInterrupt: it was interrupted.
    """
    return liu_result(run, request, liu_values(run, request, tell, is_interrupted))


def liu_values(
    run: Run,
    request: LiuRequest,
    tell: Tell = lambda _: None,
    is_interrupted: Callable[[], bool] = lambda: False,
) -> LiuValues:
    """What `liu` computes, an array a value."""
    device = available_device(run.config.device)
    if note := device_note(run.config.device, device):
        tell(Warned(note))
    prepared = reopen(run, device).with_axes_of(run.layer_infos)
    maker = make_chunk_maker(run.config, prepared, device, request.conditions)
    with cpu_threads(run.config.threads), current_device(device), precision(run.config.precision, device):
        try:
            return _ImagesAgain(run, request, maker, tell, is_interrupted).values()
        finally:
            maker.leave()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is wanted of one chunk.

    Attributes:
        number: of the chunk.
        arrays: what its file holds.
        count: how many of its images are asked for, the first ones.
        positions: of those that are computed.
    """

    number: int
    arrays: Arrays
    count: int
    positions: NDArray[np.int64]


class _ImagesAgain:
    """One computation under way.

    Args:
        run: the run.
        request: what is asked of it.
        maker: makes its chunks, of the conditions asked for.
        tell: receives progress and warnings.
        is_interrupted: asked after every batch.
    """

    def __init__(
        self, run: Run, request: LiuRequest, maker: ChunkMaker, tell: Tell, is_interrupted: Callable[[], bool]
    ) -> None:
        self._run, self._request, self._maker = run, request, maker
        self._tell, self._is_interrupted = tell, is_interrupted
        self._yardsticks = [yardstick(run, layer, request.across) for layer in run.layer_infos]
        self._places = [run.conditions.index(each.name) for each in request.conditions]
        self._done, self._began = 0, time.monotonic()

    def values(self) -> LiuValues:
        """Chunk by chunk, as far as images are asked for."""
        parts, apart, same = [], 0.0, []
        every_chunk = self._wanted()
        wanted = next(every_chunk, None)
        while wanted is not None:
            after = next(every_chunk, None)
            sparseness, ours = self._chunk(wanted, None if after is None else after.positions)
            theirs, count = wanted.arrays, wanted.count
            if not np.array_equal(ours["index"][:count], theirs["index"][:count]):
                raise RunError(f"{self._run.name}: other images of chunk {wanted.number} can be read now; {_LOOK}")
            apart = max(apart, self._apart(ours["psi"][0, :, :count], theirs["psi"][0, :, :count]))
            prediction = ours["prediction"][:, :count]
            same.append(prediction == theirs["prediction"][self._places, :count])
            parts.append((sparseness, theirs["label"][:count], prediction))
            wanted = after
        every, labels, predictions = (np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))
        same_percent = 100 * float(np.concatenate(same, axis=-1).mean())
        return LiuValues(every[0], every[1], labels, predictions, apart, same_percent)

    def _wanted(self) -> "Iterator[_Wanted]":
        left = self._request.images
        for number in self._run.finished_chunks:
            if left <= 0:
                return
            arrays = self._run.read_chunk(number)
            count = min(left, len(arrays["index"]))
            yield _Wanted(number, arrays, count, self._whole_batches(arrays["index"], count))
            left -= count

    def _whole_batches(self, index: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Positions of the first images, and of those whose batch or pair they need: some attacks go by these."""
        conditions, batch = self._request.conditions, self._run.config.batch
        unit = batch if any(each.is_foolbox for each in conditions) else 2 if batch > 1 else 1
        return index[: -(-count // unit) * unit]

    def _chunk(
        self, wanted: "_Wanted", following: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float64], dict[str, NDArray[Any]]]:
        """Frozen and live values, float64 (2, condition, layer, image), and the arrays of a chunk of these images."""
        positions, count = wanted.positions, wanted.count
        shape = len(self._request.conditions), len(self._yardsticks), len(positions)
        found = np.full((2, *shape), np.nan)

        def take(rows: slice, means: Sequence[Sequence[Tensor]]) -> None:
            for place in np.ndindex(shape[:2]):
                responses = means[place[0]][place[1]].cpu().numpy()
                for kind, drops_dead in enumerate((False, True)):
                    found[kind, *place, rows] = liu_sparseness(
                        responses, self._yardsticks[place[1]], drops_dead=drops_dead
                    )

        before = self._done

        def advance(chunk: OpenChunk) -> None:
            self._advance(before + min(chunk.done, count))

        arrays = self._maker.make(positions, advance, self._say_smaller, following, take)
        return found[..., :count], arrays

    def _advance(self, done: int) -> None:
        if self._is_interrupted():
            raise KeyboardInterrupt
        self._done = done
        rate = self._done / max(1e-9, time.monotonic() - self._began)
        self._tell(AblationAdvanced("run", self._done, self._request.images, rate))

    def _say_smaller(self, before: int, after: int) -> None:
        self._tell(Warned(f"out of memory: batch {before} -> {after}"))

    def _apart(self, ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
        """How far the benign PSI of a chunk is from the run's.

        Raises:
            RunError: further than rounding.
        """
        apart = largest_difference(ours, theirs)
        if apart > ROUNDING:
            raise RunError(
                f"{self._run.name}: its benign PSI comes out otherwise here, by up to {apart:.1e}, so that these are "
                f"not the images or weights it measured; {_LOOK}"
            )
        return apart


_LOOK = "psi-tui verify RUN --recompute 1 tells more"
