"""A data set of pictures that are decoded when they are asked for, and the processes that decode files.

There is a decoder for each core, and a thread that asks it and waits for its bytes. What another library opens is
decoded in threads.
"""

import atexit
import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.decoder import UNREADABLE, pixels_of, reason_of
from psi_core.engine.devices import usable_cores
from psi_core.engine.images.dataset import NO_PARTNER, Pixels, Reading, Stored, Unreadable, fingerprint_of
from psi_core.engine.images.npz_rows import middle
from psi_core.runs.processes import python_command

_MOST_DECODERS = 16
_MOST_THREADS = 16
_PICTURES_AT_A_TIME = 16

_ENDED = "the process that decoded it ended"
"""Why a picture cannot be read that brought its decoder down."""


class DecoderPool:
    """Decodes files in processes, which start with the first file.

    A picture that brings its process down counts as one that cannot be read; a new process goes on with the others.

    Args:
        decoders: how many processes.
    """

    def __init__(self, decoders: int) -> None:
        self._threads = ThreadPoolExecutor(decoders, "decoder")
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        self._all = [_Decoder() for _ in range(decoders)]
        for decoder in self._all:
            self._idle.put(decoder)

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown()
        for decoder in self._all:
            decoder.end()

    def decode(
        self, files: Sequence[str], size: int, channels: int, resize: int | None, *, keeps_input_size: bool
    ) -> tuple[NDArray[np.uint8], list[str | None]]:
        """The pictures that can be read, and for every file None or the reason why it cannot.

        Args:
            files: paths.
            size: size of the network's input, in pixels.
            channels: channels of that input.
            resize: shorter edge before the center is cut out, or None for `size`.
            keeps_input_size: whether a picture of `size` is left as it is.

        Returns:
            uint8 (image, size, size), or (image, size, size, 3) where the network takes color, and the reasons.
        """
        out = np.empty((len(files), size, size, *((3,) if channels > 1 else ())), np.uint8)
        options = {"size": size, "channels": channels, "resize": resize, "keeps_input_size": keeps_input_size}

        def work(start: int) -> list[str | None]:
            stop = min(start + _PICTURES_AT_A_TIME, len(files))
            decoder = self._idle.get()
            try:
                return decoder.answer(files[start:stop], options, out[start:stop])
            finally:
                self._idle.put(decoder)

        groups = self._threads.map(work, range(0, len(files), _PICTURES_AT_A_TIME))
        reasons = [reason for group in groups for reason in group]
        if any(reasons):
            out = out[[reason is None for reason in reasons]]
        return out, reasons


class _Decoder:
    """One process, started with the first question, and again where it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, files: Sequence[str], options: dict[str, Any], out: NDArray[np.uint8]) -> list[str | None]:
        """Fills `out` with the pictures that can be read; for every file None, or the reason why it cannot."""
        for _ in range(2):  # The process may have been ended from outside: the first time, no picture is blamed.
            try:
                return self._decode(files, options, out)
            except (EOFError, BrokenPipeError):
                self.end()
            if len(files) > 1:
                return [self.answer(files[i : i + 1], options, out[i : i + 1])[0] for i in range(len(files))]
        return [_ENDED]

    def _decode(self, files: Sequence[str], options: dict[str, Any], out: NDArray[np.uint8]) -> list[str | None]:
        process = self._running_process()
        question, answer = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        question.write(json.dumps({"files": list(files), **options}).encode() + b"\n")
        question.flush()
        line = answer.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        reasons: list[str | None] = json.loads(line)
        for place, reason in enumerate(reasons):
            if reason is None:
                # Bytes go from the pipe to their place in the array, without a copy between.
                target = memoryview(out[place].reshape(-1))
                if answer.readinto(target) < len(target):  # type: ignore[attr-defined]
                    raise EOFError
        return reasons

    def _running_process(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                python_command("psi_core.decoder"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process

    def end(self) -> None:
        """Ends the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                with contextlib.suppress(BrokenPipeError):  # A question still in the pipe is asked again elsewhere.
                    cast("IO[bytes]", pipe).close()
        self._process = None


