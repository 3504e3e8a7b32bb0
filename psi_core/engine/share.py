"""A worker's share of a run: how far it is, how fast."""

import time

from psi_core.chunks import chunk_range, share_of
from psi_core.runs import Run


class ShareProgress:
    """Images of this worker's share: done before it started, done since, and how fast."""

    def __init__(self, run: Run, number: int, workers: int, finished: list[int]) -> None:
        assert isinstance(run.config.chunk, int), "a run's configuration is resolved"
        self.chunk_images = run.config.chunk
        share = share_of(number, workers, run.chunks)
        sizes = {chunk: len(chunk_range(chunk, run.images, self.chunk_images)) for chunk in share}
        self.total = sum(sizes.values())
        self._before = sum(sizes[chunk] for chunk in share if chunk in set(finished))
        self._finished = 0
        self.open = 0
        self._started = time.monotonic()

    @property
    def is_complete(self) -> bool:
        """Whether every chunk of the share is written."""
        return self.open == 0 and self.done == self.total

    @property
    def done(self) -> int:
        """Images of the share that are through, those of the open chunk too."""
        return self._before + self._finished + self.open

    @property
    def images_per_second(self) -> float:
        """Since this worker began."""
        return (self._finished + self.open) / max(1e-9, time.monotonic() - self._started)

    def advance(self, images: int) -> None:
        """Takes note that so many images of the open chunk are through."""
        self.open = images

    def finish(self, images: int) -> None:
        """Takes note that a chunk of so many images is written."""
        self._finished, self.open = self._finished + images, 0
        self.total = max(self.total, self.done)
