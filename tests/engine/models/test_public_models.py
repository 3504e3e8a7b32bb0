"""Classifiers of public packages: every number equals what a reader of the paper computes from stored activations.

The reference here shares nothing with the engine: digits from the IDX file, torch's own functions, float64 sums.
"""

import gzip
import lzma

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from psi_core import RunConfig
from psi_core.engine import SparsenessMeter, analyze
from psi_core.engine.preparation import prepare
from psi_core.files import PACKAGE_DATA

_RELUS = (F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_)

DIGITS_MEAN_SD = (0.1307, 0.3081)
IMAGENET_MEAN_SD = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


class Clones(TorchFunctionMode):
    """Copies of every ReLU output, in the order they are made."""

    def __init__(self):
        super().__init__()
        self.outputs = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func in _RELUS:
            self.outputs.append(output.detach().clone())
        return output


def psi_by_hand(output):
    responses = output.flatten(1).double()
    units = responses.shape[1]
    activity_ratio = responses.mean(1) ** 2 / (responses**2).mean(1)
    return (1 - activity_ratio) / (1 - 1 / units)


def read_idx(name, offset):
    with (lzma if name.endswith(".xz") else gzip).open(PACKAGE_DATA / "mnist" / name) as file:
        return np.frombuffer(file.read(), np.uint8, offset=offset)


def digits(part, count, size, channels):
    """Pixels in 0..1 at the network's input size, and labels."""
    images = (
        torch.tensor(read_idx(f"{part}-images-idx3-ubyte.{'gz' if part == 't10k' else 'xz'}", 16))
        .view(-1, 1, 28, 28)[:count]
        .float()
        / 255
    )
    labels = torch.tensor(read_idx(f"{part}-labels-idx1-ubyte.gz", 8))[:count].long()
    resized = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized.expand(-1, channels, -1, -1).contiguous(), labels


def normalized(images, mean_sd):
    mean, sd = (torch.tensor(values).view(1, -1, 1, 1) for values in mean_sd)
    return (images - mean) / sd


def by_hand(network, inputs):
    """Logits and PSI of every ReLU call, (layer, image)."""
    with torch.no_grad(), Clones() as clones:
        logits = network(inputs)
    return logits, torch.stack([psi_by_hand(output) for output in clones.outputs])


@pytest.mark.parametrize(
    ("name", "count", "size"), [("resnet18", 17, 32), pytest.param("densenet121", 121, 64, marks=pytest.mark.long)]
)
def test_psi_of_every_relu_call_equals_that_of_its_clone(name, count, size, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = getattr(torchvision.models, name)(num_classes=10).eval()
    pixels, _ = digits("t10k", 5, size, 3)
    logits, expected = by_hand(network, normalized(pixels, IMAGENET_MEAN_SD))
    assert expected.shape == (count, 5)

    with torch.no_grad(), SparsenessMeter(network) as meter:
        for part in normalized(pixels, IMAGENET_MEAN_SD).split(2):
            network(part)
    measured = torch.stack(list(meter.psi.values()))
    torch.testing.assert_close(measured, expected, atol=2e-6, rtol=0, equal_nan=True)

    model = f"torchvision:{name}"
    run = analyze(
        RunConfig(model=model, weights="random", size=size, images=5, batch=2, controls="none", order="first"), tmp_path
    )
    assert [layer.module for layer in run.layer_infos] == list(meter.psi)
    np.testing.assert_allclose(run.psi[0], expected, atol=2e-6, rtol=0)
    assert list(run.predictions[0]) == logits.argmax(1).tolist()


FACTORY = """
import timm

def net():
    network = timm.create_model("resnet10t", in_chans=1, num_classes=10)
    network.input_size = (1, 32, 32)
    return network
"""


@pytest.fixture(scope="module")
def fitted():
    """A classifier of timm's with a little training on digits, as a user's own script leaves it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model("resnet10t", in_chans=1, num_classes=10)
        pixels, labels = digits("train", 960, 32, 1)
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
        for batch in torch.arange(1920).remainder(960).split(24):
            loss = F.cross_entropy(network(normalized(pixels[batch], DIGITS_MEAN_SD)), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def test_a_classifier_with_its_own_normalization_gives_the_accuracy_and_psi_computed_by_hand(fitted, tmp_path):
    (tmp_path / "mine.py").write_text(FACTORY)
    state = {f"module.{name}": tensor for name, tensor in fitted.state_dict().items()}
    torch.save({"model_state_dict": state, "epoch": 1}, tmp_path / "mine.pt")
    config = RunConfig(
        model=f"{tmp_path}/mine.py:net",
        weights=f"{tmp_path}/mine.pt",
        normalize="0.1307/0.3081",
        images=100,
        order="first",
    )
    run = analyze(config.model_copy(update={"batch": 16, "controls": ()}), tmp_path / "runs")

    pixels, labels = digits("t10k", 100, 32, 1)
    pixels.requires_grad_()
    loss = F.cross_entropy(fitted(normalized(pixels, DIGITS_MEAN_SD)), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, pixels)
    attacked = (pixels + 0.03 * gradient.sign()).clamp(0, 1)
    # Rounding turns the sign of a gradient's smallest values, and with it single pixels of the attacked images.
    for place, (images, most) in enumerate(((pixels.detach(), 2e-6), (attacked.detach(), 1e-3))):
        logits, expected = by_hand(fitted, normalized(images, DIGITS_MEAN_SD))
        np.testing.assert_allclose(run.psi[place], expected, atol=most, rtol=0)
        assert abs(run.psi[place] - expected.numpy()).mean() < 1e-5
        assert (run.predictions[place] == run.labels).mean() == (logits.argmax(1) == labels).double().mean()
    assert len(run.layers) == len(expected)
    assert (run.predictions[0] == run.labels).mean() > 0.5
    assert run.config.size == 32
    assert [note.partition(" o")[0] for note in prepare(config).notes] == [
        "weights: took 'model_state_dict'",
        "weights: took the prefix 'module.'",
    ]
