"""Finished chunks on their way to the disk, written by a thread while the next one is computed."""

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from psi_core.errors import RunError
from psi_core.runs.chunks import Arrays, chunk_path, write_arrays
from psi_core.runs.event_log import preview_path
from psi_core.runs.seals import Origin, sealed


class ChunkWriter:
    """Writes one chunk at a time, in order; everything is on the disk when the block is left.

    Args:
        directory: the run directory.
        worker: rank of the worker whose preview ends with the chunk.
        origin: what the run's chunks are made by; their seals say so.
    """

    def __init__(self, directory: Path, worker: int, origin: Origin) -> None:
        self._directory = directory
        self._origin = origin
        self._preview = preview_path(directory, worker)
        self._thread = ThreadPoolExecutor(1, "chunk-writer")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        if kind is None:
            self.wait()

    def write(self, number: int, arrays: Arrays, images: Callable[[], Sequence[str]] = tuple) -> None:
        """Begins to write a chunk, once the one before is there.

        Args:
            number: its number.
            arrays: what it holds.
            images: gives digests of its pictures; called in the thread, since it reads files.

        Raises:
            PsiError: the one before could not be written, or its pictures not be read any more.
        """
        self.wait()
        self._under_way = self._thread.submit(self._write, number, arrays, images)

    def wait(self) -> None:
        """Returns when every chunk is on the disk.

        Raises:
            PsiError: one could not be written, or its pictures not be read any more.
        """
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def _write(self, number: int, arrays: Arrays, images: Callable[[], Sequence[str]]) -> None:
        digests = images()
        try:
            write_arrays(chunk_path(self._directory, number), sealed(arrays, self._origin, number, digests))
        except OSError as error:
            raise RunError(
                f"{self._directory}: chunk {number} cannot be written ({error.strerror}); free some disk and resume"
            ) from None
        with contextlib.suppress(OSError):
            self._preview.unlink(missing_ok=True)
