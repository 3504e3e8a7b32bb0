"""Data sets: MNIST whole and in order, and pixels as networks take them."""

import gzip
import shutil

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from psi_core.config import RunConfig
from psi_core.engine.images import dataset_size, load_dataset, network_inputs, sources
from psi_core.engine.preparation import prepare
from psi_core.errors import DataError
from psi_core.files import PACKAGE_DATA


@pytest.mark.parametrize(
    ("split", "images", "labels", "counts"),
    [
        ("test", 10_000, [7, 2, 1, 0, 4], [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]),
        ("train", 60_000, [5, 0, 4, 1, 9], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
    ],
)
def test_mnist_is_whole(split, images, labels, counts):
    dataset = load_dataset("mnist", split)
    assert len(dataset) == images
    assert dataset.images.shape == (images, 28, 28)
    assert (dataset.images.dtype, dataset.labels.dtype) == (np.uint8, np.int64)
    assert dataset.labels[:5].tolist() == labels
    assert np.bincount(dataset.labels).tolist() == counts
    assert dataset.class_names == tuple("0123456789")


def spoiled(data):
    """Ways in which a gzipped IDX file is damaged."""
    plain = gzip.decompress(data)
    middle = len(data) // 2
    return {
        "missing": None,
        "empty": b"",
        "truncated": data[:middle],
        "garbled": data[:middle] + bytes(200) + data[middle + 200 :],
        "no gzip": plain,
        "no content": gzip.compress(b""),
        "short": gzip.compress(plain[:-1], 1),
        "other type": gzip.compress(plain[:2] + b"\x0d" + plain[3:], 1),
        "header only": gzip.compress(plain[:6]),
    }


def test_digits_are_counted_without_unpacking_their_images(monkeypatch):
    config = RunConfig(device="cpu", images=4)
    recipe = prepare(config).recipe
    monkeypatch.setattr(sources.lzma, "decompress", None)
    assert [dataset_size("mnist", split) for split in ("test", "train")] == [10_000, 60_000]
    assert prepare(config).recipe == recipe
    assert recipe.images == 60_000


def test_damaged_files_are_refused(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE_DATA / "mnist", tmp_path / "mnist")
    monkeypatch.setattr(sources, "PACKAGE_DATA", tmp_path)
    path = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    for name, data in spoiled(path.read_bytes()).items():
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(DataError, match=r"t10k-labels.*install psi-tui again"):
            load_dataset("mnist", "test")
            pytest.fail(f"{name} was taken")


def test_damaged_training_images_are_refused(tmp_path, monkeypatch):
    shutil.copytree(PACKAGE_DATA / "mnist", tmp_path / "mnist")
    monkeypatch.setattr(sources, "PACKAGE_DATA", tmp_path)
    path = tmp_path / "mnist" / "train-images-idx3-ubyte.xz"
    whole = path.read_bytes()
    for data in (b"", whole[:1000], whole[:1000] + bytes(200) + whole[1200:], gzip.compress(b"")):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"train-images.*install psi-tui again"):
            load_dataset("mnist", "train")


@pytest.fixture(scope="module")
def pixels():
    return torch.tensor(load_dataset("mnist", "test").images[:4])


@pytest.mark.parametrize("size", [8, 27, 28, 32, 64, 224])
def test_pixels_are_resized_as_torchvision_resizes(size, pixels):
    inputs = network_inputs(pixels, size, 1)
    expected = resize(pixels[:, None].float() / 255, [size, size], InterpolationMode.BILINEAR, antialias=True)
    torch.testing.assert_close(inputs, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [8, 28, 63])
def test_inputs_lie_in_0_to_1_in_float32_channels_last(size, pixels):
    inputs = network_inputs(torch.cat([pixels, torch.full_like(pixels, 255)]), size, 3)
    assert inputs.shape == (8, 3, size, size)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert inputs.min() == 0
    assert inputs.max() == 1


def test_gray_is_replicated_to_the_channels_wanted(pixels):
    inputs = network_inputs(pixels, 28, 3)
    for channel in range(3):
        assert torch.equal(inputs[:, channel], pixels / 255)


def test_color_comes_with_its_channels_last(pixels):
    color = torch.stack([pixels, 255 - pixels, pixels // 2], 3)
    inputs = network_inputs(color, 28, 3)
    assert torch.equal(inputs[:, 1], (255 - pixels) / 255)


def test_an_image_is_prepared_alike_in_any_batch(pixels):
    whole = network_inputs(pixels, 64, 3)
    assert torch.equal(network_inputs(pixels[2:3], 64, 3), whole[2:3])


def test_the_pixels_are_left_as_they_were(pixels):
    before = pixels.clone()
    network_inputs(pixels, 28, 1).zero_()
    assert torch.equal(pixels, before)
