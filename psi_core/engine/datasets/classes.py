"""Which class of a network's head each class of a data set is. A wrong answer would score every image wrongly."""

from functools import cache

import numpy as np
import torchvision

from psi_core.engine.datasets.dataset import Dataset
from psi_core.errors import ConfigError
from psi_core.paths import PACKAGE_DATA

IMAGENET_CLASSES = 1000


def match_classes(dataset: Dataset, head: int, model: str) -> Dataset:
    """The data set with labels that are the head's own class numbers.

    Classes are matched by what they are called: WordNet ids (`n01440764`) or ImageNet's names under a 1,000-way head,
    whole numbers as another head's own. Other names are taken in sorted order, as torchvision's ImageFolder does, where
    there are as many as the head has classes and the head is not ImageNet's.

    Args:
        dataset: its labels number its own classes.
        head: classes of the network.
        model: its name, for messages.

    Raises:
        ConfigError: the classes cannot be told.
    """
    names = dataset.class_names
    places = _places(names, head)
    if places is None:
        raise ConfigError(
            f"labels: {model} has {head} classes and {dataset.name} {len(names)} ({_shown(names)}), which cannot be "
            "matched, so true labels mean nothing; call them by WordNet id, by the class's name or by its number, "
            "or add --labels predicted"
        )
    if places == list(range(head)):
        return dataset
    named = dict(zip(places, names, strict=True))
    head_names = imagenet_names() if head == IMAGENET_CLASSES else tuple(map(str, range(head)))
    all_names = tuple(named.get(place, name) for place, name in enumerate(head_names))
    return dataset.with_classes(np.array(places, np.int64)[dataset.labels], all_names)


def _places(names: tuple[str, ...], head: int) -> list[int] | None:
    """The head's class of each name, or None where it cannot be told."""
    if names == ("unlabeled",):
        return None
    if all(name.isdecimal() for name in names) and (head != IMAGENET_CLASSES or len(names) == head):
        places = [int(name) for name in names]
        if max(places) < head and len(set(places)) == len(places):
            return places
    if head == IMAGENET_CLASSES:
        for known in (_wnids(), {_plain(name): place for place, name in enumerate(imagenet_names())}):
            if all(_plain(name) in known for name in names):
                return [known[_plain(name)] for name in names]
        return None
    return list(range(head)) if len(names) == head else None


def imagenet_names() -> tuple[str, ...]:
    """Names of ImageNet's 1,000 classes in the order of its heads."""
    return tuple(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def _wnids() -> dict[str, int]:
    """Class of every WordNet id."""
    return {wnid: place for place, wnid in enumerate((PACKAGE_DATA / "imagenet_wnids.txt").read_text().split())}


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
