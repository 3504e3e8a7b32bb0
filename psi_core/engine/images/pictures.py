"""A data set of pictures that are decoded when they are asked for, and the processes that decode files.

There is a decoder for each core, and a thread that asks it and waits for its bytes. What another library opens is
decoded in threads, which are given up where they hang.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from queue import SimpleQueue
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from psi_core.decoder import FRAME, UNREADABLE, pixels_of, reason_of
from psi_core.engine.devices import usable_cores
from psi_core.engine.images.dataset import NO_PARTNER, Digest, Pixels, Reading, Unreadable, fingerprint_of
from psi_core.engine.images.waiting import in_threads
from psi_core.errors import DataError
from psi_core.runs.processes import Patience, python_command

_MOST_DECODERS = 16
_MOST_THREADS = 16
_PICTURES_AT_A_TIME = 16

_ENDED = "the process that decoded it ended"
"""Why a picture cannot be read that brought its decoder down."""

_MOST_ENDS = 3
"""How often a process ends over a picture before that is blamed: it may have been ended from outside, or while idle."""

_CLOSE_SECONDS = 5.0


class DecoderPool:
    """Reads files in processes, which start with the first file.

    A picture that brings its process down counts as one that cannot be read; a new process goes on with the others.
    One over which a process hangs is refused: whether it can be read, nobody knows.

    Args:
        decoders: how many processes.
    """

    def __init__(self, decoders: int) -> None:
        self._threads = ThreadPoolExecutor(decoders, "decoder")
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        self._all = [_Decoder() for _ in range(decoders)]
        self._refused: dict[str, str] = {}
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

        Raises:
            DataError: a decoder hung over one of them.
        """
        out = np.empty((len(files), size, size, *((3,) if channels > 1 else ())), np.uint8)
        options = {"size": size, "channels": channels, "resize": resize, "keeps_input_size": keeps_input_size}
        targets = [memoryview(picture.reshape(-1)) for picture in out]
        reasons = [reason for _, reason in self._ask("pixels", files, options, targets)]
        if any(reasons):
            out = out[[reason is None for reason in reasons]]
        return out, reasons

    def digests(self, files: Sequence[str], most: int | None) -> list[tuple[int, bytes] | None]:
        """Length of every file, and SHA-256 of its middle; None for one that cannot be read.

        Args:
            files: paths.
            most: how many bytes of each; None for all.

        Raises:
            DataError: a process hung over one of them.
        """
        found = self._ask("digest", files, {"most": most})
        return [(int.from_bytes(data[:8], "little"), data[8:]) if reason is None else None for data, reason in found]

    def bits(self, files: Sequence[str]) -> list[int]:
        """Bits of the largest value of pictures with more than 8; 0 for others, and for what cannot be read.

        Raises:
            DataError: a decoder hung over one of them.
        """
        return [data[0] if reason is None else 0 for data, reason in self._ask("bits", files, {})]

    def _ask(
        self, do: str, files: Sequence[str], options: dict[str, Any], targets: Sequence[memoryview] = ()
    ) -> list[tuple[bytes, str | None]]:
        """What the processes answer about every file, empty where it goes to its target, and None or the reason."""
        for file in files:
            if file in self._refused:  # Once is enough: what waits for the same disk waits as long.
                raise _hung_error(file, self._refused[file])

        def work(start: int) -> list[tuple[bytes, str | None]]:
            part = slice(start, start + _PICTURES_AT_A_TIME)
            decoder = self._idle.get()
            try:
                return decoder.answers(do, files[part], options, targets[part])
            except _HungError as hung:
                self._refused[hung.file] = hung.reason
                raise _hung_error(hung.file, hung.reason) from None
            finally:
                self._idle.put(decoder)

        groups = self._threads.map(work, range(0, len(files), _PICTURES_AT_A_TIME))
        return [answer for group in groups for answer in group]


