"""Pictures made again: what a real worker recorded, and one sentence where that cannot be."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from psi_core import Run
from psi_core.engine import analyze
from psi_core.engine.again.pictures import PictureMaker
from psi_core.engine.models.fitting import Fit
from psi_core.files import PACKAGE_DATA, checkpoints_directory
from psi_core.pictures import PICTURE_SIZE
from tests.engine.processes import new_run, small_config, start_worker
from tests.recorded import make_older

CONDITIONS = [
    "benign",
    *(f"{name}@{epsilon}" for name in ("fgsm", "sign-noise", "gaussian", "anti-fgsm") for epsilon in (0.03, 0.3)),
]
IMAGES = (0, 13, 14, 39)

COLORED = """
import torch
from torch import nn

def build():
    torch.manual_seed(SEED)
    return nn.Sequential(nn.Conv2d(3, 4, 9, 9), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 26 * 26, 10))
"""


def analyzed(folder: Path, **options: object) -> Run:
    """A finished run, done in this process."""
    return analyze(small_config(**{"images": 40, "order": "first", "epsilon": [0.03, 0.3], **options}), folder)


@pytest.fixture(scope="module", params=[("true", "fitted"), ("predicted", "random")], ids=["true", "predicted"])
def lenet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run that a real worker did, in batches."""
    options = {**dict(zip(("labels", "weights"), request.param, strict=True)), "seed": 5, "order": "first"}
    directory = new_run(tmp_path_factory.mktemp("runs"), images=40, epsilon=[0.03, 0.3], **options)
    assert start_worker(directory).wait(120) == 0
    yield Run(directory)


@pytest.fixture
def colored(tmp_path: Path) -> Run:
    (tmp_path / "colored.py").write_text(COLORED.replace("SEED", "1"))
    return analyzed(tmp_path / "runs", model=f"{tmp_path / 'colored.py'}:build", weights="built", size=240)


def made(run: Run, index: int, condition: str, maker: PictureMaker | None = None):
    return (maker or PictureMaker()).make(run, index, run.condition_details[run.conditions.index(condition)])


def assert_as_recorded(run: Run, maker: PictureMaker, condition: str) -> None:
    at = run.conditions.index(condition)
    for index in IMAGES:
        picture = made(run, index, condition, maker)
        assert picture.reason == ""
        assert picture.linf == pytest.approx(run.array("linf")[at, index], abs=1e-7)
        assert picture.l2 == pytest.approx(run.array("l2")[at, index], rel=1e-5)
        assert picture.prediction == run.predictions[at, index]
        assert picture.confidence == pytest.approx(run.array("confidence")[at, index], abs=1e-5)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_numbers_are_those_that_a_worker_recorded(lenet: Run, condition: str) -> None:
    assert lenet.conditions == CONDITIONS
    assert_as_recorded(lenet, PictureMaker(), condition)


@pytest.mark.parametrize("condition", CONDITIONS)
def test_pixels_are_the_image_and_its_change(lenet: Run, condition: str) -> None:
    picture = made(lenet, 13, condition)
    details = lenet.condition_details[lenet.conditions.index(condition)]
    assert picture.benign.shape == picture.attacked.shape == picture.difference.shape == (28, 28)
    assert 0 <= picture.attacked.min() <= picture.attacked.max() <= 1
    change = picture.attacked.astype(float) - picture.benign
    assert picture.difference == pytest.approx(change, abs=1e-3)
    if details.row.norm == "linf":
        assert np.abs(picture.difference).max() <= details.epsilon + 1e-3
    assert np.abs(change).max() == pytest.approx(picture.linf, abs=1e-3)


def test_colors_are_shown_and_large_images_averaged(colored: Run) -> None:
    picture = made(colored, 3, "fgsm@0.3")
    assert picture.benign.shape == picture.attacked.shape == (PICTURE_SIZE, PICTURE_SIZE, 3)
    assert picture.difference.shape == (PICTURE_SIZE, PICTURE_SIZE)
    change = (picture.attacked.astype(float) - picture.benign).mean(axis=-1)
    assert picture.difference == pytest.approx(change, abs=1e-3)
    assert picture.linf == pytest.approx(0.3, abs=1e-6), "at full size, not of the averaged pixels"
    assert_as_recorded(colored, PictureMaker(), "anti-fgsm@0.3")


def test_one_maker_serves_one_run_after_another(lenet: Run, colored: Run) -> None:
    maker = PictureMaker()
    for run in (lenet, colored, lenet):
        assert_as_recorded(run, maker, "fgsm@0.03")


def assert_only_without_gradient(run: Run, said: str) -> None:
    """Benign is there, sign-noise moves by its epsilon, the rest is not there, and a sentence says why."""
    maker = PictureMaker()
    for condition in run.conditions:
        picture = made(run, 7, condition, maker)
        assert said in picture.reason
        assert "\n" not in picture.reason
        assert (picture.prediction, picture.confidence) == (None, None)
        assert picture.benign.max() > 0
        if condition == "benign" or condition.startswith("sign-noise"):
            at = run.conditions.index(condition)
            assert picture.linf == pytest.approx(run.array("linf")[at, 7], abs=1e-7)
            assert picture.l2 == pytest.approx(run.array("l2")[at, 7], rel=1e-6)
        else:
            assert (picture.attacked, picture.difference, picture.linf, picture.l2) == (None, None, None, None)


def test_other_weights_are_refused_and_noise_needs_none(colored: Run, tmp_path: Path) -> None:
    # Of another length, too: Python takes its bytecode for that of a file of the same size and second.
    (tmp_path / "colored.py").write_text(COLORED.replace("SEED", "22"))
    assert_only_without_gradient(colored, "others than the run was measured with")


def test_other_fitted_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = analyzed(tmp_path, weights="fitted")
    monkeypatch.setattr("psi_core.engine.again.run_images.file_sha256", lambda path: "0" * 64)
    assert_only_without_gradient(run, "lenet5.safetensors are others than the run was measured with")


def test_weights_that_must_be_fitted_are_named_and_not_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = analyzed(tmp_path / "runs", model="alexnet", size=64, images=8)
    make_older(run.directory)
    config = json.loads((run.directory / "config.json").read_text())
    (run.directory / "config.json").write_text(json.dumps({**config, "weights": "fitted"}))
    monkeypatch.setattr(Fit, "__init__", None)
    assert_only_without_gradient(Run(run.directory), "psi-tui fit --model alexnet --size 64")
    assert not checkpoints_directory().exists()


def test_a_weights_file_that_is_gone_is_named(tmp_path: Path) -> None:
    weights = tmp_path / "mine.safetensors"
    weights.write_bytes((PACKAGE_DATA / "lenet5.safetensors").read_bytes())
    run = analyzed(tmp_path / "runs", weights=str(weights))
    assert_as_recorded(run, PictureMaker(), "fgsm@0.03")
    weights.unlink()
    assert_only_without_gradient(run, "mine.safetensors is not there any more")


def test_a_run_without_weights_yet_says_so(tmp_path: Path) -> None:
    run = Run(new_run(tmp_path))
    assert "none yet" in made(run, 0, "fgsm@0.1").reason


def test_a_model_that_is_gone_is_an_error(colored: Run, tmp_path: Path) -> None:
    (tmp_path / "colored.py").unlink()
    with pytest.raises(ValueError, match="there is no file"):
        made(colored, 0, "benign")
