"""Which class of a network's head each class of a data set is, and what the head's classes are called.

A wrong match would score every image wrongly, so that classes without a certain match are refused.
"""

from functools import cache

import numpy as np

from psi_core.config import ResolvedConfig
from psi_core.engine.images.dataset import Dataset
from psi_core.engine.images.folders import ClassOrder, natural_key
from psi_core.engine.images.pictures import PictureDataset
from psi_core.errors import ConfigError, DataError
from psi_core.files import PACKAGE_DATA

IMAGENET_CLASSES = 1000


def match_classes(
    dataset: Dataset, head: int, model: str, class_order: ClassOrder = "auto", head_names: tuple[str, ...] = ()
) -> Dataset:
    """The data set with labels that are the head's own class numbers.

    Classes are matched by what they are called: WordNet ids (`n01440764`) or ImageNet's names under a 1,000-way head,
    whole numbers as another head's own. Other names are taken in sorted order, as torchvision's ImageFolder does, where
    there are as many as the head has classes and the head is not ImageNet's. Folders that text and numbers order
    differently are refused, unless the order is chosen.

    Args:
        dataset: its labels number its own classes.
        head: classes of the network.
        model: its name, for messages.
        class_order: order of a folder's classes: `text` as ImageFolder, `number` as timm.
        head_names: what the network itself calls its classes; names, where the data has any, must be among them.

    Raises:
        ConfigError: the classes cannot be matched.
    """
    names = dataset.class_names
    if head_names and head != IMAGENET_CLASSES:
        known = [_spelling(name) for name in head_names]
        alike = [known.index(_spelling(name)) if _spelling(name) in known else -1 for name in names]
        if -1 not in alike and len({*alike}) == len(alike):
            return dataset.with_classes(np.array(alike, np.int64)[dataset.labels], head_names)
        if not all(name.isdecimal() for name in names) and names != ("unlabeled",):
            raise ConfigError(
                f"labels: {model} calls its classes {_first_three(head_names)} and {dataset.name} "
                f"{_first_three(names)}, which cannot be matched, so true labels mean nothing; "
                "call them alike or by number, or add --labels predicted"
            )
    places = _head_places(names, head, class_order)
    all_names = (*names, *_empty_classes(dataset))
    if places is None and len(all_names) == head != len(names) and head != IMAGENET_CLASSES:
        all_names = tuple(sorted(all_names, key=natural_key if class_order == "number" else None))
        dataset = match_names(dataset, all_names)
        names, places = all_names, list(range(head))
    if places is None and names == ("unlabeled",):
        raise ConfigError(
            f"labels: {dataset.name} has none; save them in an array labels, or pictures in a folder for each class, "
            "or add --labels predicted"
        )
    if places is None:
        _refuse_counting_from_one(dataset, head, model)
        empty = f", besides the empty {_first_three(_empty_classes(dataset))}" if _empty_classes(dataset) else ""
        raise ConfigError(
            f"labels: {model} has {head} classes and {dataset.name} {len(names)} ({_first_three(names)}{empty}), which "
            f"cannot be matched, so true labels mean nothing; {_way_to_match(names, head)}, or add --labels predicted"
        )
    _refuse_uncertain_order(dataset, names, head, class_order)
    if places == list(range(head)):
        return dataset
    name_at = dict(zip(places, names, strict=True))
    head_names = imagenet_names() if head == IMAGENET_CLASSES else tuple(map(str, range(head)))
    all_names = tuple(name_at.get(place, name) for place, name in enumerate(head_names))
    return dataset.with_classes(np.array(places, np.int64)[dataset.labels], all_names)


def _way_to_match(names: tuple[str, ...], head: int) -> str:
    """What to do about classes that cannot be matched with a head."""
    if head == IMAGENET_CLASSES:
        return "call them by WordNet id or by ImageNet's names"
    if all(name.isdecimal() for name in names):
        return f"name a network of as many classes, or take images of its {head}"
    return f"call them by the network's own numbers, 0 to {head - 1}"


def match_names(dataset: Dataset, names: tuple[str, ...]) -> Dataset:
    """The data set with labels that number these names.

    Raises:
        DataError: one of its classes is none of them.
    """
    if dataset.class_names == names:
        return dataset
    strangers = tuple(name for name in dataset.class_names if name not in names)
    if strangers:
        raise DataError(
            f"data: {dataset.name} has images of {_first_three(strangers)}, which its training part lacks; "
            "make the classes of both alike, or name a weights file with --weights"
        )
    places = np.array([names.index(name) for name in dataset.class_names], np.int64)
    return dataset.with_classes(places[dataset.labels], names)


