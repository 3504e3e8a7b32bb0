"""Whether a worker has the images and the code that the run began with: their numbers must not be mixed in one run.

Files of pictures are known by name alone until they are read, and a network's code by nothing. So each chunk keeps a
digest of its first pictures, and `model.json` the logits of the run's first images.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from psi_core.devices import Device
from psi_core.engine.images.inputs import Readable
from psi_core.engine.images.pictures import PictureDataset
from psi_core.engine.work.chunk_maker import ChunkMaker
from psi_core.errors import DataError, ModelError, RunError
from psi_core.runs.chunks import chunk_path
from psi_core.runs.run import Run
from psi_core.runs.seals import read_seal

_PICTURES = 100
"""Pictures of a chunk whose bytes are kept as a digest."""

_CHUNKS = 5
"""Chunks whose pictures are read again when a worker begins."""

_IMAGES, _CLASSES = 4, 32
"""Images whose logits are kept, and how many of each."""

_APART = {"exact": 1e-3, "tf32": 3e-2, "bf16": 1e-1}
"""How far logits may lie apart on one kind of device, as a share of the largest of them, by precision."""


def picture_digests(sources: Sequence[Readable], positions: NDArray[np.int64]) -> list[str]:
    """SHA-256 over the files of a chunk's first pictures, one for each source that has files; empty without any."""
    found = []
    for source in sources:
        digests = source.digests(positions[:_PICTURES]) if isinstance(source, PictureDataset) else None
        if digests is not None:
            digest = hashlib.sha256()
            for each in digests:
                digest.update(b"none" if each is None else each[1])
            found.append(digest.hexdigest())
    return found


def require_same_pictures(run: Run, sources: Sequence[Readable]) -> None:
    """Refuses to go on where the pictures of finished chunks are others now.

    Raises:
        RunError: they are; names the chunk.
    """
    finished = run.finished_chunks
    for place in sorted({*np.linspace(0, len(finished) - 1, _CHUNKS).round().astype(int).tolist()} if finished else ()):
        number = finished[place]
        kept = read_seal(chunk_path(run.directory, number)).get("images")
        try:
            index = run.read_chunk(number, "index".__eq__)["index"]
        except RunError:  # Whose share it is in sets it aside and makes it again.
            continue
        if kept and picture_digests(sources, index) != kept:
            raise RunError(
                f"data: the pictures of chunk {number} are others than those it was made from; put the old ones back, "
                "or start a new run"
            )


def first_logits(maker: ChunkMaker, run: Run, device: Device) -> dict[str, Any] | None:
    """Logits of the run's first images; None where the network answers twice in two ways, or no image can be read.

    Raises:
        ModelError: they are NaN.
    """

    def answered_twice(images: Tensor, _labels: Tensor, positions: Tensor) -> tuple[NDArray[Any], NDArray[Any], Any]:
        logits, again = (maker.plan.model(images).float()[:, :_CLASSES].cpu().numpy() for _ in range(2))
        return logits, again, positions.cpu().tolist()

    try:
        # A network that draws random numbers draws the same ones as if this had not been.
        with maker.plan.model.without_gradient(), torch.random.fork_rng(devices=[device] if device.is_cuda else []):
            answers = maker.on_first_images(run.positions[:_IMAGES], answered_twice)
    except DataError:  # An image that cannot be read is reported when its chunk is made.
        return None
    if answers is None:
        return None
    logits, again, positions = answers
    if np.isnan(logits).any():
        raise ModelError("model: its logits for the run's first images are NaN; check weights and normalization")
    if not np.array_equal(logits, again):
        return None
    values = np.clip(logits.astype(np.float64), -1e30, 1e30)
    return {"positions": positions, "device": device.kind, "logits": values.tolist()}


def require_same_logits(recorded: Mapping[str, Any] | None, own: Mapping[str, Any] | None, precision: str) -> None:
    """Refuses to go on where the network gives other logits than when the run began, on the same kind of device.

    Where memory let one of the two look at fewer images, those are compared.

    Raises:
        RunError: it does, so that its code is another.
    """
    if not recorded or not own or recorded.get("device") != own["device"]:
        return
    first, mine = recorded.get("positions"), own["positions"]
    if not isinstance(first, list):
        return
    count = min(len(first), len(mine))
    if not count or first[:count] != mine[:count]:
        return
    now = np.array(own["logits"], np.float64)[:count]
    try:
        before = np.array(recorded["logits"], np.float64)[:count]
    except (ValueError, TypeError, IndexError):
        before = np.zeros(0)
    if before.shape == now.shape:
        apart = float(np.abs(before - now).max(initial=0)) / max(1e-12, float(np.abs(before).max(initial=0)))
        if apart <= _APART[precision]:
            return
    raise RunError(
        "model: it gives other logits than when the run began, with the same weights: its code, or the first images, "
        "are others now; put the old ones back, or start a new run"
    )
