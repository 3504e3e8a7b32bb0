"""Networks bundled by name: how each is built, the input it was made for, the smallest it can take.

torchvision takes as long to load as torch: the engine imports it inside what needs it, which LeNet-5 does not.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Architecture:
    """One bundled network.

    Attributes:
        build: makes it with that many classes, weights random.
        size: input in pixels that it was made for.
        smallest: least input in pixels that still reaches its last layer.
        largest: greatest input in pixels, or None for any.
        normalization: what its pixels are normalized with unless told otherwise.
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


def _torchvision(name: str) -> Callable[[int], nn.Module]:
    def build(classes: int) -> nn.Module:
        import torchvision

        network: nn.Module = torchvision.models.get_model(name, num_classes=classes)
        return network

    return build


ARCHITECTURES: dict[str, Architecture] = {
    "lenet5": Architecture(LeNet5, 28, 28, 28, "0.1307/0.3081", None),
    "alexnet": Architecture(_torchvision("alexnet"), 224, 63, None, "imagenet", "alexnet"),
    "vgg11": Architecture(_torchvision("vgg11"), 224, 32, None, "imagenet", "vgg11"),
}
