"""Pictures: averaging, keeping and finding again, and what the app is told."""

import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from psi_core import ConfigError, Run, load_run
from psi_core.files import cache_directory
from psi_core.pictures import (
    CACHE,
    PICTURE_SIZE,
    Picture,
    area_average,
    find_picture,
    keep_picture,
    kept_picture,
    picture_answer,
    pixels_of,
)
from tests.recorded import record_run


@pytest.fixture
def run(own_folders: Path) -> Run:
    return load_run(record_run(own_folders))


def picture_of(size: int = 8, channels: int = 0, level: float = 0.5) -> Picture:
    pixels = np.full((size, size, channels) if channels else (size, size), level, np.float16)
    return Picture(pixels, pixels / 2, np.full((size, size), -0.25, np.float16), 0.25, 2.0, 7, 0.875)


@pytest.mark.parametrize("shape", [(56, 56), (28, 28, 3), (31, 17), (224, 224, 3)])
@pytest.mark.parametrize(("width", "height"), [(14, 14), (40, 9), (7, 50), (1, 1), (500, 500), (19, 23)])
def test_averages_keep_mean_proportions_and_never_enlarge(shape, width, height):
    pixels = np.random.default_rng(1).uniform(0, 1, shape)
    small = area_average(pixels, width, height)
    assert small.shape[0] <= min(height, shape[0])
    assert small.shape[1] <= min(width, shape[1])
    assert small.shape[2:] == shape[2:]
    assert small.mean(axis=(0, 1)) == pytest.approx(pixels.mean(axis=(0, 1)))
    assert area_average(np.ones(shape), width, height) == pytest.approx(np.ones(small.shape))
    scale = min(width / shape[1], height / shape[0], 1)
    assert small.shape[:2] == tuple(max(1, round(side * scale)) for side in shape[:2])


def test_whole_blocks_are_plain_means_and_what_fits_stays():
    pixels = np.random.default_rng(1).uniform(0, 1, (6, 6))
    assert area_average(pixels, 3, 3) == pytest.approx(pixels.reshape(3, 2, 3, 2).mean(axis=(1, 3)))
    assert np.array_equal(area_average(pixels, 6, 99), pixels)


@pytest.mark.parametrize("channels", [0, 3])
def test_a_picture_is_found_as_it_was_kept(run: Run, channels: int) -> None:
    picture = picture_of(channels=channels)
    assert find_picture(run, 3, "fgsm@0.03") is None
    keep_picture(run, 3, "fgsm@0.03", picture)
    found = find_picture(Run(run.directory), 3, "fgsm@0.03")
    assert found is not None
    for field in fields(Picture):
        assert np.array_equal(getattr(found, field.name), getattr(picture, field.name))
        assert type(getattr(found, field.name)) is type(getattr(picture, field.name))
    assert find_picture(run, 3, "benign") is None
    assert find_picture(run, 4, "fgsm@0.03") is None


def test_pictures_lie_where_an_example_can_take_them_from(run: Run) -> None:
    keep_picture(run, 3, "fgsm@0.03", picture_of())
    (folder,) = (cache_directory() / "pictures").iterdir()
    assert [path.name for path in folder.iterdir()] == ["3-fgsm@0.03.npz"]
    folder.rename(run.directory / "pictures")
    brought = run.directory / "pictures" / "3-fgsm@0.03.npz"
    os.utime(brought, (1, 1))
    assert find_picture(run, 3, "fgsm@0.03") is not None
    assert brought.stat().st_mtime == 1, "nothing in a run is touched"


def test_pictures_that_are_looked_at_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psi_core.pictures.CACHE", replace(CACHE, most=2))
    for index in range(4):
        keep_picture(run, index, "benign", picture_of())
        for number, path in enumerate(sorted((cache_directory() / "pictures").glob("*/*"))):
            os.utime(path, (number, number))
        assert find_picture(run, 0, "benign") is not None
    assert find_picture(run, 3, "benign") is not None
    assert find_picture(run, 2, "benign") is None


