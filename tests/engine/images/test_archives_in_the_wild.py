"""Archives as researchers bring them: Keras', MedMNIST's, CIFAR-10-C; labels of any kind are right or refused."""

import numpy as np
import pytest

from psi_core.engine import analyze
from psi_core.engine.images import load_dataset, load_external
from psi_core.engine.images.classes import match_classes
from psi_core.errors import ConfigError, DataError
from tests.engine.picture_files import DIGITS
from tests.engine.processes import small_config

IMAGES, LABELS = DIGITS.images[:20], DIGITS.labels[:20]


def saved(path, **arrays):
    np.savez(path, **arrays)
    return f"npz:{path}"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64, np.int8, np.int32, ">i4"])
@pytest.mark.parametrize("shape", [(20,), (20, 1)])
def test_labels_of_any_whole_type_and_in_a_column_are_class_numbers(dtype, shape, tmp_path):
    name = saved(tmp_path / "a.npz", images=IMAGES, labels=LABELS.astype(dtype).reshape(shape))
    dataset = load_dataset(name, "test")
    assert dataset.labels.dtype == np.int64
    assert (dataset.labels == LABELS).all()
    match_classes(dataset, 10, "lenet5")
    load_external(name, dataset, np.arange(20), 28, None, [LABELS])


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_test", "y_test"),
        ("X_test", "Y_test"),
        ("test_images", "test_labels"),
        ("test_x", "test_y"),
        ("X", "y"),
        ("data", "labels"),
        ("images", "targets"),
        ("data", "target"),
        ("images", "label"),
        ("val_images", "val_labels"),
    ],
)
def test_arrays_are_known_by_the_names_that_others_give_them(images, labels, tmp_path):
    name = saved(tmp_path / "a.npz", **{images: IMAGES, labels: LABELS.astype(np.uint8)[:, None]})
    dataset = load_dataset(name, "test")
    assert (dataset.read(np.arange(20), 28, 1).pixels == IMAGES).all()
    assert (dataset.labels == LABELS).all()


@pytest.mark.parametrize("names", ["x_{}:y_{}", "{}_images:{}_labels"])
def test_each_part_is_taken_by_the_split(names, tmp_path):
    arrays = {}
    for part, pixels, numbers in (("train", IMAGES[:8], LABELS[:8]), ("test", IMAGES[8:], LABELS[8:])):
        images, labels = names.replace("{}", part).split(":")
        arrays |= {images: pixels, labels: numbers}
    name = saved(tmp_path / "a.npz", **arrays)
    for split, rows in (("train", slice(8)), ("test", slice(8, 20))):
        dataset = load_dataset(name, split)
        assert (dataset.read(np.arange(len(dataset)), 28, 1).pixels == IMAGES[rows]).all()
        assert (dataset.labels == LABELS[rows]).all()


def test_a_part_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"no test part but \['x_train', 'y_train'\]; write --split train"):
        load_dataset(saved(tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS), "test")
    with pytest.raises(DataError, match="no train part"):
        load_dataset(saved(tmp_path / "a.npz", x_test=IMAGES, y_test=LABELS), "train")


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
def test_one_hot_labels_are_refused_by_name(dtype, tmp_path):
    name = saved(tmp_path / "a.npz", x_test=IMAGES, y_test=np.eye(10)[LABELS].astype(dtype))
    with pytest.raises(DataError, match=r"are one-hot, .*\(20, 10\); save one class number .* labels\.argmax\(1\)"):
        load_dataset(name, "test")
    several = saved(tmp_path / "b.npz", images=IMAGES, labels=np.ones((20, 14), np.uint8))
    with pytest.raises(DataError, match=r"are several for each image, uint8 \(20, 14\)"):
        load_dataset(several, "test")


def test_labels_that_count_from_one_are_refused_by_name(tmp_path):
    dataset = load_dataset(saved(tmp_path / "a.npz", images=IMAGES, labels=LABELS + 1), "test")
    with pytest.raises(
        ConfigError, match=r"count from 1 to 10, and the classes of lenet5 from 0 to 9; save labels - 1"
    ):
        match_classes(dataset, 10, "lenet5")
    named = saved(tmp_path / "b.npz", images=IMAGES, labels=LABELS + 1, class_names=np.array(list("abcdefghij")))
    with pytest.raises(DataError, match="count from 1 to 10; save labels - 1"):
        load_dataset(named, "test")


@pytest.fixture
def severities(tmp_path):
    """Three severities of the first 20 digits in one array, as CIFAR-10-C keeps them."""
    np.save(tmp_path / "fog.npy", np.concatenate([IMAGES // divisor for divisor in (2, 3, 4)]))
    return f"npy:{tmp_path / 'fog.npy'}"


@pytest.mark.parametrize(("part", "divisor"), [("[20:40]", 3), ("[:20]", 2), ("[40:]", 4)])
def test_a_part_of_an_array_is_a_condition(part, divisor, severities, tmp_path):
    data = saved(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    config = small_config(data=data, images=20, attack="none", controls="none", attacked=severities + part)
    run = analyze(config, tmp_path / "runs")
    expected = np.abs(IMAGES // divisor / 255 - IMAGES / 255).max((1, 2))
    assert np.allclose(run.array("linf")[1], expected, atol=1e-6)


def test_an_array_that_does_not_fit_is_refused(severities, tmp_path):
    data = load_dataset(saved(tmp_path / "a.npz", images=IMAGES, labels=LABELS), "test")
    path = severities.removeprefix("npy:")
    for name, said in (
        (severities, rf"holds 60 images and npz:.* 20; write which of them, such as npy:{path}\[0:20\]"),
        (f"{severities}[80:90]", r"has 60 images and none in \[80:90\]"),
        (f"{severities}[50:60]", "holds 10 images and none for image 10"),
        (f"npy:{tmp_path / 'a.npz'}", "is an archive; write npz:"),
        (f"npy:{tmp_path / 'nowhere.npy'}[0:20]", "there is no file"),
        *(
            (f"{severities}[{part}]", rf"\[{part}\] is no part of .*; write \[A:B\]")
            for part in ("-20:", "0:20:2", "3")
        ),
    ):
        with pytest.raises(DataError, match=said):
            load_external(name, data, np.arange(20), 28, None, ())
    with pytest.raises(ConfigError, match=r"npy:PATH\[A:B\]"):
        small_config(attacked="npx:a.npy[3]")
