"""Images that are byte for byte the same as another of the run."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from psi_core.engine import analyze
from psi_core.engine.images import copies_among, load_dataset
from psi_core.engine.images.dataset import ArrayDataset
from psi_core.engine.images.npz_rows import NpzRows
from psi_core.engine.images.pictures import PictureDataset
from psi_core.evidence import checks_of
from psi_core.runs.event_log import events_path
from psi_core.runs.run import Run
from tests.engine.picture_files import DIGITS, digit_folder
from tests.engine.processes import small_config

LABELS = np.zeros(8, np.int64)


def noise(kind: str) -> np.ndarray:
    """Eight images of 4,107 or more bytes. 1 and 6 are 4; 2 differs from 3, and 5 from 0, in the first or last byte."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (8, 37, 37, 3)).astype(np.uint8)
    if kind == "float32":
        images = (images / 255).astype(np.float32)
    images[[1, 6]] = images[4]
    images[2], images[5] = images[3], images[0]
    images[2, 0, 0, 0] = images[2, 0, 0, 0] == 0
    images[5, -1, -1, -1] = images[5, -1, -1, -1] == 0
    return images


@pytest.mark.parametrize("place", ["memory", "file", "channels first"])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_images_of_an_array_are_compared_to_the_last_byte(tmp_path: Path, kind: str, place: str):
    images = noise(kind)
    dataset = ArrayDataset("made", images, LABELS, ("all",))
    if place != "memory":
        stored = images.transpose(0, 3, 1, 2).copy() if place == "channels first" else images
        np.savez(tmp_path / "a.npz", images=stored, labels=LABELS)
        dataset = load_dataset(f"npz:{tmp_path / 'a.npz'}", "test")
        assert isinstance(dataset.images, NpzRows)
    assert copies_among(dataset, np.arange(8)).tolist() == [1, 4, 6]
    assert copies_among(dataset, np.array([0, 2, 5, 6])).tolist() == [], "of the run's images only"
    assert copies_among(dataset, np.array([2, 4, 6])).tolist() == [4, 6]


def test_the_bundled_digits_have_no_copy():
    assert copies_among(load_dataset("mnist", "test"), np.arange(10_000)).tolist() == []


def test_files_are_compared_and_those_that_cannot_be_read_are_no_copies(tmp_path: Path):
    digit_folder(tmp_path / "digits", 20)
    dataset = load_dataset(f"folder:{tmp_path / 'digits'}", "test")
    positions = np.arange(20)
    assert copies_among(dataset, positions).tolist() == []
    first, second, *spoiled, empty, other = (
        tmp_path / "digits" / dataset.place_of(place) for place in (3, 11, 5, 6, 8, 9)
    )
    shutil.copy(first, second)
    for path in spoiled:
        path.unlink()
    for path in (empty, other):
        path.write_bytes(b"")
    assert copies_among(dataset, positions).tolist() == [3, 11]


def test_what_another_library_stores_is_not_compared():
    opened = PictureDataset("made", LABELS, ("all",), lambda at: Image.new("L", (8, 8)), ("",) * 8, None)
    assert copies_among(opened, np.arange(8)) is None


def checked(run: Run) -> list[tuple[str, float | None, str]]:
    return [(each.status, each.value, each.sentence) for each in checks_of(run) if each.name == "duplicates"]


def test_copies_are_told_in_the_evidence_and_a_run_of_before_says_nothing(tmp_path: Path):
    rows = [*range(30), 4, 7, 4]
    np.savez(tmp_path / "a.npz", images=DIGITS.images[rows], labels=DIGITS.labels[rows])
    run = analyze(small_config(data=f"npz:{tmp_path / 'a.npz'}", images=None, epsilon=[0.1]), tmp_path)
    ((status, value, sentence),) = checked(run)
    assert (status, value) == ("amber", 5)
    assert "5 of 33 images are byte for byte the same as another, such as 4, 7, 30, 31 and 32: intervals" in sentence
    whole = analyze(small_config(images=30, epsilon=[0.1]), tmp_path)
    assert checked(whole) == [("green", 0, "no image is byte for byte the same as another")]
    path = events_path(whole.directory, 0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps({k: v for k, v in line.items() if k != 'copies'})}\n" for line in lines))
    assert checked(Run(whole.directory)) == []