def test_two_runs_of_one_id_share_no_picture(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.directory, tmp_path / "copy")
    keep_picture(run, 3, "benign", picture_of())
    assert find_picture(Run(tmp_path / "copy"), 3, "benign") is None


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PK\x03\x04"])
def test_a_damaged_picture_is_none(run: Run, data: bytes) -> None:
    keep_picture(run, 3, "benign", picture_of())
    (path,) = (cache_directory() / "pictures").glob("*/*")
    whole = path.read_bytes()
    for damaged in (data, whole[: len(whole) // 2], whole.replace(b"linf", b"lina")):
        path.write_bytes(damaged)
        assert find_picture(run, 3, "benign") is None


def test_the_answer_is_small_rounded_and_beside_what_the_run_recorded(run: Run) -> None:
    keep_picture(run, 30, "fgsm@0.03", picture_of(8, 3, 1 / 3))
    answer = kept_picture(str(run.directory), 30, "fgsm@0.03", 4, 9)
    benign = pixels_of(answer["benign"])
    assert benign.shape == (4, 4, 3)
    assert np.array_equal(benign, np.full((4, 4, 3), np.float16(1 / 3)))
    assert np.array_equal(pixels_of(answer["difference"]), np.full((4, 4), -0.25))
    assert len(json.dumps(answer)) < 1000
    assert (answer["linf"], answer["l2"], answer["prediction"], answer["confidence"]) == (0.25, 2.0, 7, 0.875)
    assert answer["reason"] is None
    assert answer["recorded"] == {
        "label": run.labels[30],
        "prediction": run.predictions[1, 30],
        "confidence": run.array("confidence")[1, 30],
        "linf": run.array("linf")[1, 30],
        "l2": run.array("l2")[1, 30],
    }


def test_a_large_picture_is_told_whole_and_in_few_bytes(run: Run) -> None:
    pixels = np.random.default_rng(1).uniform(0, 1, (PICTURE_SIZE, PICTURE_SIZE, 3)).astype(np.float16)
    answer = picture_answer(run, 3, "benign", Picture(pixels), (1000, 1000))
    assert np.array_equal(pixels_of(answer["benign"]), pixels)
    assert len(json.dumps(answer)) < 3 * pixels.size
    assert pixels_of(answer["attacked"]) is None


def test_a_picture_of_another_size_than_ours_is_made_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psi_core.pictures.PICTURE_SIZE", 56)
    keep_picture(run, 3, "benign", picture_of())
    assert find_picture(run, 3, "benign") is not None
    monkeypatch.undo()
    assert find_picture(run, 3, "benign") is None


def test_an_image_that_the_run_has_not_seen_has_nothing_recorded(own_folders: Path) -> None:
    run = load_run(record_run(own_folders, chunks=[0], finished=False))
    assert picture_answer(run, 24, "benign", picture_of(), (8, 8))["recorded"] is not None
    assert picture_answer(run, 25, "benign", picture_of(), (8, 8))["recorded"] is None


def test_what_could_not_be_made_is_null_with_its_reason(run: Run) -> None:
    answer = picture_answer(run, 0, "fgsm@0.03", Picture(picture_of().benign, reason="weights: gone"), (8, 8))
    assert (answer["attacked"], answer["difference"], answer["prediction"]) == (None, None, None)
    assert answer["reason"] == "weights: gone"


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ((60, "benign", 8, 8), "0 to 59"),
        ((-1, "benign", 8, 8), "0 to 59"),
        ((0, "fgsm@0.3", 8, 8), "did you mean 'fgsm@0.03'"),
        ((0, "benign", 0, 8), "at least 1 x 1"),
    ],
)
def test_wrong_questions_are_refused(run: Run, question, said) -> None:
    with pytest.raises(ConfigError, match=said):
        kept_picture(str(run.directory), *question)
