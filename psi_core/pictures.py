"""Pictures: one image of a run, benign and under a condition, as large as a terminal shows. The engine makes them.

A picture that was made once is kept in the user's cache folder; a run may bring its own in a folder `pictures`.
"""

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from psi_core.conditions import Condition, file_word
from psi_core.errors import ConfigError, RunError, unknown_name
from psi_core.files import Cache, note_use
from psi_core.runs.chunks import read_arrays
from psi_core.runs.loading import IDENTITY
from psi_core.runs.run import Run

PICTURE_SIZE = 224
"""Width and height in pixels that no picture exceeds: those of ImageNet's networks."""

CACHE = Cache("pictures", rf"{IDENTITY}-[0-9a-f]{{8}}/[0-9]+-[^/]+\.npz", most=200)
"""Pictures of all runs."""

Pixels = NDArray[np.float16]


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, and what a condition makes of it. Pixels are gray (y, x) or red, green, blue (y, x, 3), in 0..1.

    Attributes:
        benign: the image as the network takes it, area-averaged to at most PICTURE_SIZE.
        attacked: likewise, under the condition; None where it cannot be made.
        difference: attacked minus benign, mean over channels, area-averaged (y, x).
        linf: largest change of a pixel, at full size.
        l2: Euclidean size of the change, at full size.
        prediction: class that the network chooses under the condition.
        confidence: probability that it gives to the labeled class.
        reason: why what is None could not be made, in one sentence; empty where all is there.
    """

    benign: Pixels
    attacked: Pixels | None = None
    difference: Pixels | None = None
    linf: float | None = None
    l2: float | None = None
    prediction: int | None = None
    confidence: float | None = None
    reason: str = ""


def kept_picture(run: str, index: int, condition: str, width: int, height: int) -> dict[str, Any] | None:
    """The answer about one image, as `picture_answer` gives it, where a whole picture of it is kept."""
    found = Run(Path(run))
    require_image(found, index, condition, width, height)
    picture = find_picture(found, index, condition)
    return None if picture is None else picture_answer(found, index, condition, picture, (width, height))


def picture_answer(run: Run, index: int, condition: str, picture: Picture, within: tuple[int, int]) -> dict[str, Any]:
    """What the app is told of one image.

    Args:
        run: the run that it belongs to.
        index: its position in the data set.
        condition: what was done to it.
        picture: the picture.
        within: width and height that the pixels are averaged down to; smaller ones are never enlarged.
    """

    return {
        **{name: _told_pixels(getattr(picture, name), *within) for name in _PIXELS},
        **{name: getattr(picture, name) for name in _NUMBERS},
        "recorded": _recorded(run, index, condition),
        "reason": picture.reason or None,
    }


def pixels_of(told: dict[str, Any] | None) -> NDArray[np.float64] | None:
    """Pixels as an answer tells them, (y, x) or (y, x, 3)."""
    if told is None:
        return None
    pixels = np.frombuffer(base64.b64decode(told["float16"]), "<f2").reshape(told["shape"])
    return pixels.astype(np.float64)


def _told_pixels(pixels: Pixels | None, width: int, height: int) -> dict[str, Any] | None:
    """Pixels for an answer. As numbers in JSON, those of one large image would take the app half a second to read."""
    if pixels is None:
        return None
    averaged = area_average(pixels, width, height).astype("<f2")
    return {"shape": list(averaged.shape), "float16": base64.b64encode(averaged.tobytes()).decode()}


def require_image(run: Run, index: int, condition: str, width: int, height: int) -> Condition:
    """The condition that is meant, if the run has it and the image.

    Raises:
        ConfigError: the run has no such image or condition, or nothing can be shown in so little space.
    """
    if run.chunk_of(index) is None:
        first, last = run.positions[[0, -1]]
        among = f"from {first} to {last}" if last < run.images else f"of its sample, such as {first}"
        raise ConfigError(f"index: {run.name} has no image {index}; write a number {among}")
    if condition not in run.conditions:
        raise ConfigError(unknown_name("condition", condition, run.conditions))
    if min(width, height) < 1:
        raise ConfigError(f"width, height: {width} x {height} shows nothing; write at least 1 x 1")
    return run.condition_details[run.conditions.index(condition)]


def find_picture(run: Run, index: int, condition: str) -> Picture | None:
    """The picture that the run brings, or that was made before; damaged files are passed over."""
    brought = _read(run.directory / "pictures" / _file_name(index, condition))
    if brought is not None:
        return brought
    path = CACHE.path(_cache_name(run, index, condition))
    note_use(path)
    return _read(path)


def keep_picture(run: Run, index: int, condition: str, picture: Picture) -> None:
    """Keeps a whole picture for later."""
    assert not picture.reason, "only whole pictures are kept"
    file = io.BytesIO()
    arrays: Any = {name: np.asarray(getattr(picture, name)) for name in (*_PIXELS, *_NUMBERS)}
    np.savez_compressed(file, **arrays)
    CACHE.keep(_cache_name(run, index, condition), file.getvalue())


def area_average(pixels: NDArray[np.floating], width: int, height: int) -> NDArray[np.float64]:
    """An image averaged down to fit `width` x `height`, its proportions kept; one that fits is left as it is.

    Args:
        pixels: (y, x) or (y, x, channel).
        width: at most.
        height: at most.
    """
    rows, columns = pixels.shape[:2]
    scale = min(width / columns, height / rows, 1.0)
    down, across = (_averaging(size, max(1, round(size * scale))) for size in (rows, columns))
    lowered = np.einsum("iy,yx...->ix...", down, pixels.astype(np.float64))
    averaged: NDArray[np.float64] = np.einsum("jx,ix...->ij...", across, lowered)
    return averaged


def _read(path: Path) -> Picture | None:
    try:
        arrays = read_arrays(path)
        values: dict[str, Any] = {name: arrays[name] for name in _PIXELS}
        values |= {name: arrays[name].item() for name in _NUMBERS}
    except (RunError, KeyError, ValueError):
        return None
    return Picture(**values)


def _averaging(size: int, wanted: int) -> NDArray[np.float64]:
    """How much of each old pixel each new one takes, (wanted, size); the rows add up to 1."""
    edges = np.arange(wanted + 1) * (size / wanted)
    old = np.arange(size)
    shares: NDArray[np.float64] = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return np.clip(shares, 0.0, None) * (wanted / size)


def _recorded(run: Run, index: int, condition: str) -> dict[str, Any] | None:
    """What the run itself says of the image: label, and of the condition its numbers; None while it does not."""
    number = run.chunk_of(index)
    try:
        if number is None:
            return None
        arrays = run.read_chunk(number, {"index", "label", *_NUMBERS}.__contains__)
    except RunError:
        return None
    at, places = run.conditions.index(condition), np.flatnonzero(arrays["index"] == index)
    if not len(places):
        return None  # It could not be read when the chunk was made.
    place = int(places[0])
    return {"label": int(arrays["label"][place]), **{name: arrays[name][at, place].item() for name in _NUMBERS}}


def _cache_name(run: Run, index: int, condition: str) -> str:
    """The name of a picture in the cache; another run's differs, also where it has the same id, and another size's."""
    config = run.config.model_dump(mode="json")
    identity = json.dumps([PICTURE_SIZE, str(run.directory.resolve()), run.created, config])
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return f"{run.id}-{digest}/{_file_name(index, condition)}"


def _file_name(index: int, condition: str) -> str:
    return f"{index}-{file_word(condition)}.npz"


_PIXELS = ("benign", "attacked", "difference")
_NUMBERS = ("prediction", "confidence", "linf", "l2")
