"""Where models come from: bundled by name, a zoo, or the user's factory.

A source says how its network is built, what input it takes and how pixels are normalized, before any weights.
torchvision takes as long to load as torch, so it is imported inside the functions that need it; LeNet-5 needs none.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from psi_core.config import RunConfig
from psi_core.engine.models.classifier import Classifier
from psi_core.engine.models.complaints import COMPLAINTS
from psi_core.engine.models.factories import find_factory, float32_by_default
from psi_core.engine.models.hugging_face import absolute_place, hugging_face_model
from psi_core.engine.models.robustbench import robustbench_model
from psi_core.engine.models.timm import timm_model
from psi_core.errors import ModelError, unknown_name
from psi_core.files import typed_path
from psi_core.options import parse_mean_sd
from psi_core.plain_text import counted


@dataclass(frozen=True, slots=True)
class Architecture:
    """One bundled network.

    Attributes:
        build: makes it with that many classes, weights random.
        size: input in pixels that it was made for.
        smallest: least input in pixels that still reaches its last layer.
        largest: greatest input in pixels, or None for any.
        normalization: default normalization of its pixels.
        imagenet: name of its ImageNet weights in torchvision, or None.
    """

    build: Callable[[int], nn.Module]
    size: int
    smallest: int
    largest: int | None
    normalization: str
    imagenet: str | None


class LeNet5(nn.Module):
    """LeNet-5 for 28 x 28 gray digits (LeCun et al. 1998), with ReLU and max pooling instead of tanh and averages."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch, classes) of images (batch, 1, 28, 28)."""
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


def _torchvision_builder(name: str) -> Callable[[int], nn.Module]:
    def build(classes: int) -> nn.Module:
        import torchvision

        network: nn.Module = torchvision.models.get_model(name, num_classes=classes)
        return network

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "lenet5": Architecture(LeNet5, 28, 28, 28, "0.1307/0.3081", None),
    "alexnet": Architecture(_torchvision_builder("alexnet"), 224, 63, None, "imagenet", "alexnet"),
    "vgg11": Architecture(_torchvision_builder("vgg11"), 224, 32, None, "imagenet", "vgg11"),
}

IMAGENET_MEAN_SD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's pixels in 0..1, as torchvision's weights expect them."""

_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_OF_FIXED_SIZE = ("vit_", "maxvit_")


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
        imagenet: name of its published weights in torchvision, or `timm:` and that in timm, or None.
        imagenet_normalization: what those weights expect, or None where it is `normalization`.
        is_plain: whether its networks are known to answer alike in every memory format, for one image and for many.
        notes: one sentence for each thing that was done to its networks, or taken from where.
        has_own_weights: whether its networks come trained, and can be had in no other way.
        class_names: what their outputs are called, where the source knows.
    """

    name: str
    build: Callable[[int], nn.Module]
    size: int | None
    smallest: int
    largest: int | None
    normalization: str
    imagenet: str | None
    imagenet_normalization: str | None = None
    is_plain: bool = False
    notes: tuple[str, ...] = ()
    has_own_weights: bool = False
    class_names: tuple[str, ...] = ()

    @property
    def keeps_nothing(self) -> bool:
        """Whether its networks are known to keep nothing between forwards but their weights."""
        return self.is_plain or self.name.startswith("torchvision:")

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
    """The source of a bundled name, one of a zoo such as `torchvision:NAME`, or a factory.

    A factory is written `package.module:factory` or `file.py:factory`.

    Raises:
        ModelError: there is no such model.
    """
    if name in ARCHITECTURES:
        known = ARCHITECTURES[name]
        return ModelSource(
            name,
            known.build,
            known.size,
            known.smallest,
            known.largest,
            known.normalization,
            known.imagenet,
            is_plain=True,
        )
    family, separator, member = name.partition(":")
    if not separator:
        raise ModelError(unknown_name("model", name, ARCHITECTURES))
    if family in _ZOOS:
        return _ZOOS[family](name, member)
    factory = find_factory(name)
    return ModelSource(
        name, _on_meta_or_cpu(lambda _classes: factory.make()), factory.size, 1, None, "none", None, notes=factory.notes
    )


def absolute_model(name: str) -> str:
    """The name with the path of a file or a folder absolute, so that a run can be resumed from anywhere."""
    family, _, member = name.partition(":")
    if family == "hf":
        return f"hf:{absolute_place(member)}"
    place, _, function = name.rpartition(":")
    return f"{typed_path(place).absolute()}:{function}" if place.endswith(".py") else name


def build_classifier(source: ModelSource, classes: int, normalize: str) -> Classifier:
    """A classifier in eval mode, parameters frozen, with the weights its source gives it.

    Raises:
        ModelError: the normalization has another number of channels than the network's first layer.
    """
    with float32_by_default():
        network = source.build(classes)
    if any(tensor.device.type not in ("cpu", "meta") for tensor in network.parameters()):
        network.cpu()  # A factory that moves it to a GPU: the run does that itself.
    channels = input_channels(network)
    mean, sd = normalization(normalize)
    if len(mean) not in (1, channels):
        raise ModelError(
            f"normalize: {normalize} has {counted(len(mean), 'channel')} and {source.name} takes {channels}"
        )
    return Classifier(network, mean, sd).eval().requires_grad_(False)


