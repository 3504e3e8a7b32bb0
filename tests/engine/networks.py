"""Small networks for the tests of the engine, and images for them."""

import torch
from torch import nn
from torch.nn import functional as F


def images_of(count, channels=1, size=8, seed=0):
    """Pixels in 0..1, some of them at the ends."""
    pixels = torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
    return (1.2 * pixels - 0.1).clamp(0, 1)


def seeded(build, seed=0):
    """A network whose random weights do not depend on the tests before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def perceptron(classes=3):
    """Flat, two ReLUs, takes 1 x 8 x 8."""
    return seeded(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(64, 12), nn.ReLU(inplace=True), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, classes)
        )
    )


def moody():
    """Everything that a careless attack would disturb: dropout, batch normalization, modules in other modes."""
    network = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5), nn.BatchNorm2d(4)),
            *(nn.Flatten(), nn.Linear(4 * 6 * 6, 3)),
        )
    )
    network.train()
    network[4].eval()
    network[0].weight.requires_grad_(False)
    network[6].bias.grad = torch.ones(3)
    return network


class Ensemble(nn.Module):
    """Three convolutions at once, by vmap over their weights; what follows sees their mean."""

    def __init__(self, classes):
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(3, 4, 1, 3, 3))
        self.relu = nn.ReLU()
        self.head = nn.Linear(4 * 3 * 3, classes)

    def forward(self, images):
        def member(kernel):
            return F.max_pool2d(F.relu(F.conv2d(images, kernel)), 2)

        return self.head(self.relu(torch.func.vmap(member)(self.kernels).mean(0)).flatten(1))


class Functional(nn.Module):
    """One ReLU module called twice, ReLUs as functions and as methods; takes 1 x 8 x 8."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.block = Block()
        self.shared = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, classes)

    def forward(self, images):
        features = F.relu(self.conv1(images))
        features = self.shared(self.conv2(features))
        features = self.block(features)
        features = self.shared(features - 0.05)
        features = F.relu(features.mean((2, 3)), inplace=True)
        return self.head(features.relu())


FUNCTIONAL_CALLS = ["relu", "shared", "block.relu", "shared#2", "relu#2", "relu#3"]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, features):
        return features + torch.relu_(self.conv(features))


class Fickle(nn.Module):
    """Runs otherwise from its second forward on: `order`, `fewer`, `more`, `shape` or `tuple`; takes 1 x 8 x 8."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.forwards = 0
        self.first, self.second = nn.ReLU(), nn.ReLU()
        self.block = Pair()
        self.head = nn.Linear(64, 10)

    def forward(self, images):
        self.forwards += 1
        change = self.change if self.forwards > 1 else ""
        layers = [self.first, self.second]
        layers = {"order": layers[::-1], "fewer": layers[:1], "more": [*layers, self.first]}.get(change, layers)
        flat = images.flatten(1)
        for layer in layers:
            flat = layer(torch.cat([flat, flat], 1))[:, :64] if change == "shape" else layer(flat)
        flat = self.block(flat, change == "tuple")
        return self.head(flat[0] if isinstance(flat, tuple) else flat)


class Pair(nn.Module):
    """Gives its input, or on request a tuple with it."""

    def forward(self, features, as_tuple):
        return (features, features) if as_tuple else features
