"""Which class of a network's head each class of a data set is. A wrong answer would score every image wrongly.

What the classes of a network's head are called, which is what predictions are counted by.
"""

from functools import cache

import numpy as np

from psi_core.config import RunConfig
from psi_core.engine.images.dataset import Dataset
from psi_core.errors import ConfigError, DataError
from psi_core.files import PACKAGE_DATA

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
        if names == imagenet_names():
            return list(range(head))
        places = [_wnids().get(name, _named(name)) for name in names]
        return None if -1 in places or len(set(places)) < len(places) else places
    return list(range(head)) if len(names) == head else None


def match_names(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The data set with labels that number these names.

    Raises:
        DataError: one of its classes is none of them.
    """
    if dataset.class_names == names:
        return dataset
    strangers = [name for name in dataset.class_names if name not in names]
    if strangers:
        raise DataError(
            f"data: {dataset.name} has images of {_shown(tuple(strangers))}, which its training part lacks; "
            "make the classes of both alike, or name a weights file with --weights"
        )
    places = np.array([names.index(name) for name in dataset.class_names], np.int64)
    return dataset.with_classes(places[dataset.labels], names)


@cache
def imagenet_names() -> tuple[str, ...]:
    """Names of ImageNet's 1,000 classes in the order of its heads."""
    import torchvision  # Not at the top: it takes as long to load as torch does.

    return tuple(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def _wnids() -> dict[str, int]:
    """Class of every WordNet id."""
    return {wnid: place for place, wnid in enumerate((PACKAGE_DATA / "imagenet_wnids.txt").read_text().split())}


def _named(name: str) -> int:
    """The one class of ImageNet that is called so, spelled alike or similarly; -1 where there is none, or are two."""
    exact = [place for place, other in enumerate(imagenet_names()) if other == name]
    similar = exact or [place for place, other in enumerate(_plain_names()) if other == _plain(name)]
    return similar[0] if len(similar) == 1 else -1


@cache
def _plain_names() -> tuple[str, ...]:
    return tuple(map(_plain, imagenet_names()))


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def head_names(config: RunConfig, dataset: Dataset, head: int, sha256: str) -> list[str]:
    """ImageNet's names under its weights, else the data's names where it has as many classes, else numbers.

    Args:
        config: of the run.
        dataset: that it runs over.
        head: classes of the network.
        sha256: of its weights.
    """
    is_imagenet = head == IMAGENET_CLASSES and (config.weights == "imagenet" or _is_of_torchvision(sha256))
    # True labels have been matched with the head, so that its names are the data's own.
    if is_imagenet and (config.labels == "predicted" or head != len(dataset.class_names)):
        return list(imagenet_names())
    return list(dataset.class_names) if head == len(dataset.class_names) else [str(number) for number in range(head)]


def _is_of_torchvision(sha256: str) -> bool:
    """Whether a file is one of torchvision's ImageNet classifiers, wherever it lies."""
    return any(sha256.startswith(start) for start in _starts())


@cache
def _starts() -> frozenset[str]:
    """The first digits of their SHA-256, which stand at the end of their file names."""
    import torchvision  # Not at the top: it takes as long to load as torch does.

    names = torchvision.models.list_models(module=torchvision.models)
    files = [weights.url.rpartition("/")[2] for name in names for weights in torchvision.models.get_model_weights(name)]
    starts = (file.rpartition("-")[2].removesuffix(".pth") for file in files)
    return frozenset(start for start in starts if len(start) == 8)