def resolved_normalization(source: ModelSource, config: RunConfig) -> str:
    """The normalization a run asks for, `auto` replaced by the model's own."""
    if config.normalize != "auto":
        return config.normalize
    return (source.imagenet_normalization if config.weights == "imagenet" else None) or source.normalization


def normalization(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of `none`, `imagenet` or `MEAN/SD`."""
    if name == "none":
        return (0.0,), (1.0,)
    return IMAGENET_MEAN_SD if name == "imagenet" else parse_mean_sd(name)


def blank_network(source: ModelSource, classes: int) -> nn.Module:
    """The network for its names and shapes alone, without memory for its weights where it can be built so."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"), float32_by_default():
        return source.build(classes)


def input_channels(network: nn.Module) -> int:
    """Channels that the network takes: of its `input_size`, or of its first layer.

    A fully connected first layer is taken to see a square: 784 inputs are 1 x 28 x 28, 3072 are 3 x 32 x 32.
    """
    size = getattr(network, "input_size", None)
    if isinstance(size, tuple | list) and len(size) == 3:
        return int(size[0])
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
        if isinstance(module, nn.Linear):
            third, rest = divmod(module.in_features, 3)
            return 3 if rest == 0 and math.isqrt(third) ** 2 == third else 1
    return 3


def is_named_by_study(network: nn.Module) -> bool:
    """Whether its ReLU outputs are called conv1, conv2, ... fc1, fc2, as Lee & Kim 2023 call them."""
    if "torchvision" not in sys.modules:  # No network can be torchvision's before that is loaded.
        return isinstance(network, LeNet5)
    import torchvision

    return isinstance(network, LeNet5 | torchvision.models.AlexNet | torchvision.models.VGG)


def _torchvision_source(name: str, member: str) -> ModelSource:
    import torchvision  # Not at the top: it takes as long to load as torch does.

    known = torchvision.models.list_models(module=torchvision.models)
    if member not in known:
        raise ModelError(unknown_name("model", name, [f"torchvision:{model}" for model in known]))
    transforms = torchvision.models.get_model_weights(member).DEFAULT.transforms()
    size = int(transforms.crop_size[0])
    # GoogLeNet's and Inception's weights came from TensorFlow, for pixels in -1..1, and torchvision hides that inside
    # the network.
    expected = (3 * (0.5,),) * 2 if member in _WITH_AUXILIARY_HEADS else (transforms.mean, transforms.std)
    options: dict[str, object] = {}
    if member in _WITH_AUXILIARY_HEADS:
        # They warn unless told to initialize, and carry heads that inference never uses.
        options = {"aux_logits": False, "init_weights": True}
    elif member.startswith("vit_"):
        options = {"image_size": size}
    is_fixed = member.startswith(_OF_FIXED_SIZE)

    def build(classes: int) -> nn.Module:
        network: nn.Module = torchvision.models.get_model(member, num_classes=classes, **options)
        return network

    return ModelSource(
        name=name,
        build=_on_meta_or_cpu(build),
        size=size,
        smallest=size if is_fixed else 1,
        largest=size if is_fixed else None,
        normalization="imagenet",
        imagenet=member,
        imagenet_normalization=_normalization_name(*expected),
        is_plain=True,
    )


def _timm_source(name: str, member: str) -> ModelSource:
    known = timm_model(member)
    return ModelSource(
        name=name,
        build=_on_meta_or_cpu(known.build),
        size=known.size,
        smallest=known.smallest,
        largest=known.largest,
        normalization=_normalization_name(known.mean, known.sd),
        imagenet=name if known.has_weights else None,
    )


def _hugging_face_source(name: str, member: str) -> ModelSource:
    known = hugging_face_model(member)
    return ModelSource(
        name=name,
        build=_on_meta_or_cpu(lambda _classes: known.build()),
        size=known.size,
        smallest=1,
        largest=None,
        normalization=_normalization_name(known.mean, known.sd),
        imagenet=None,
        notes=known.notes,
        has_own_weights=True,
        class_names=known.class_names,
    )


def _robustbench_source(name: str, member: str) -> ModelSource:
    known = robustbench_model(member)
    return ModelSource(name, lambda _classes: known.build(), known.size, 1, None, "none", None, has_own_weights=True)


_ZOOS: dict[str, Callable[[str, str], ModelSource]] = {
    "torchvision": _torchvision_source,
    "timm": _timm_source,
    "hf": _hugging_face_source,
    "robustbench": _robustbench_source,
}
"""By what stands before the colon: the source of a whole name and of the model in that zoo."""


def _normalization_name(mean: Sequence[float], sd: Sequence[float]) -> str:
    """A normalization as a run's configuration writes it: `imagenet`, or MEAN/SD."""
    if (tuple(mean), tuple(sd)) == IMAGENET_MEAN_SD:
        return "imagenet"
    if not any(mean) and set(sd) == {1.0}:
        return "none"
    return "/".join(",".join(map(str, side)) for side in (mean, sd))


def _on_meta_or_cpu(make: Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    """`make`, on the CPU where it fails on the meta device: RegNet, for one, computes its widths with tensors."""

    def build(classes: int) -> nn.Module:
        try:
            return make(classes)
        except COMPLAINTS:
            if torch.get_default_device().type != "meta":
                raise
        with torch.device("cpu"):
            return make(classes)

    return build
