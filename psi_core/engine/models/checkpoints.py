"""Fitted weights in the cache: the recipe that they come from, their file, and a lock so that each is fitted once."""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from psi_core.files import PACKAGE_DATA, checkpoints_directory

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
    """The checkpoint of a recipe, or None. LeNet-5 on whole MNIST ships with the package."""
    if (recipe.model, recipe.data, recipe.size, recipe.init, recipe.seed) == ("lenet5", "mnist", 28, "random", 0):
        shipped = _read(PACKAGE_DATA / "lenet5.safetensors")
        if shipped is not None:
            trained = shipped.card["recipe"]
            if (recipe.images, recipe.epochs) in ((60_000, 1), (trained["images"], trained["epochs"])):
                return shipped
    return _read(checkpoints_directory() / f"{recipe.stem}.safetensors")


@contextlib.contextmanager
def fitting_lock(recipe: Recipe) -> Iterator[None]:
    """Holds a recipe for this process while others wait; the system frees it when the process ends."""
    folder = checkpoints_directory()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{recipe.stem}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> Checkpoint | None:
    card = path.with_suffix(".json")
    if not path.is_file() or not card.is_file():
        return None
    return Checkpoint(path, json.loads(card.read_text(encoding="utf-8")))