def head_names(config: ResolvedConfig, dataset: Dataset, head: int, sha256: str) -> list[str]:
    """What the head's classes are called, by which predictions are counted.

    These are ImageNet's names under its weights, else the data's where it has as many classes, else numbers.

    Args:
        config: configuration of the run.
        dataset: its images.
        head: classes of the network.
        sha256: SHA-256 of its weights.
    """
    is_imagenet = head == IMAGENET_CLASSES and (
        config.weights == "imagenet" or sha256.startswith(tuple(_torchvision_digests()))
    )
    # True labels have been matched with the head, so that its names are the data's own.
    if is_imagenet and (config.labels == "predicted" or head != len(dataset.class_names)):
        return list(imagenet_names())
    return list(dataset.class_names) if head == len(dataset.class_names) else [str(number) for number in range(head)]


def _empty_classes(dataset: Dataset) -> tuple[str, ...]:
    return dataset.empty_classes if isinstance(dataset, PictureDataset) else ()


def _refuse_counting_from_one(dataset: Dataset, head: int, model: str) -> None:
    """Refuses labels 1 to N under a head of N classes.

    Raises:
        ConfigError: they are.
    """
    labels = dataset.labels
    is_numbered = dataset.class_names == tuple(map(str, range(head + 1)))
    if is_numbered and len(labels) and (labels.min(), labels.max()) == (1, head):
        raise ConfigError(
            f"labels: those of {dataset.name} count from 1 to {head}, and the classes of {model} from 0 to {head - 1}; "
            "save labels - 1"
        )


def _refuse_uncertain_order(dataset: Dataset, names: tuple[str, ...], head: int, class_order: ClassOrder) -> None:
    """Refuses folders that may be numbered as text, as ImageFolder does, or by the numbers in them, as timm does.

    Raises:
        ConfigError: both give each folder a class of the head, and not the same.
    """
    is_free = class_order == "auto" and dataset.name.startswith("folder:") and len(names) == head
    by_text, by_number = sorted(names), sorted(names, key=natural_key)
    has_numbers = any(character.isdecimal() for name in names for character in name)
    if not (is_free and has_numbers and by_text != by_number) or (
        head == IMAGENET_CLASSES and not all(name.isdecimal() for name in names)
    ):
        return
    raise ConfigError(
        f"labels: sorted as text the classes of {dataset.name} are {_where_they_part(by_text, by_number)}, sorted by "
        f"number {_where_they_part(by_number, by_text)}; write --class-order text where the network was trained "
        "through torchvision's ImageFolder, --class-order number where by number or by timm"
    )


def _where_they_part(names: list[str], others: list[str]) -> str:
    """Names up to the first that stands elsewhere in the other order, the last three."""
    first = next(place for place, name in enumerate(names) if name != others[place])
    shown = names[max(0, first - 2) : first + 1]
    return ("..., " if first > 2 else "") + ", ".join(shown) + ", ..."


def _head_places(names: tuple[str, ...], head: int, class_order: ClassOrder) -> list[int] | None:
    """The head's class of each name, or None where it has no certain match."""
    if names == ("unlabeled",):
        return None
    if class_order == "text" and len(names) == head and all(name.isdecimal() for name in names):
        return list(range(head))
    if all(name.isdecimal() for name in names) and (head != IMAGENET_CLASSES or len(names) == head):
        places = [int(name) for name in names]
        if max(places) < head and len(set(places)) == len(places):
            return places
    if head == IMAGENET_CLASSES:
        if names == imagenet_names():
            return list(range(head))
        places = [_wordnet_places().get(name, _imagenet_place(name)) for name in names]
        return None if -1 in places or len(set(places)) < len(places) else places
    return list(range(head)) if len(names) == head else None


@cache
def imagenet_names() -> tuple[str, ...]:
    """Names of ImageNet's 1,000 classes in the order of its heads."""
    import torchvision  # Not at the top: it takes as long to load as torch does.

    return tuple(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.meta["categories"])


@cache
def _wordnet_places() -> dict[str, int]:
    """Class of every WordNet id."""
    return {wnid: place for place, wnid in enumerate((PACKAGE_DATA / "imagenet_wnids.txt").read_text().split())}


def _imagenet_place(name: str) -> int:
    """The one class of ImageNet of this name, spelled exactly or alike; -1 where there is none, or more than one."""
    exact = [place for place, other in enumerate(imagenet_names()) if other == name]
    alike = exact or [place for place, other in enumerate(_imagenet_spellings()) if other == _spelling(name)]
    return alike[0] if len(alike) == 1 else -1


@cache
def _imagenet_spellings() -> tuple[str, ...]:
    return tuple(map(_spelling, imagenet_names()))


def _spelling(name: str) -> str:
    """A name in lower case, words set apart by one space each."""
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


@cache
def _torchvision_digests() -> frozenset[str]:
    """The first 8 digits of the SHA-256 of torchvision's ImageNet classifiers, which their file names end with."""
    import torchvision  # Not at the top: it takes as long to load as torch does.

    names = torchvision.models.list_models(module=torchvision.models)
    files = [weights.url.rpartition("/")[2] for name in names for weights in torchvision.models.get_model_weights(name)]
    digests = (file.rpartition("-")[2].removesuffix(".pth") for file in files)
    return frozenset(digest for digest in digests if len(digest) == 8)


def _first_three(names: tuple[str, ...]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
