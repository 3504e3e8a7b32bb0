"""Images read before they are asked for: a thread brings the next batches, also of the next chunk, onto the device."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.devices import MEMORY_ERRORS, enter_device, is_out_of_memory
from psi_core.engine.images import Unreadable, unreadable_error
from psi_core.engine.images.inputs import Readable

_PIECES_AHEAD = 2
"""Batches that are read or being read while one is computed: memory does not grow with the chunk or the data set."""


@dataclass(frozen=True, slots=True)
class Images:
    """Some images of a chunk.

    Attributes:
        positions: in the data set, (image,).
        pixels: pixels of every source, (image, ...), as read: bytes, or floats in 0..1; on the device.
    """

    positions: NDArray[np.int64]
    pixels: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.positions)

    def rows(self, start: int, stop: int) -> "Images":
        """Those from `start` to before `stop`."""
        return Images(self.positions[start:stop], tuple(each[start:stop] for each in self.pixels))


@dataclass(frozen=True, slots=True)
class _Piece:
    """A batch that was read.

    Attributes:
        images: those that could be read, from every source.
        unreadable: the others.
        uploaded: marks the end of copying them to a CUDA device; None where they are not copied yet.
    """

    images: Images
    unreadable: tuple[Unreadable, ...]
    uploaded: "torch.cuda.Event | None"


class ChunkImages:
    """The images of one chunk, batch by batch, those that cannot be read left out.

    Args:
        positions: positions of its images in the data set.
        next_piece: gives the piece of this chunk that was read next, or None where none is left.
    """

    def __init__(self, positions: NDArray[np.int64], next_piece: "Callable[[ChunkImages], _Piece | None]") -> None:
        self.positions = positions
        self._next_piece = next_piece
        self._ready: deque[Images] = deque()
        self._skipped: list[Unreadable] = []

    def take(self, count: int) -> Images | None:
        """The next images: so many, fewer at the end; None after that.

        Where the device has no memory left for them, they can be taken again.

        Raises:
            DataError: one of them cannot be read, and is not to be left out.
            RuntimeError: the device has no memory left for them.
        """
        while sum(map(len, self._ready)) < count and (piece := self._next_piece(self)) is not None:
            self._skipped += piece.unreadable
            if len(piece.images):
                self._ready.append(piece.images)
        if not self._ready:
            return None
        parts, missing = [], count
        while missing and self._ready:
            part = self._ready.popleft()
            if len(part) > missing:
                self._ready.appendleft(part.rows(missing, len(part)))
                part = part.rows(0, missing)
            parts.append(part)
            missing -= len(part)
        try:
            return _concatenated(parts)
        except MEMORY_ERRORS:
            self._ready.extendleft(reversed(parts))
            raise

    def put_back(self, images: Images) -> None:
        """Gives back images that were taken and not used; they are the next to be taken."""
        self._ready.appendleft(images)

    def take_skipped(self) -> list[Unreadable]:
        """The images left out since the last call."""
        skipped, self._skipped = self._skipped, []
        return skipped


class ReadAhead:
    """The images of one chunk after another, read by a thread before they are asked for.

    Args:
        sources: the data set, and the images attacked elsewhere where there are any.
        size: size of the network's input, in pixels.
        channels: channels of that input.
        device: device that receives the images.
        skips_unreadable: whether images that a source cannot read are left out.

    Attributes:
        announced: the chunk that is likely opened next; its images may be taken once the open chunk has none left.
    """

    def __init__(
        self, sources: Sequence[Readable], size: int, channels: int, device: Device, *, skips_unreadable: bool
    ) -> None:
        self._sources = sources
        self._size = size
        self._channels = channels
        self._device = torch.device(device)
        self._skips_unreadable = skips_unreadable
        self._thread = ThreadPoolExecutor(1, "read-ahead", enter_device, (device,))
        self._stream: torch.cuda.Stream | None = None
        if self._device.type == "cuda":
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._planned: deque[tuple[ChunkImages, NDArray[np.int64]]] = deque()
        self._under_way: deque[tuple[ChunkImages, NDArray[np.int64], Future[_Piece]]] = deque()
        self.announced: ChunkImages | None = None

    def open(self, positions: NDArray[np.int64], batch: int, following: NDArray[np.int64] | None = None) -> ChunkImages:
        """A chunk: the one that was announced, as far as it was read, where it has these positions.

        What was read ahead of other chunks is dropped, and so is what is left of the one that was open.

        Args:
            positions: positions of its images in the data set.
            batch: how many will be taken at a time.
            following: positions of the chunk after it, where it is known: it is announced.
        """
        chunk, self.announced = self.announced, None
        if chunk is not None and not np.array_equal(chunk.positions, positions):
            chunk = None
        for queue in (self._under_way, self._planned):
            while queue and queue[0][0] is not chunk:
                queue.popleft()
        if chunk is None:
            chunk = self._planned_chunk(positions, batch)
        if following is not None:
            self.announced = self._planned_chunk(following, batch)
        self._read_on()
        return chunk

    def forget(self) -> None:
        """Drops every chunk, the open one too."""
        self.announced = None
        self._planned.clear()
        self._under_way.clear()

    def forget_announced(self) -> None:
        """Drops the chunk that was announced: opened, it is read from its beginning."""
        if self.announced is not None:
            for queue in (self._under_way, self._planned):
                while queue and queue[-1][0] is self.announced:
                    queue.pop()
            self.announced = None

    def resize(self, batch: int) -> None:
        """Reads so many images at a time from now on, also those that were read in larger pieces and not taken yet."""
        waiting = [*((chunk, positions) for chunk, positions, _ in self._under_way), *self._planned]
        for *_, reading in self._under_way:
            reading.cancel()
        self._under_way.clear()
        self._planned.clear()
        for chunk, positions in waiting:
            self._plan(chunk, positions, batch)

    def read(self, positions: NDArray[np.int64]) -> Images:
        """Images at these positions, out of turn; what cannot be read is left out as for a chunk."""
        return self._on_device(self._read_piece(positions))

    def _planned_chunk(self, positions: NDArray[np.int64], batch: int) -> ChunkImages:
        chunk = ChunkImages(positions, self._next_piece)
        self._plan(chunk, positions, batch)
        return chunk

    def _plan(self, chunk: ChunkImages, positions: NDArray[np.int64], batch: int) -> None:
        self._planned.extend((chunk, positions[start : start + batch]) for start in range(0, len(positions), batch))

    def _next_piece(self, chunk: ChunkImages) -> _Piece | None:
        self._read_on()
        if not self._under_way or self._under_way[0][0] is not chunk:
            return None
        _, positions, reading = self._under_way[0]
        try:
            piece = reading.result()
        except MEMORY_ERRORS:  # It may be asked for again, when there is more memory.
            self._under_way[0] = chunk, positions, self._thread.submit(self._read_piece, positions)
            raise
        images = self._on_device(piece)
        self._under_way.popleft()
        self._read_on()
        return _Piece(images, piece.unreadable, None)

    def _read_on(self) -> None:
        while self._planned and len(self._under_way) < _PIECES_AHEAD:
            chunk, positions = self._planned.popleft()
            self._under_way.append((chunk, positions, self._thread.submit(self._read_piece, positions)))

    def _read_piece(self, positions: NDArray[np.int64]) -> _Piece:
        """Images at these positions that every source can read. Runs in the thread."""
        left_out: dict[int, Unreadable] = {}
        while True:
            readings = [source.read(positions, self._size, self._channels) for source in self._sources]
            found = [each for reading in reversed(readings) for each in reading.unreadable]
            unreadable = {each.position: each for each in found}  # Of two reasons, the benign image's counts.
            if unreadable and not self._skips_unreadable:
                raise unreadable_error(next(iter(unreadable.values())))
            if not unreadable:
                break
            left_out |= unreadable
            positions = positions[~np.isin(positions, list(unreadable))]
        pixels, event = self._upload([torch.from_numpy(reading.pixels) for reading in readings])
        return _Piece(Images(positions, tuple(pixels)), tuple(left_out.values()), event)

    def _upload(self, pixels: list[Tensor]) -> tuple[list[Tensor], "torch.cuda.Event | None"]:
        """Pixels on the device, copied in a stream of their own, so that copying and computing overlap."""
        if self._stream is None:
            return pixels, None
        try:
            with torch.cuda.stream(self._stream):
                moved = [each.pin_memory().to(self._device, non_blocking=True) for each in pixels]
                event = torch.cuda.Event()  # type: ignore[no-untyped-call]
                event.record(self._stream)
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            return pixels, None  # `take` copies them again, and its caller may then compute fewer at a time.
        return moved, event

    def _on_device(self, piece: _Piece) -> Images:
        """The piece's images on the device, once the current stream may use them."""
        if piece.uploaded is None:
            return Images(piece.images.positions, tuple(each.to(self._device) for each in piece.images.pixels))
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(piece.uploaded)
        for each in piece.images.pixels:
            each.record_stream(stream)
        return piece.images


def _concatenated(parts: Sequence[Images]) -> Images:
    if len(parts) == 1:
        return parts[0]
    pixels = tuple(torch.cat(each) for each in zip(*(part.pixels for part in parts), strict=True))
    return Images(np.concatenate([part.positions for part in parts]), pixels)
