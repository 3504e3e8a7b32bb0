"""What the classes of a network's head are called, which is what predictions are counted by."""

from functools import cache

from psi_core.config import RunConfig
from psi_core.engine.datasets import Dataset
from psi_core.engine.datasets.classes import IMAGENET_CLASSES, imagenet_names


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
