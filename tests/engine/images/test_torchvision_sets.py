"""torchvision's data sets, from files on this machine; none is downloaded."""

import gzip
import lzma

import numpy as np
import pytest
from PIL import Image

from psi_core.engine import analyze
from psi_core.engine.images import absolute_data, load_dataset
from psi_core.errors import DataError
from psi_core.files import PACKAGE_DATA
from tests.engine.picture_files import DIGITS
from tests.engine.processes import small_config


@pytest.fixture
def root(tmp_path):
    """A folder with MNIST as torchvision keeps it."""
    raw = tmp_path / "sets" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (PACKAGE_DATA / "mnist").glob("*.?z"):
        plain = (lzma if file.suffix == ".xz" else gzip).decompress(file.read_bytes())
        (raw / file.stem).write_bytes(plain)
        (raw / f"{file.stem}.gz").write_bytes(gzip.compress(plain, 1))
    return tmp_path / "sets"


def test_torchvisions_mnist_is_ours(root):
    for split, count in (("test", 10_000), ("train", 60_000)):
        dataset = load_dataset(f"torchvision:MNIST@{root}", split)
        assert len(dataset) == count
    dataset = load_dataset(f"torchvision:MNIST@{root}", "test")
    assert (dataset.labels == DIGITS.labels).all()
    assert (dataset.read(np.arange(50), 28, 1).pixels == DIGITS.images[:50]).all()
    assert len(dataset.class_names) == 10


def test_a_run_over_it_gives_what_the_bundled_digits_give(root, tmp_path):
    options = {"images": 40, "epsilon": [0.1]}
    mine = analyze(small_config(data=f"torchvision:MNIST@{root}", **options), tmp_path / "runs")
    bundled = analyze(small_config(**options), tmp_path / "runs")
    assert (mine.psi == bundled.psi).all()


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("test", 2)])
def test_sets_with_splits_are_asked_for_theirs(tmp_path, split, count):
    for part, files in (("train", 3), ("valid", 1), ("test", 2)):
        for label in ("negative", "positive"):
            folder = tmp_path / "rendered-sst2" / part / label
            folder.mkdir(parents=True)
            for number in range(files):
                Image.new("RGB", (40, 32), "white" if label == "positive" else "black").save(folder / f"{number}.png")
    dataset = load_dataset(f"torchvision:RenderedSST2@{tmp_path}", split)
    assert dataset.class_names == ("negative", "positive")
    assert dataset.labels.tolist() == [0] * count + [1] * count
    brightness = dataset.read(np.arange(2 * count), 16, 3).pixels.mean(axis=(1, 2, 3))
    assert brightness.tolist() == [0] * count + [255] * count


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("torchvision:MNITS", "did you mean 'torchvision:MNIST'"),
        ("torchvision:CocoDetection", "has no test and train part"),
        ("torchvision:CIFAR10", "is not below .* and cannot be downloaded .*; put its files there"),
        ("torchvision:Imagenette", r"is not below .* and cannot be downloaded"),
        ("torchvision:EMNIST", "has no part test|is not below"),
        ("torchvision:ImageNet", "is not below .*; put its files there"),
    ],
)
def test_what_is_not_to_be_had_is_refused_with_the_way_out(own_folders, name, sentence):
    with pytest.raises(DataError, match=sentence):
        load_dataset(name, "test")


def test_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_data("mnist") == "mnist"
    assert absolute_data("torchvision:MNIST") == "torchvision:MNIST"
    for name in ("folder:{}", "npz:{}", "torchvision:MNIST@{}"):
        assert absolute_data(name.format("there")) == name.format(tmp_path / "there")