class _HungError(Exception):
    """A process was given up over a file."""

    def __init__(self, file: str, reason: str) -> None:
        super().__init__(file)
        self.file = file
        self.reason = reason


def _hung_error(file: str, reason: str) -> DataError:
    return DataError(
        f"data: {file}: the process that read it was given up, since {reason}; look at the file and at the disk that "
        "it lies on, then resume the run, or begin anew"
    )


class _Decoder:
    """One process, started with the first question, and again where it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def answers(
        self, do: str, files: Sequence[str], options: dict[str, Any], targets: Sequence[memoryview]
    ) -> list[tuple[bytes, str | None]]:
        """The answer about every file, empty where it goes to its target, and None or the reason why there is none.

        Raises:
            _HungError: the process neither answered nor ended; it was killed.
        """
        found: list[tuple[bytes, str | None]] = []
        ends = 0
        while len(found) < len(files):
            rest = slice(len(found), None)
            try:
                for answer in self._each(do, files[rest], options, targets[rest]):
                    found.append(answer)
                    ends = 0
            except (EOFError, BrokenPipeError):
                self.end()
                ends += 1
                if ends == _MOST_ENDS:
                    found.append((b"", _ENDED))
                    ends = 0
            except TimeoutError as error:
                self.end()
                raise _HungError(files[len(found)], str(error)) from None
        return found

    def _each(
        self, do: str, files: Sequence[str], options: dict[str, Any], targets: Sequence[memoryview]
    ) -> Iterator[tuple[bytes, str | None]]:
        process = self._running_process()
        question = cast("IO[bytes]", process.stdin)
        question.write(json.dumps({"do": do, "files": list(files), **options}).encode() + b"\n")
        question.flush()
        for place in range(len(files)):
            patience = Patience(process.pid)
            frame = bytearray(FRAME.size)
            self._fill(memoryview(frame), process, patience)
            is_readable, length = FRAME.unpack(frame)
            if is_readable and targets:
                # Bytes go from the pipe to their place in the array, without a copy between.
                self._fill(targets[place], process, patience)
                yield b"", None
                continue
            data = bytearray(length)
            self._fill(memoryview(data), process, patience)
            yield (bytes(data), None) if is_readable else (b"", data.decode("utf-8", errors="replace"))

    @staticmethod
    def _fill(target: memoryview, process: "subprocess.Popen[bytes]", patience: Patience) -> None:
        """Fills `target` with what the process writes.

        Raises:
            EOFError: it wrote less, and ended.
            TimeoutError: it wrote less, and is waited for no longer; says why.
        """
        pipe = cast("IO[bytes]", process.stdout)
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        while target:
            if not ready.poll(1000 * patience.look_seconds):
                if reason := patience.reason():
                    raise TimeoutError(reason)
                continue
            count = os.readv(pipe.fileno(), [target])
            if not count:
                raise EOFError
            target = target[count:]

    def _running_process(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                python_command("psi_core.decoder"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        return self._process

    def end(self) -> None:
        """Ends the process, if there is one. One that a disk holds ends when the disk lets it go."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
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

    def digests(self, positions: NDArray[np.int64], most: int | None = None) -> list[Digest | None] | None:
        """Length and SHA-256 of the files at these positions; None where another library opens them."""
        if not isinstance(self.pictures, tuple):
            return None
        files = [self.pictures[position] for position in positions.tolist()]
        found = iter(decoder_pool().digests([file for file in files if file is not None], most))
        return [None if file is None else next(found) for file in files]

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

        # Pillow releases Python's lock while it decodes and resizes.
        threads = min(_MOST_THREADS, usable_cores())
        found = in_threads(decode, positions.tolist(), self.place_of, threads)
        pixels = [one for one in found if not isinstance(one, str)]
        empty = np.zeros((0, size, size, *((channels,) if channels > 1 else ())), np.uint8)
        return np.stack(pixels) if pixels else empty, [one if isinstance(one, str) else None for one in found]