@cache
def decoder_pool() -> DecoderPool:
    """This process's pool, with its share of the cores where several workers are on this machine."""
    workers = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    pool = DecoderPool(max(1, min(_MOST_DECODERS, usable_cores() // workers)))
    atexit.register(pool.close)
    return pool


@dataclass(frozen=True, slots=True)
class PictureDataset:
    """Pictures of any size: files, or what another library opens.

    Attributes:
        name: as the run's configuration names it.
        labels: int64 (image,).
        class_names: one per class.
        pictures: path of the file at every position, None where there is none; or a function that gives the picture at
            a position, and raises where it cannot.
        places: name of every picture for people: its path below the folder.
        resize: shorter edge before the center is cut out, or None for the network's input size.
        keeps_input_size: whether a picture of the network's input size is left as it is, whatever `resize` says.
        empty_classes: folders of classes in which there is no picture.
    """

    name: str
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    pictures: tuple[str | None, ...] | Callable[[int], Image.Image]
    places: tuple[str, ...]
    resize: int | None
    keeps_input_size: bool = False
    empty_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, positions: NDArray[np.int64], size: int, channels: int) -> Reading:
        """Pictures at these positions: bytes (image, size, size), with 3 channels behind for a network with color."""
        if isinstance(self.pictures, tuple):
            pixels, reasons = self._decode_files(self.pictures, positions, size, channels)
        else:
            pixels, reasons = self._decode_opened(self.pictures, positions, size, channels)
        unreadable = (
            Unreadable(int(position), self.place_of(int(position)), reason)
            for position, reason in zip(positions, reasons, strict=True)
            if reason is not None
        )
        return Reading(pixels, tuple(unreadable))

    def stored(self, positions: NDArray[np.int64], most: int | None = None) -> Iterator[Stored | None] | None:
        """Bytes of the files at these positions; None where another library opens them."""
        if not isinstance(self.pictures, tuple):
            return None
        paths = self.pictures
        return _decoder_threads().map(lambda position: _stored(paths[position], most), positions.tolist())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the pictures' names and labels; the files themselves are not read."""
        names = os.fsencode("\n".join(self.places))  # Names may hold bytes that are no UTF-8.
        return fingerprint_of(np.frombuffer(names, np.uint8), self.labels)

    def place_of(self, position: int) -> str:
        """Name of one picture for people."""
        return self.places[position]

    def with_classes(self, labels: NDArray[np.int64], class_names: tuple[str, ...]) -> "PictureDataset":
        """The same pictures under other class numbers."""
        return replace(self, labels=labels, class_names=class_names)

    def _decode_files(
        self, paths: tuple[str | None, ...], positions: NDArray[np.int64], size: int, channels: int
    ) -> tuple[Pixels, list[str | None]]:
        files = [paths[position] for position in positions]
        there = [file for file in files if file is not None]
        pool = decoder_pool()
        pixels, found = pool.decode(there, size, channels, self.resize, keeps_input_size=self.keeps_input_size)
        reasons = iter(found)
        return pixels, [NO_PARTNER if file is None else next(reasons) for file in files]

    def _decode_opened(
        self, open_picture: Callable[[int], Image.Image], positions: NDArray[np.int64], size: int, channels: int
    ) -> tuple[Pixels, list[str | None]]:
        def decode(position: int) -> NDArray[np.uint8] | str:
            try:
                with open_picture(position) as image:
                    return pixels_of(image, size, channels, self.resize, keeps_input_size=self.keeps_input_size)
            except UNREADABLE as error:
                return reason_of(error)

        found = list(_decoder_threads().map(decode, positions.tolist()))
        pixels = [one for one in found if not isinstance(one, str)]
        empty = np.zeros((0, size, size, *((channels,) if channels > 1 else ())), np.uint8)
        return np.stack(pixels) if pixels else empty, [one if isinstance(one, str) else None for one in found]


def _stored(path: str | None, most: int | None) -> Stored | None:
    """Length of a file, and all or some of its bytes; None where there is nothing to read."""
    if path is None:
        return None
    try:
        with Path(path).open("rb", buffering=0) as file:
            length = os.fstat(file.fileno()).st_size
            part = middle(length, most)
            file.seek(part.start)
            return (length, file.read(part.stop - part.start)) if length else None
    except OSError:
        return None


@cache
def _decoder_threads() -> ThreadPoolExecutor:
    """Threads for what another library opens: Pillow releases Python's lock while it decodes and resizes."""
    return ThreadPoolExecutor(min(_MOST_THREADS, usable_cores()), "decoder")
