"""Fitted weights in the cache: the recipe that they come from, their file, and a lock so that each is fitted once."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psi_core.errors import ModelError
from psi_core.files import PACKAGE_DATA, checkpoints_directory, file_sha256, set_aside
from psi_core.runs.locks import hold

_SMALL_SET = 20_000
"""Below this many images a fit takes three epochs by default, else one."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what a fit gives, up to rounding.

    Attributes:
        model: as a run's configuration names it.
        data: as a run's configuration names it.
        size: network input in pixels.
        images: how many of the training part, its first ones.
        epochs: passes over them.
        init: `random` or `imagenet`; the head is always random.
        seed: seed of initial weights, order of images and dropout.
        resize: shorter edge of pictures before the center is cut out, or None.
    """

    model: str
    data: str
    size: int
    images: int
    epochs: int
    init: str = "random"
    seed: int = 0
    resize: int | None = None

    @property
    def stem(self) -> str:
        """File name of its checkpoint without the ending: readable, and unique by a hash of everything."""
        values = {key: value for key, value in asdict(self).items() if value is not None}
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
        model, data = (
            "".join(c if c.isalnum() or c in "_." else "-" for c in text) for text in (self.model, self.data)
        )
        return f"{model}-{data[-40:]}-{self.size}px-{self.images}x{self.epochs}-{digest}"


def default_epochs(images: int) -> int:
    """Three epochs for small sets, else one."""
    return 3 if images < _SMALL_SET else 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Fitted weights and their card.

    Attributes:
        path: the safetensors file.
        card: recipe, test accuracy, seconds, versions, SHA-256; as in the JSON file beside it.
    """

    path: Path
    card: dict[str, Any]


def find_checkpoint(recipe: Recipe) -> Checkpoint | None:
    """The checkpoint of a recipe, or None, also where its file or card is damaged: then it is fitted again.

    LeNet-5 on whole MNIST ships with the package.
    """
    if (recipe.model, recipe.data, recipe.size, recipe.init, recipe.seed) == ("lenet5", "mnist", 28, "random", 0):
        shipped = _read(PACKAGE_DATA / "lenet5.safetensors")
        if shipped is not None:
            trained = shipped.card["recipe"]
            if (recipe.images, recipe.epochs) in ((60_000, 1), (trained["images"], trained["epochs"])):
                return shipped
    return _read(checkpoints_directory() / f"{recipe.stem}.safetensors")


DAMAGED = "damaged"
"""What a damaged file of the cache is called besides, once it is set aside."""


def set_damaged_aside(recipe: Recipe) -> str:
    """Takes the damaged checkpoint of a recipe out of the way, and says so; empty where there is none to take."""
    path = checkpoints_directory() / f"{recipe.stem}.safetensors"
    reason = _damage(path)
    if not reason:
        return ""
    names = [set_aside(each, DAMAGED).name for each in (path, path.with_suffix(".json")) if os.path.lexists(each)]
    return f"{path}: {reason}; it is {' and '.join(names)} now, and is fitted again"


@contextlib.contextmanager
def fitting_lock(recipe: Recipe, should_stop: Callable[[], bool]) -> Iterator[bool]:
    """Holds a recipe for this process while others wait, on other machines too; it is free when the process ends.

    Yields:
        Whether it is held; False where `should_stop` gave True first.

    Raises:
        ModelError: the cache folder cannot be written to.
    """
    folder = checkpoints_directory()
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            is_held = stack.enter_context(hold(folder / f"{recipe.stem}.lock", should_stop))
        except OSError as error:
            raise ModelError(
                f"fit: {folder} cannot be written to ({error.strerror}); free it, or name another with XDG_CACHE_HOME"
            ) from None
        yield is_held


def _read(path: Path) -> Checkpoint | None:
    """A checkpoint whose file has the digest that its card names; None for any other."""
    if not path.is_file() or _damage(path):
        return None
    return Checkpoint(path, json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))


def _damage(path: Path) -> str:
    """What is wrong with a checkpoint, in half a sentence; empty where nothing is, or where there is none."""
    card = path.with_suffix(".json")
    if not path.exists() and not card.exists():
        return ""
    for each in (path, card):
        if not each.is_file():
            return f"{each.name} is missing"
    try:
        values = json.loads(card.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return f"its card cannot be read ({error})"
    expected = {"sha256": str, "recipe": dict, "test_accuracy": float | int, "seconds": float | int}
    if not isinstance(values, dict) or not all(isinstance(values.get(key), kind) for key, kind in expected.items()):
        return "its card is not one that a fit leaves"
    state = path.stat()
    if _digest(path, state.st_size, state.st_mtime_ns, state.st_ino) != values["sha256"]:
        return "its bytes are not those that were fitted"
    return ""


@functools.lru_cache(maxsize=8)
def _digest(path: Path, _size: int, _time: int, _inode: int) -> str:
    """SHA-256 of a file, taken once a process as long as the file stays as it is."""
    return file_sha256(path)
