"""A stand-in for torchvision's ImageNet weights: same name, same place, same format, random numbers, a small file."""

import math
from pathlib import Path

import torch
import torchvision

_STEP = 7
"""Between the rows of a matrix, which overlap: the file holds one short vector for each tensor, not 244 MB."""


def write_imagenet_file(torch_home: Path, model: str = "alexnet") -> Path:
    """Writes what torchvision would have downloaded for a model below `TORCH_HOME`, and gives its path."""
    url = torchvision.models.get_model_weights(model).DEFAULT.url
    path = torch_home / "hub" / "checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in torchvision.models.get_model(model).state_dict().items()}
    random = torch.Generator().manual_seed(5)
    torch.save({name: _tensor(shape, random) for name, shape in shapes.items()}, path)
    return path


def _tensor(shape: torch.Size, random: torch.Generator) -> torch.Tensor:
    fan_in = math.prod(shape[1:])
    numbers = torch.randn(fan_in + _STEP * (shape[0] - 1), generator=random) * math.sqrt(2 / fan_in)
    inner = [math.prod(shape[place + 1 :]) for place in range(1, len(shape))]
    return numbers.as_strided(shape, (_STEP, *inner)) if inner else torch.zeros(shape)
