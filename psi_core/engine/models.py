"""Models: from a name or a factory to a classifier in eval mode, normalization inside, input size and classes known."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import torch
import torchvision
from torch import Tensor, nn

from psi_core.config import RunConfig, parse_mean_sd
from psi_core.engine.architectures import ARCHITECTURES, LeNet5
from psi_core.errors import ModelError, unknown_name

IMAGENET_MEAN_SD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels in 0..1, as torchvision's weights expect them."""

IMAGENET_CLASSES = 1000


class Classifier(nn.Module):
    """A network behind its normalization: takes pixels in 0..1.

    Attributes:
        network: the network itself; layers are named by their path in it.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], sd: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.is_normalized = any(mean) or any(value != 1 for value in sd)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("sd", torch.tensor(sd).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, channels, size, size) in 0..1."""
        inputs = (images - self.mean) / self.sd if self.is_normalized else images
        logits: Tensor = self.network(inputs)
        return logits


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from and what it takes, before any weights.

    Attributes:
        name: as the run's configuration names it.
        build: makes the network with that many classes, random weights; factories ignore the number.
        size: input in pixels that it was made for, or None where only the user knows.
        smallest: least input in pixels, where known.
        largest: greatest input in pixels, where known.
        normalization: used unless the run names another.
        imagenet: name of its ImageNet weights in torchvision, or None.
    """

    name: str
    build: Callable[[int], nn.Module]
    size: int | None
    smallest: int
    largest: int | None
    normalization: str
    imagenet: str | None

    def input_size(self, size: int | None) -> int:
        """The size asked for, or the model's own.

        Raises:
            ModelError: the network cannot take it, or has none of its own.
        """
        if size is None and self.size is None:
            raise ModelError(f"size: {self.name} does not say what input it takes; write --size in pixels")
        chosen = size or self.size or 0
        if chosen < self.smallest:
            raise ModelError(f"size: {self.name} needs at least {self.smallest} pixels, not {chosen}")
        if self.largest is not None and chosen > self.largest:
            raise ModelError(f"size: {self.name} takes at most {self.largest} pixels, not {chosen}")
        return chosen


def model_source(name: str) -> ModelSource:
    """The source of `lenet5`, `alexnet`, `vgg11`, `torchvision:NAME`, `package.module:factory` or `file.py:factory`.

    Raises:
        ModelError: there is no such model.
    """
    if name in ARCHITECTURES:
        known = ARCHITECTURES[name]
        return ModelSource(
            name, known.build, known.size, known.smallest, known.largest, known.normalization, known.imagenet
        )
    family, separator, member = name.partition(":")
    if not separator:
        raise ModelError(unknown_name("model", name, ARCHITECTURES))
    if family == "torchvision":
        return _torchvision_source(name, member)
    return _factory_source(name)


def absolute_model(name: str) -> str:
    """The name with the path of a `file.py:factory` absolute, so that a run can be resumed from anywhere."""
    place, _, function = name.rpartition(":")
    return f"{Path(place).expanduser().absolute()}:{function}" if place.endswith(".py") else name


def build_classifier(source: ModelSource, classes: int, normalize: str) -> Classifier:
    """A classifier in eval mode, parameters frozen, channels last, with the weights its source gives it.

    Raises:
        ModelError: the normalization has another number of channels than the network's first layer.
    """
    network = source.build(classes)
    channels = input_channels(network)
    mean, sd = normalization(normalize)
    if len(mean) not in (1, channels):
        raise ModelError(f"normalize: {normalize} has {len(mean)} channels and {source.name} takes {channels}")
    classifier = Classifier(network, mean, sd).eval().requires_grad_(False)
    return classifier.to(memory_format=torch.channels_last)


def resolved_normalization(source: ModelSource, config: RunConfig) -> str:
    """The normalization a run asks for, `auto` replaced by the model's own."""
    return source.normalization if config.normalize == "auto" else config.normalize


def normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of `none`, `imagenet` or `MEAN/SD`."""
    if name == "none":
        return (0.0,), (1.0,)
    return IMAGENET_MEAN_SD if name == "imagenet" else parse_mean_sd(name)


def input_channels(network: nn.Module) -> int:
    """Channels that the network's first convolution takes; 1 where it begins flat."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
        if isinstance(module, nn.Linear):
            return 1
    return 3


def is_named_by_study(network: nn.Module) -> bool:
    """Whether its ReLU outputs are called conv1, conv2, ... fc1, fc2, as the reproduced study calls them."""
    return isinstance(network, LeNet5 | torchvision.models.AlexNet | torchvision.models.VGG)


def _torchvision_source(name: str, member: str) -> ModelSource:
    known = torchvision.models.list_models(module=torchvision.models)
    if member not in known:
        raise ModelError(unknown_name("model", name, [f"torchvision:{model}" for model in known]))

    def build(classes: int) -> nn.Module:
        # GoogLeNet and Inception warn unless told to initialize, and carry auxiliary heads that inference never uses.
        options = {"aux_logits": False, "init_weights": True} if member in ("googlenet", "inception_v3") else {}
        network: nn.Module = torchvision.models.get_model(member, num_classes=classes, **options)
        return network

    weights = torchvision.models.get_model_weights(member).DEFAULT
    size = int(weights.transforms().crop_size[0])
    return ModelSource(name, build, size, 1, None, "imagenet", member)


def _factory_source(name: str) -> ModelSource:
    place, _, function = name.rpartition(":")
    module = _import_file(Path(place).expanduser()) if place.endswith(".py") else _import_module(place)
    factory = getattr(module, function, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ModelError(unknown_name(f"model: {place}", function, callables or ["a function that returns the module"]))
    network = factory()
    if not isinstance(network, nn.Module):
        raise ModelError(f"model: {name} returned {type(network).__name__}; it must return a torch.nn.Module")
    size = getattr(network, "input_size", None)
    edge = size[-1] if isinstance(size, tuple | list) else size
    return ModelSource(name, lambda _classes: factory(), edge, 1, None, "none", None)


def _import_module(place: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise ModelError(f"model: {place!r} names no module; write package.module:factory or file.py:factory")
    try:
        return importlib.import_module(place)
    except (ImportError, SyntaxError) as error:
        raise ModelError(f"model: {place} cannot be imported ({error}); check its name and PYTHONPATH") from None


def _import_file(path: Path) -> ModuleType:
    # A name of its own, lest a file types.py takes the place of Python's.
    name = f"psi_model_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None or not path.is_file():
        raise ModelError(f"model: there is no file {path}; write file.py:factory")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ModelError(f"model: {path} cannot be imported ({error}); mend it, or check PYTHONPATH") from None
    return module
